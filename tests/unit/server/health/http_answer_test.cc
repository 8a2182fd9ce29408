#include "server/health/http_answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace muster::health {
namespace {

using testing::HasSubstr;

struct Fed {
  HttpAnswer answer;
  bool enough = false;
};

// In pieces of `size` bytes.
std::unique_ptr<Fed> Feed(std::string_view text, size_t size, bool head_only = false) {
  auto fed = std::unique_ptr<Fed>(new Fed{HttpAnswer(head_only)});
  while (!text.empty() && !fed->enough) {
    fed->enough = fed->answer.Feed(text.substr(0, size));
    text.remove_prefix(std::min(size, text.size()));
  }
  return fed;
}

TEST(HttpAnswerTest, PiecesMakeNoDifference) {
  for (const std::string text :
       {"HTTP/1.1 503 Out Of Order\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 503 Out Of Order\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n"
        "0\r\nTrailer: x\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
        "HTTP/1.0 503 Out Of Order\r\ncontent-length:5\r\n\r\nhello"}) {
    for (const size_t size : {1, 2, 3, 7, 1000}) {
      const auto fed = Feed(text, size);
      EXPECT_TRUE(fed->enough) << text << size;
      EXPECT_TRUE(fed->answer.complete());
      EXPECT_EQ(fed->answer.problem(), "");
      EXPECT_EQ(fed->answer.status(), 503U);
      EXPECT_EQ(fed->answer.reason(), "Out Of Order");
      EXPECT_EQ(fed->answer.body(), "hello");
    }
  }
}

TEST(HttpAnswerTest, TheEndOfTheConnectionMayEndTheBody) {
  const auto fed = Feed("HTTP/1.1 200 OK\r\n\r\nhello", 4);
  EXPECT_FALSE(fed->enough);
  fed->answer.End();
  EXPECT_TRUE(fed->answer.complete());
  EXPECT_EQ(fed->answer.problem(), "");
  const auto cut = Feed("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 4);
  cut->answer.End();
  EXPECT_FALSE(cut->answer.complete());
  EXPECT_THAT(cut->answer.problem(), HasSubstr("before the end of the body"));
  EXPECT_EQ(cut->answer.body(), "hello");
  const auto head = Feed("HTTP/1.1 200 OK\r\nX: y", 4);
  head->answer.End();
  EXPECT_FALSE(head->answer.has_head());
  EXPECT_THAT(head->answer.problem(), HasSubstr("answer's head"));
}

TEST(HttpAnswerTest, AnswersWithoutABody) {
  for (const std::string head : {"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 X\r\n\r\n",
                                 "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"}) {
    const auto fed = Feed(head, 5);
    EXPECT_TRUE(fed->answer.complete()) << head;
    EXPECT_TRUE(fed->answer.has_head()) << head;
  }
  EXPECT_TRUE(Feed("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", 5, true)->answer.complete());
}

TEST(HttpAnswerTest, WhatIsNoHttpIsNamedAtOnce) {
  const auto ssh = Feed("SSH-2.0-OpenSSH_9.2p1\r\n", 4);
  EXPECT_TRUE(ssh->enough);
  EXPECT_EQ(ssh->answer.problem(), "bad version: \"SSH-\"");
  EXPECT_TRUE(Feed("HTTP/2.0 200 OK\r\n\r\n", 100)->enough);
  EXPECT_TRUE(Feed("\x15\x03\x01", 100)->enough) << "an alert of TLS";
  for (const std::string bad :
       {"HTTP/1.1 abc OK\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.x 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"}) {
    const auto fed = Feed(bad, 1);
    EXPECT_TRUE(fed->enough) << bad;
    EXPECT_FALSE(fed->answer.has_head()) << bad;
    EXPECT_NE(fed->answer.problem(), "") << bad;
  }
  const auto chunk = Feed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 3);
  EXPECT_TRUE(chunk->answer.has_head());
  EXPECT_NE(chunk->answer.problem(), "");
}

TEST(HttpAnswerTest, NothingIsHeldWithoutLimit) {
  const std::string long_head =
      absl::StrCat("HTTP/1.1 200 OK\r\nX: ", std::string(20'000, 'x'), "\r\n\r\n");
  for (const size_t size : {100, 4096, 30'000}) {
    const auto fed = Feed(long_head, size);
    EXPECT_TRUE(fed->enough) << size;
    EXPECT_FALSE(fed->answer.has_head()) << size;
    EXPECT_THAT(fed->answer.problem(), HasSubstr("limit")) << size;
  }
  std::string endless = "HTTP/1.1 200 OK\r\n\r\n";
  endless.append(1'000'000, 'x');
  const auto fed = Feed(endless, 4096);
  EXPECT_TRUE(fed->enough);
  EXPECT_TRUE(fed->answer.body_cut());
  EXPECT_EQ(fed->answer.body().size(), HttpAnswer::kMaxBody);
  std::string extension = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;";
  extension.append(100'000, 'x');
  EXPECT_TRUE(Feed(extension, 4096)->enough);
  std::string interim;
  for (int i = 0; i < 100; ++i) interim += "HTTP/1.1 100 Continue\r\n\r\n";
  const auto many = Feed(interim, 4096);
  EXPECT_TRUE(many->enough);
  EXPECT_THAT(many->answer.problem(), HasSubstr("16 interim answers"));
}

TEST(HttpAnswerTest, AnAnswerOfHugeLengthIsTaken) {
  const auto fed = Feed("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nx", 1000);
  EXPECT_TRUE(fed->answer.has_head());
  EXPECT_EQ(fed->answer.problem(), "");
}

TEST(HttpAnswerTest, TheReasonIsTheUsualOneWhenNoneIsGiven) {
  EXPECT_EQ(Feed("HTTP/1.1 404 \r\n\r\n", 1000)->answer.reason(), "Not Found");
}

}  // namespace
}  // namespace muster::health
