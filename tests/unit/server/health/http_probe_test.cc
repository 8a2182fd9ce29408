#include "server/health/http_probe.h"

#include <gtest/gtest.h>

#include "base/text.h"
#include "tests/unit/server/health/probing.h"
#include "tests/unit/server/health/targets.h"

namespace muster::health {
namespace {

using testing::HasSubstr;
using testing::Not;

class HttpProbeTest : public Probing {};

std::string Answer(const std::string& status, const std::string& body) {
  return absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
}

TEST_F(HttpProbeTest, TheStatusDecides) {
  struct Case {
    std::string answer;
    Outcome outcome;
    std::string output;
  };
  for (const Case& c : {
           Case{Answer("200 OK", "fine"), Outcome::kPassing, "HTTP 200 OK: fine"},
           Case{Answer("204 No Content", ""), Outcome::kPassing, "HTTP 204 No Content"},
           Case{Answer("500 Internal Server Error", "disk full"), Outcome::kFailing,
                "HTTP 500 Internal Server Error: disk full"},
           Case{Answer("429 Too Many Requests", "later"), Outcome::kWarning,
                "HTTP 429 Too Many Requests: later"},
       }) {
    TestTarget target(c.answer);
    const ProbeResult result = Run(HttpCheck("/health"), target.port());
    EXPECT_EQ(result.outcome, c.outcome) << c.answer;
    EXPECT_TRUE(result.reached);
    EXPECT_EQ(result.output, c.output);
    EXPECT_THAT(target.requests().at(0), HasSubstr("GET /health HTTP/1.1\r\n"));
    EXPECT_LT(took_, absl::Seconds(2));
  }
}

TEST_F(HttpProbeTest, RedirectsAreNotFollowed) {
  TestTarget elsewhere(Answer("200 OK", ""));
  TestTarget target(absl::StrCat("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:",
                                 elsewhere.port(), "/\r\nContent-Length: 0\r\n\r\n"));
  EXPECT_THAT(Run(HttpCheck("/"), target.port()),
              IsResult(Outcome::kFailing, true, "HTTP 302 Found"));
  EXPECT_EQ(elsewhere.accepted(), 0);
}

TEST_F(HttpProbeTest, EachRunHasAConnectionOfItsOwn) {
  TestTarget target(Answer("200 OK", ""));
  const auto prober = Make(HttpCheck("/"), target.port());
  Run(*prober);
  Run(*prober);
  EXPECT_EQ(target.accepted(), 2);
}

TEST_F(HttpProbeTest, NobodyThereIsRefused) {
  const uint16_t port = ClosedPort();
  EXPECT_THAT(
      Run(HttpCheck("/"), port),
      IsResult(Outcome::kFailing, false, absl::StrCat("connection refused by 127.0.0.1:", port)));
}

TEST_F(HttpProbeTest, WhatIsNoHttpIsSaid) {
  // It waits: the first bytes have to be enough.
  TestTarget target([](Accepted& a) {
    a.Send("SSH-2.0-OpenSSH_9.2\r\n");
    a.ReadRequest();
    a.WaitForClose();
  });
  EXPECT_THAT(Run(HttpCheck("/"), target.port()),
              IsResult(Outcome::kFailing, true, "no HTTP answer: bad version: \"SSH-2.0-OpenSSH"));
  EXPECT_LT(took_, absl::Seconds(2));
}

TEST_F(HttpProbeTest, BytesOfABinaryProtocolBecomeText) {
  TestTarget target(std::string("\x15\x03\x01\x00\x02\x02\xFF", 7));
  const ProbeResult result = Run(HttpCheck("/"), target.port());
  EXPECT_THAT(result, IsResult(Outcome::kFailing, true, "no HTTP answer: bad version"));
  EXPECT_TRUE(base::IsUtf8(result.output));
}

TEST_F(HttpProbeTest, AConnectionThatIsClosedIsReached) {
  TestTarget target([](Accepted& a) { a.ReadRequest(); });
  EXPECT_THAT(Run(HttpCheck("/"), target.port()),
              IsResult(Outcome::kFailing, true,
                       absl::StrCat("no HTTP answer: the connection was closed by 127.0.0.1:",
                                    target.port())));
}

TEST_F(HttpProbeTest, AConnectionThatIsResetIsReached) {
  TestTarget target([](Accepted& a) {
    a.ReadRequest();
    a.Reset();
  });
  EXPECT_THAT(Run(HttpCheck("/"), target.port()),
              IsResult(Outcome::kFailing, true, "was reset by"));
}

TEST_F(HttpProbeTest, AHeadThatBreaksOff) {
  TestTarget target(std::string("HTTP/1.1 200 OK\r\nX: y"));
  EXPECT_THAT(Run(HttpCheck("/"), target.port()),
              IsResult(Outcome::kFailing, true, "closed before the end of the answer's head"));
}

TEST_F(HttpProbeTest, NoAnswerIsATimeoutAndNotReached) {
  TestTarget target([](Accepted& a) {
    a.ReadRequest();
    a.WaitForClose();
  });
  const ProbeResult result = Run(HttpCheck("/", absl::Milliseconds(300)), target.port());
  EXPECT_THAT(result,
              IsResult(Outcome::kFailing, false,
                       "timed out after 300ms waiting for the answer's head from 127.0.0.1"));
  EXPECT_GE(took_, absl::Milliseconds(300));
  EXPECT_LT(took_, absl::Milliseconds(1300));
}

TEST_F(HttpProbeTest, AHeadByTheByteIsATimeoutButReached) {
  TestTarget target([](Accepted& a) {
    a.ReadRequest();
    a.SendSlowly("HTTP/1.1 200 OK\r\nX: a long header that never ends", absl::Milliseconds(50));
  });
  EXPECT_THAT(Run(HttpCheck("/", absl::Milliseconds(400)), target.port()),
              IsResult(Outcome::kFailing, true, "waiting for the answer's head"));
  EXPECT_LT(took_, absl::Milliseconds(1400));
}

TEST_F(HttpProbeTest, ASlowBodyDoesNotDelayTheVerdict) {
  TestTarget target([](Accepted& a) {
    a.ReadRequest();
    a.Send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nslo");
    a.SendSlowly("w and endless", absl::Seconds(10));
  });
  EXPECT_THAT(Run(HttpCheck("/", absl::Seconds(10)), target.port()),
              IsResult(Outcome::kPassing, true, "HTTP 200 OK: slow"));
  EXPECT_GE(took_, absl::Milliseconds(950)) << "a tenth of the timeout";
  EXPECT_LT(took_, absl::Seconds(3));
}

TEST_F(HttpProbeTest, ABodyThatBreaksOffCountsByTheStatus) {
  for (const std::string body :
       {"Content-Length: 10\r\n\r\nhal", "Transfer-Encoding: chunked\r\n\r\nzz"}) {
    TestTarget target("HTTP/1.1 200 OK\r\n" + body);
    EXPECT_THAT(Run(HttpCheck("/"), target.port()),
                IsResult(Outcome::kPassing, true, "HTTP 200 OK"));
  }
}

TEST_F(HttpProbeTest, ALargeAnswerIsCut) {
  std::atomic<size_t> sent{0};
  TestTarget target([&sent](Accepted& a) {
    a.ReadRequest();
    a.Send("HTTP/1.1 200 OK\r\n\r\n");
    const std::string part(4096, 'x');
    while (sent < 100'000'000 && a.Send(part)) sent += part.size();
  });
  const ProbeResult result = Run(HttpCheck("/"), target.port());
  EXPECT_THAT(result, IsResult(Outcome::kPassing, true, "HTTP 200 OK: xxxx"));
  EXPECT_EQ(result.output.size(), kMaxOutput);
  EXPECT_LT(took_, absl::Seconds(2));
  // Only what the kernel took for us.
  EXPECT_LT(sent, 50'000'000U);
}

TEST_F(HttpProbeTest, AnOutputIsTextHoweverTheBodyIs) {
  TestTarget target(Answer("200 OK", std::string("a\xFF\0\x1B[2J", 7)));
  EXPECT_EQ(Run(HttpCheck("/"), target.port()).output,
            std::string("HTTP 200 OK: a\xEF\xBF\xBD\0\x1B[2J", 22));
}

v1::Check Wanting(const std::string& text, absl::Duration timeout = absl::Seconds(5)) {
  v1::Check check = HttpCheck("/", timeout);
  check.mutable_http()->set_body_contains(text);
  return check;
}

TEST_F(HttpProbeTest, TheBodyHasToContainTheText) {
  TestTarget target(Answer("200 OK", "status: green"));
  EXPECT_THAT(Run(Wanting("green"), target.port()),
              IsResult(Outcome::kPassing, true, "HTTP 200 OK: status: green"));
  EXPECT_THAT(Run(Wanting("red"), target.port()),
              IsResult(Outcome::kFailing, true,
                       "HTTP 200 OK: the body doesn't contain \"red\": status: green"));
}

TEST_F(HttpProbeTest, TheStatusHasToBeExpectedToo) {
  TestTarget target(Answer("500 Oh", "green"));
  EXPECT_THAT(Run(Wanting("green"), target.port()),
              IsResult(Outcome::kFailing, true, "HTTP 500 Oh: green"));
}

TEST_F(HttpProbeTest, TheTextMayComeInPiecesAndEndsTheRun) {
  TestTarget target([](Accepted& a) {
    a.ReadRequest();
    a.Send("HTTP/1.1 200 OK\r\n\r\n");
    a.SendSlowly("all is green", absl::Milliseconds(20));
    a.WaitForClose();
  });
  EXPECT_THAT(Run(Wanting("is green"), target.port()),
              IsResult(Outcome::kPassing, true, "all is green"));
  EXPECT_LT(took_, absl::Seconds(3));
}

TEST_F(HttpProbeTest, OnlyTheFirst64KiBAreLookedAt) {
  const std::string text = "green";
  TestTarget within(
      absl::StrCat("HTTP/1.1 200 OK\r\n\r\n", std::string(65'536 - 5, 'x'), text, "yy"));
  EXPECT_EQ(Run(Wanting(text), within.port()).outcome, Outcome::kPassing);
  TestTarget beyond(absl::StrCat("HTTP/1.1 200 OK\r\n\r\n", std::string(65'536 - 4, 'x'), text));
  EXPECT_THAT(Run(Wanting(text), beyond.port()),
              IsResult(Outcome::kFailing, true, "the first 64 KiB of the body don't contain"));
}

TEST_F(HttpProbeTest, ABodyThatIsNotThereInTimeFails) {
  TestTarget target([](Accepted& a) {
    a.ReadRequest();
    a.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ngre");
    a.WaitForClose();
  });
  EXPECT_THAT(
      Run(Wanting("green", absl::Milliseconds(300)), target.port()),
      IsResult(Outcome::kFailing, true, "HTTP 200 OK: timed out after 300ms waiting for the body"));
  EXPECT_GE(took_, absl::Milliseconds(300));
}

TEST_F(HttpProbeTest, ABodyThatBreaksOffBeforeTheTextFails) {
  TestTarget target(std::string("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ngre"));
  EXPECT_THAT(Run(Wanting("green"), target.port()),
              IsResult(Outcome::kFailing, true, "closed before the end of the body: gre"));
}

TEST_F(HttpProbeTest, HeadIsAnsweredWithoutABody) {
  TestTarget target([](Accepted& a) {
    a.ReadRequest();
    a.Send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    a.WaitForClose();
  });
  v1::Check check = HttpCheck("/", absl::Seconds(10));
  check.mutable_http()->set_method("HEAD");
  EXPECT_THAT(Run(check, target.port()), IsResult(Outcome::kPassing, true, "HTTP 200 OK"));
  EXPECT_LT(took_, absl::Milliseconds(500));
}

TEST_F(HttpProbeTest, ACancelledRunNeverCallsBack) {
  resolver_->Set("there.example", {"127.0.0.1"});
  ExpectCancels(HttpCheck("http://hangs.example/"), 80, [&] { return resolver_->Wanted(); });
  Swallowing full;
  RunFor(absl::Milliseconds(1));
  int turns = 0;
  ExpectCancels(HttpCheck("/"), full.port(), [&] { return ++turns > 5; });
  TestTarget silent([](Accepted& a) { a.WaitForClose(); });
  ExpectCancels(HttpCheck("/"), silent.port(), [&] { return silent.accepted() == 1; });
  TestTarget slow([](Accepted& a) {
    a.ReadRequest();
    a.Send("HTTP/1.1 200 OK\r\n\r\nx");
    a.WaitForClose();
  });
  turns = 0;
  ExpectCancels(Wanting("y"), slow.port(), [&] { return slow.accepted() == 1 && ++turns > 5; });
}

TEST_F(HttpProbeTest, ARunThatIsCancelledAtOnceDoesNothing) {
  TestTarget target(Answer("200 OK", ""));
  const auto prober = Make(HttpCheck("/"), target.port());
  bool called = false;
  prober->Start([&](const ProbeResult&) { called = true; }).reset();
  RunFor(absl::Milliseconds(100));
  EXPECT_FALSE(called);
  EXPECT_EQ(target.accepted(), 0);
}

TEST_F(HttpProbeTest, ACallbackMayDestroyItsProbeAndProber) {
  TestTarget target(Answer("200 OK", ""));
  auto prober = Make(HttpCheck("/"), target.port());
  std::unique_ptr<Probe> probe;
  bool called = false;
  probe = prober->Start([&](const ProbeResult& result) {
    EXPECT_EQ(result.outcome, Outcome::kPassing);
    probe.reset();
    prober.reset();
    called = true;
  });
  EXPECT_TRUE(RunUntil([&] { return called; }));
}

TEST_F(HttpProbeTest, ALoopMayEndWithRunsUnderWay) {
  TestTarget silent([](Accepted& a) { a.WaitForClose(); });
  Configure();
  auto prober = Make(HttpCheck("/"), silent.port());
  auto probe = prober->Start([](const ProbeResult&) { FAIL(); });
  ASSERT_TRUE(RunUntil([&] { return silent.accepted() == 1; }));
  probe.reset();
  prober.reset();
  factory_.reset();
  // What the loop still holds goes with it.
}

}  // namespace
}  // namespace muster::health
