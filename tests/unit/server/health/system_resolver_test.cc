// Names that hang, and those that wait for them.
#include "server/health/system_resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"

namespace muster::health {
namespace {

using testing::ElementsAre;

class ResolverQueueTest : public testing::Test {
 protected:
  ~ResolverQueueTest() override { LetGo(); }

  // Names that begin with "hangs" do, until LetGo.
  absl::StatusOr<Resolver::Addresses> LookUp(const std::string& host) {
    base::MutexLock lock(mu_);
    ++looked_up_[host];
    ++under_way_;
    changed_.NotifyAll();
    while (absl::StartsWith(host, "hangs") && hang_) changed_.Wait(mu_);
    --under_way_;
    return Resolver::Addresses{boost::asio::ip::make_address("10.0.0.7")};
  }
  void LetGo() {
    base::MutexLock lock(mu_);
    hang_ = false;
    changed_.NotifyAll();
  }
  void Hang() {
    base::MutexLock lock(mu_);
    hang_ = true;
  }
  Resolver::Begun Ask(const std::string& host) {
    return resolver_.Resolve(host, wanted_,
                             [this, host](const auto&) { answered_.push_back(host); });
  }
  // Until so many names are being looked up.
  void AwaitUnderWay(size_t count) {
    base::MutexLock lock(mu_);
    while (under_way_ != count) changed_.Wait(mu_);
  }
  void AwaitAnswers(size_t count) {
    while (answered_.size() < count && loop_.run_one_for(std::chrono::seconds(10)) > 0) {
    }
    ASSERT_EQ(answered_.size(), count);
  }
  int LookedUp(const std::string& host) {
    base::MutexLock lock(mu_);
    return looked_up_[host];
  }

  base::Mutex mu_;
  base::CondVar changed_;
  bool hang_ MUSTER_GUARDED_BY(mu_) = true;
  size_t under_way_ MUSTER_GUARDED_BY(mu_) = 0;
  std::map<std::string, int> looked_up_ MUSTER_GUARDED_BY(mu_);
  std::vector<std::string> answered_;
  std::shared_ptr<int> wanted_ = std::make_shared<int>();
  boost::asio::io_context loop_;
  const boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_ =
      boost::asio::make_work_guard(loop_);
  SystemResolver resolver_{loop_,
                           {.look_up = [this](const std::string& host) { return LookUp(host); },
                            .slow = absl::Milliseconds(20)}};
};

TEST_F(ResolverQueueTest, WhoAsksMeanwhileGetsTheSameAnswer) {
  Ask("hangs");
  AwaitUnderWay(1);
  EXPECT_TRUE(*Ask("hangs"));
  LetGo();
  AwaitAnswers(2);
  EXPECT_EQ(LookedUp("hangs"), 1);
  Ask("hangs");
  AwaitAnswers(3);
  EXPECT_EQ(LookedUp("hangs"), 2) << "an answer isn't kept";
}

TEST_F(ResolverQueueTest, OneThatWaitsForOthersHasNotBegun) {
  for (int i = 0; i < 8; ++i) Ask(absl::StrCat("hangs", i));
  AwaitUnderWay(8);
  const Resolver::Begun begun = Ask("waits");
  EXPECT_FALSE(*begun);
  EXPECT_FALSE(*Ask("waits"));
  LetGo();
  AwaitAnswers(10);
  EXPECT_TRUE(*begun);
}

TEST_F(ResolverQueueTest, NamesThatWereSlowHaveHalfOfTheThreads) {
  for (int i = 0; i < 8; ++i) Ask(absl::StrCat("hangs", i));
  AwaitUnderWay(8);
  {
    base::MutexLock lock(mu_);
    changed_.WaitFor(mu_, absl::Milliseconds(25));
  }
  LetGo();
  AwaitAnswers(8);
  Hang();
  for (int i = 0; i < 8; ++i) Ask(absl::StrCat("hangs", i));
  answered_.clear();
  Ask("well");
  AwaitAnswers(1);
  EXPECT_THAT(answered_, ElementsAre("well"));
  AwaitUnderWay(4);
  LetGo();
  AwaitAnswers(9);
}

TEST_F(ResolverQueueTest, WhoIsGoneIsForgotten) {
  for (int i = 0; i < 8; ++i) Ask(absl::StrCat("hangs", i));
  AwaitUnderWay(8);
  const auto held = std::make_shared<int>();
  {
    const auto gone = std::make_shared<int>();
    resolver_.Resolve("waits", gone, [held](const auto&) { ADD_FAILURE(); });
  }
  Ask("waits");
  EXPECT_EQ(held.use_count(), 1);
  LetGo();
  AwaitAnswers(9);
}

TEST_F(ResolverQueueTest, WhatNobodyWaitsForIsNotLookedUp) {
  for (int i = 0; i < 8; ++i) Ask(absl::StrCat("hangs", i));
  AwaitUnderWay(8);
  {
    const auto gone = std::make_shared<int>();
    resolver_.Resolve("gone", gone, [](const auto&) { ADD_FAILURE(); });
  }
  LetGo();
  AwaitAnswers(8);
  Ask("after");
  AwaitAnswers(9);
  EXPECT_EQ(LookedUp("gone"), 0);
}

}  // namespace
}  // namespace muster::health
