#include "server/security/authorizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/errors.h"

namespace muster::security {
namespace {

using base::Reason;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

class AuthorizerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string dir = testing::TempDir() + "authorizer_XXXXXX";
    ASSERT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
    std::ofstream(dir_ / "tokens")
        << "read reader-token-0001 eyes\nwrite writer-token-0001 hands\n";
    store_ = std::make_shared<TokenStore>(dir_ / "tokens");
    ASSERT_TRUE(store_->Load().ok());
  }
  void TearDown() override { fs::remove_all(dir_); }

  absl::Status Error(std::optional<std::string_view> header, Right right) const {
    return Authorizer(store_, false).Check(header, right).status();
  }

  fs::path dir_;
  std::shared_ptr<TokenStore> store_;
};

TEST(AuthorizerWithoutTokens, EverybodyMayDoEverything) {
  for (const bool certificates : {false, true}) {
    const Authorizer authorizer(nullptr, certificates);
    for (const Right right : {Right::kRead, Right::kWrite}) {
      const auto who = authorizer.Check(std::nullopt, right);
      ASSERT_TRUE(who.ok());
      EXPECT_TRUE(who->read && who->write);
      EXPECT_EQ(who->name, certificates ? "certificate" : "anonymous");
      EXPECT_TRUE(authorizer.Check("Bearer whatever-it-is", right).ok());
    }
  }
}

TEST_F(AuthorizerTest, ATokenGivesItsRights) {
  const Authorizer authorizer(store_, false);
  const auto reader = authorizer.Check("Bearer reader-token-0001", Right::kRead);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(reader->name, "eyes");
  EXPECT_TRUE(authorizer.Check("Bearer writer-token-0001", Right::kRead).ok());
  const auto writer = authorizer.Check("Bearer writer-token-0001", Right::kWrite);
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(writer->name, "hands");
}

TEST_F(AuthorizerTest, TheSchemeHasNoCase) {
  for (const char* header :
       {"bearer reader-token-0001", "BEARER reader-token-0001", " BeArEr  \treader-token-0001 "}) {
    EXPECT_TRUE(Error(header, Right::kRead).ok()) << header;
  }
}

TEST_F(AuthorizerTest, WithoutATokenNobodyIsKnown) {
  for (const auto& header : std::initializer_list<std::optional<std::string_view>>{
           std::nullopt, "", "Bearer", "Bearer ", "reader-token-0001", "Basic reader-token-0001",
           "Bearerreader-token-0001"}) {
    const absl::Status status = Error(header, Right::kRead);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << header.value_or("(none)");
    EXPECT_EQ(base::ReasonOf(status), Reason::kTokenMissing) << header.value_or("(none)");
    EXPECT_THAT(std::string(status.message()), HasSubstr("Bearer TOKEN"));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("reader")));
  }
}

TEST_F(AuthorizerTest, AnUnknownTokenIsRefusedWithoutRepeatingIt) {
  const absl::Status status = Error("Bearer reader-token-0002", Right::kRead);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(base::ReasonOf(status), Reason::kTokenUnknown);
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("reader")));
}

TEST_F(AuthorizerTest, TheMissingRightIsNamed) {
  const absl::Status status = Error("Bearer reader-token-0001", Right::kWrite);
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(base::ReasonOf(status), Reason::kRightMissing);
  EXPECT_THAT(std::string(status.message()), HasSubstr("right write is missing"));
}

TEST_F(AuthorizerTest, CertificatesDoNotReplaceTokens) {
  const Authorizer authorizer(store_, true);
  EXPECT_FALSE(authorizer.Check(std::nullopt, Right::kRead).ok());
}

TEST_F(AuthorizerTest, AChangedFileCountsForTheNextCall) {
  const Authorizer authorizer(store_, false);
  ASSERT_FALSE(authorizer.Check("Bearer reader-token-0001", Right::kWrite).ok());
  std::ofstream(dir_ / "new") << "write reader-token-0001 eyes\n";
  fs::rename(dir_ / "new", dir_ / "tokens");
  store_->ReloadIfChanged();
  EXPECT_TRUE(authorizer.Check("Bearer reader-token-0001", Right::kWrite).ok());
  EXPECT_FALSE(authorizer.Check("Bearer writer-token-0001", Right::kRead).ok());
}

TEST_F(AuthorizerTest, WhatLastsIsCheckedAgainWhenTokensChange) {
  const Authorizer authorizer(store_, false);
  EXPECT_FALSE(authorizer.Admit("Bearer reader-token-0001", Right::kWrite).ok());
  auto reader = authorizer.Admit("Bearer reader-token-0001", Right::kRead);
  auto writer = authorizer.Admit("Bearer writer-token-0001", Right::kWrite);
  auto looker = authorizer.Admit("bearer  writer-token-0001 ", Right::kRead);
  ASSERT_TRUE(reader.ok() && writer.ok() && looker.ok());
  EXPECT_TRUE(authorizer.Recheck(*reader).ok());
  const auto change = [&](std::string_view text) {
    std::ofstream(dir_ / "new") << text;
    fs::rename(dir_ / "new", dir_ / "tokens");
    store_->ReloadIfChanged();
  };
  change("nonsense\n");
  EXPECT_TRUE(authorizer.Recheck(*reader).ok()) << "the tokens in force stay";
  change("read writer-token-0001 hands\nread other-token-00001\n");
  EXPECT_EQ(base::ReasonOf(authorizer.Recheck(*reader)), Reason::kTokenUnknown);
  EXPECT_EQ(base::ReasonOf(authorizer.Recheck(*reader)), Reason::kTokenUnknown) << "and again";
  EXPECT_EQ(base::ReasonOf(authorizer.Recheck(*writer)), Reason::kRightMissing);
  EXPECT_TRUE(authorizer.Recheck(*looker).ok());
  change("write writer-token-0001 hands\n");
  EXPECT_TRUE(authorizer.Recheck(*writer).ok());
}

TEST(AuthorizerWithoutTokens, WhatLastsGoesOn) {
  const Authorizer authorizer(nullptr, false);
  auto admission = authorizer.Admit(std::nullopt, Right::kWrite);
  ASSERT_TRUE(admission.ok());
  EXPECT_TRUE(authorizer.Recheck(*admission).ok());
}

}  // namespace
}  // namespace muster::security
