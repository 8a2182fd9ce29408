#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/fake_clock.h"
#include "client/guard/caller_core.h"
#include "client/guard/circuit_breaker.h"
#include "client/guard/retry_budget.h"
#include "fake_scheduler.h"
#include "muster/client/client.h"

namespace muster::client {
namespace {

using testing::FakeScheduler;
using State = BreakerState;

class CircuitBreakerTest : public ::testing::Test {
 protected:
  void Make(BreakerOptions options) { breaker_ = CircuitBreaker(options); }
  void Record(int good, int bad) {
    for (int i = 0; i < good; ++i) breaker_.Record(true, now_);
    for (int i = 0; i < bad; ++i) breaker_.Record(false, now_);
  }
  void Pass(absl::Duration duration) { now_ = now_ + duration; }

  CircuitBreaker breaker_{BreakerOptions{}};
  base::SteadyTime now_{1'000'000'000};
};

TEST_F(CircuitBreakerTest, OpensByShareOnceThereAreEnoughCalls) {
  Record(0, 19);
  EXPECT_EQ(breaker_.state(), State::kClosed) << "too few";
  Record(0, 1);
  EXPECT_EQ(breaker_.state(), State::kOpen);
  Make({});
  Record(51, 49);
  EXPECT_EQ(breaker_.state(), State::kClosed);
  Record(0, 2);
  EXPECT_EQ(breaker_.state(), State::kOpen) << "51 of 102";
  EXPECT_EQ(breaker_.calls(), 102u);
  EXPECT_EQ(breaker_.failed(), 51u);
}

TEST_F(CircuitBreakerTest, WhatIsOlderThanTheWindowDoesNotCount) {
  Record(1'000, 0);
  Pass(absl::Seconds(5));
  Record(0, 100);
  EXPECT_EQ(breaker_.state(), State::kClosed);
  Pass(absl::Seconds(6));
  Record(0, 1);
  EXPECT_EQ(breaker_.state(), State::kOpen) << "the good ones are eleven seconds old";
  Make({});
  Record(0, 19);
  Pass(absl::Seconds(11));
  Record(0, 19);
  EXPECT_EQ(breaker_.state(), State::kClosed);
}

TEST_F(CircuitBreakerTest, OpensBySomeInARow) {
  Make({.in_a_row = 5});
  Record(10'000, 4);
  Record(1, 4);
  EXPECT_EQ(breaker_.state(), State::kClosed);
  Record(0, 1);
  EXPECT_EQ(breaker_.state(), State::kOpen);
}

TEST_F(CircuitBreakerTest, LetsProbesThroughAfterAWhileAndClosesWhenTheyAreWell) {
  Make({.in_a_row = 1, .probes = 2});
  EXPECT_TRUE(breaker_.Allow(now_));
  Record(0, 1);
  EXPECT_EQ(breaker_.until(), now_ + absl::Seconds(30));
  Pass(absl::Seconds(29));
  EXPECT_FALSE(breaker_.Allow(now_));
  Record(1, 0);
  EXPECT_EQ(breaker_.state(), State::kOpen) << "a call that was made before";
  Pass(absl::Seconds(1));
  EXPECT_TRUE(breaker_.Allow(now_));
  EXPECT_EQ(breaker_.state(), State::kHalfOpen);
  EXPECT_TRUE(breaker_.Allow(now_));
  EXPECT_FALSE(breaker_.Allow(now_)) << "two are under way";
  Record(1, 0);
  EXPECT_EQ(breaker_.state(), State::kHalfOpen);
  EXPECT_FALSE(breaker_.Allow(now_));
  Record(1, 0);
  EXPECT_EQ(breaker_.state(), State::kClosed);
  EXPECT_TRUE(breaker_.Allow(now_));
}

TEST_F(CircuitBreakerTest, ProbesThatComeSeldomAddUp) {
  Make({.in_a_row = 1, .probes = 3});
  Record(0, 1);
  Pass(absl::Seconds(30));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(breaker_.state(), i == 0 ? State::kOpen : State::kHalfOpen);
    EXPECT_TRUE(breaker_.Allow(now_)) << i;
    Record(1, 0);
    Pass(absl::Seconds(20));
  }
  EXPECT_EQ(breaker_.state(), State::kClosed);
}

TEST_F(CircuitBreakerTest, AProbeThatFailsOpensItAgainAndOneThatIsLostIsGivenUp) {
  Make({.in_a_row = 1});
  Record(0, 1);
  Pass(absl::Seconds(30));
  EXPECT_TRUE(breaker_.Allow(now_));
  Record(0, 1);
  EXPECT_EQ(breaker_.state(), State::kOpen);
  EXPECT_FALSE(breaker_.Allow(now_));
  Pass(absl::Seconds(30));
  EXPECT_TRUE(breaker_.Allow(now_));
  Pass(absl::Seconds(29));
  EXPECT_FALSE(breaker_.Allow(now_));
  Pass(absl::Seconds(1));
  EXPECT_TRUE(breaker_.Allow(now_));
  Record(1, 0);
  EXPECT_EQ(breaker_.state(), State::kClosed);
}

TEST(RetryTest, BudgetAndPolicies) {
  RetryBudget budget(0.2, 3);
  int taken = 0;
  while (budget.Take()) ++taken;
  EXPECT_EQ(taken, 3);
  for (int i = 0; i < 1'000; ++i) {
    budget.Called();
    taken += budget.Take() ? 1 : 0;
  }
  EXPECT_EQ(taken, 203);
  for (int i = 0; i < 1'000; ++i) budget.Called();
  for (taken = 0; budget.Take();) ++taken;
  EXPECT_EQ(taken, 3) << "no more are kept";
  RetryBudget none(0);
  none.Called();
  EXPECT_FALSE(none.Take());

  const LimitedAttempts limited(3);
  for (int i = 0; i < 2; ++i) {
    const auto retry = limited.clone();
    EXPECT_TRUE(retry->MayRetry(absl::UnavailableError(""), absl::ZeroDuration()));
    EXPECT_FALSE(retry->clone()->MayRetry(absl::InternalError(""), absl::ZeroDuration()));
    EXPECT_TRUE(retry->MayRetry(absl::AbortedError(""), absl::ZeroDuration()));
    EXPECT_FALSE(retry->MayRetry(absl::UnavailableError(""), absl::ZeroDuration())) << "a third";
  }
  const ExponentialBackoff grows(absl::Seconds(1), absl::Seconds(5));
  const auto backoff = grows.clone();
  EXPECT_EQ(backoff->Next(0.5), absl::Milliseconds(500));
  EXPECT_EQ(backoff->Next(1), absl::Seconds(2));
  EXPECT_EQ(backoff->Next(0), absl::ZeroDuration());
  EXPECT_EQ(backoff->Next(1), absl::Seconds(5));
  EXPECT_EQ(backoff->Next(1), absl::Seconds(5));
}

class CallerTest : public ::testing::Test {
 protected:
  void Make(int endpoints, CallerOptions options = {}) {
    options.log_failures = false;
    options.on_breaker = [this](const BreakerChange& change) {
      changes_.push_back(absl::StrCat(change.endpoint, " ", static_cast<int>(change.state)));
    };
    balancer_ = std::make_shared<BalancerCore>(
        options.balance,
        BalancerCore::Breaking{.breaker = options.endpoint_breaker, .most = options.most_left_out},
        7, clock_, scheduler_);
    Set(endpoints);
    caller_ = std::make_unique<Caller>(std::make_shared<CallerCore>(
        std::move(options), CallerCore::Parts{.service = "users",
                                              .balancer = balancer_,
                                              .counts = counts_,
                                              .clock = clock_,
                                              .pause = [this](absl::Duration duration) {
                                                paused_ += duration;
                                                clock_.Advance(duration);
                                              }}));
  }
  void Set(int endpoints) {
    auto list = std::make_shared<EndpointList>();
    for (int i = 0; i < endpoints; ++i) {
      list->push_back(std::make_shared<const Endpoint>(
          Endpoint{.id = absl::StrCat(i), .address = {absl::StrCat("10.0.0.", i), 80}}));
    }
    balancer_->Update({.endpoints = std::move(list), .empty = Resolution::Empty::kNoInstances},
                      "users");
  }
  // Those of `bad_` fail. Whom it called.
  absl::Status Call(Idempotent idempotent = Idempotent::kYes) {
    return caller_->Call(
        [this](const Attempt& attempt) {
          ++attempts_[attempt.endpoint.id];
          clock_.Advance(took_);
          return bad_.contains(attempt.endpoint.id) ? failure_ : absl::OkStatus();
        },
        idempotent);
  }
  int Attempts() const {
    int sum = 0;
    for (const auto& [id, count] : attempts_) sum += count;
    return sum;
  }

  base::FakeClock clock_;
  FakeScheduler scheduler_;
  std::shared_ptr<BalancerCore> balancer_;
  const std::shared_ptr<CallCounts> counts_ = std::make_shared<CallCounts>("users");
  std::unique_ptr<Caller> caller_;
  std::vector<std::string> changes_;
  std::set<std::string> bad_;
  absl::Status failure_ = absl::UnavailableError("down");
  absl::Duration took_ = absl::Milliseconds(1);
  absl::Duration paused_;
  std::map<std::string, int> attempts_;
};

TEST_F(CallerTest, ARetryGoesElsewhere) {
  Make(2);
  bad_ = {"0"};
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Call().ok());
  EXPECT_GE(attempts_["1"], 20);
  EXPECT_LE(attempts_["0"], 10);
  EXPECT_LE(paused_, absl::Milliseconds(25) * attempts_["0"]);
}

TEST_F(CallerTest, WhatMayNotBeRepeatedAndAnswersAreNotTriedAgain) {
  Make(3);
  bad_ = {"0", "1", "2"};
  EXPECT_TRUE(absl::IsUnavailable(Call(Idempotent::kNo)));
  EXPECT_EQ(Attempts(), 1);
  failure_ = absl::NotFoundError("no such user");
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(absl::IsNotFound(Call()));
  EXPECT_EQ(Attempts(), 101);
  EXPECT_EQ(caller_->breaker(), State::kClosed) << "an answer is no failure";
  EXPECT_EQ(caller_->left_out(), 0u);
  failure_ = absl::InternalError("a failure that isn't worth a retry");
  EXPECT_FALSE(Call().ok());
  EXPECT_EQ(Attempts(), 102);
}

TEST_F(CallerTest, AttemptsThatTakeTooLongHaveFailed) {
  Make(1, {.retry = std::make_shared<LimitedAttempts>(1)});
  took_ = absl::Seconds(4);
  const absl::Status status = Call();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status));
  EXPECT_EQ(status.message(), "10.0.0.0:80 answered after 4s");
}

TEST_F(CallerTest, WithoutEndpointsItSaysWhy) {
  Make(0);
  for (int i = 0; i < 100; ++i) {
    const absl::Status status = Call();
    EXPECT_TRUE(absl::IsUnavailable(status));
    EXPECT_EQ(status.message(), "\"users\" has no instance now");
  }
  EXPECT_EQ(caller_->breaker(), State::kClosed);
  EXPECT_EQ(paused_, absl::ZeroDuration());
}

TEST_F(CallerTest, TheServicesBreakerOpensTellsAndClosesAgain) {
  Make(3, {.retry_budget = 0, .most_left_out = 0, .fallback = [](const absl::Status& why) {
             EXPECT_TRUE(absl::StrContains(std::string(why.message()),
                                           "calls of \"users\" are not made for another 30s: 20 of "
                                           "20 failed"))
                 << why;
             return absl::OkStatus();
           }});
  bad_ = {"0", "1", "2"};
  // One endpoint may always be left out: its breaker opens after five in a row.
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(Call().ok());
  EXPECT_EQ(caller_->breaker(), State::kOpen);
  EXPECT_EQ(changes_.back(), " 1");
  const int before = Attempts();
  EXPECT_TRUE(Call().ok()) << "the fallback's answer";
  EXPECT_EQ(Attempts(), before);
  bad_.clear();
  clock_.Advance(absl::Seconds(31));
  changes_.clear();
  EXPECT_TRUE(Call().ok());
  EXPECT_EQ(Attempts(), before + 1);
  EXPECT_EQ(caller_->breaker(), State::kClosed);
  EXPECT_TRUE(std::find(changes_.begin(), changes_.end(), " 2") != changes_.end());
  EXPECT_TRUE(std::find(changes_.begin(), changes_.end(), " 0") != changes_.end());
}

TEST_F(CallerTest, AnEndpointThatFailsIsLeftOutAndComesBack) {
  Make(4);
  bad_ = {"2"};
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(Call().ok());
  EXPECT_EQ(attempts_["2"], 5) << "in a row";
  EXPECT_EQ(caller_->left_out(), 1u);
  EXPECT_EQ(changes_, std::vector<std::string>{"10.0.0.2:80 1"});
  // Not well yet: one probe.
  clock_.Advance(absl::Seconds(10));
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(Call().ok());
  EXPECT_EQ(attempts_["2"], 6);
  bad_.clear();
  clock_.Advance(absl::Seconds(10));
  attempts_.clear();
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(Call().ok());
  EXPECT_GE(attempts_["2"], 12);
  EXPECT_EQ(caller_->left_out(), 0u);
  EXPECT_EQ(changes_.back(), "10.0.0.2:80 0");
}

// Whatever the policy and the weights, one that is left out gets its probe, and a retry goes to the
// others.
TEST_F(CallerTest, OneThatIsLeftOutComesBackByEachPolicy) {
  for (const Policy policy :
       {Policy::kRoundRobin, Policy::kWeighted, Policy::kLeastLoaded, Policy::kConsistentHash}) {
    Make(2, {.balance = {.policy = policy}});
    auto list = std::make_shared<EndpointList>();
    for (const auto& [id, weight] :
         {std::pair<std::string, uint32_t>{"heavy", 990}, {"light", 10}}) {
      list->push_back(std::make_shared<const Endpoint>(
          Endpoint{.id = id, .address = {"10.0.0.1", 80}, .passing_weight = weight}));
    }
    balancer_->Update({.endpoints = list}, "users");
    bad_ = {"heavy"};
    attempts_.clear();
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(Call().ok()) << static_cast<int>(policy);
    EXPECT_EQ(caller_->left_out(), 1u);
    EXPECT_LE(attempts_["heavy"], 6) << static_cast<int>(policy);
    bad_.clear();
    clock_.Advance(absl::Seconds(11));
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(Call().ok());
    EXPECT_EQ(caller_->left_out(), 0u) << static_cast<int>(policy);
  }
}

TEST_F(CallerTest, NotMoreAreLeftOutThanTheShare) {
  Make(10, {.retry = std::make_shared<LimitedAttempts>(1),
            .service_breaker = {.error_share = 1, .minimum = 1'000'000},
            .most_left_out = 0.3});
  for (int i = 0; i < 10; ++i) bad_.insert(absl::StrCat(i));
  for (int i = 0; i < 1'000; ++i) EXPECT_FALSE(Call().ok());
  EXPECT_EQ(caller_->left_out(), 3u);
  // One that goes is left out no more.
  Set(1);
  EXPECT_LE(caller_->left_out(), 1u);
  for (const Policy policy : {Policy::kLeastLoaded, Policy::kConsistentHash, Policy::kRoundRobin}) {
    Make(2, {.balance = {.policy = policy}});
    bad_ = {"0"};
    attempts_.clear();
    for (int i = 0; i < 200; ++i) EXPECT_TRUE(Call().ok());
    EXPECT_LE(attempts_["0"], 5 + 1) << static_cast<int>(policy);
    EXPECT_EQ(caller_->left_out(), 1u);
  }
  Make(1);
  bad_ = {"0"};
  for (int i = 0; i < 12; ++i) Call().IgnoreError();
  EXPECT_EQ(caller_->left_out(), 0u) << "never the last one";
}

// Half of the endpoints fail, and nothing but the budget holds retries back.
TEST_F(CallerTest, ARetryStormStaysWithinTheBudget) {
  Make(10, {.retry = std::make_shared<LimitedAttempts>(10),
            .retry_budget = 0.2,
            .service_breaker = {.error_share = 1, .minimum = 1'000'000'000},
            .endpoint_breaker = {.error_share = 1, .minimum = 1'000'000'000}});
  for (int i = 0; i < 5; ++i) bad_.insert(absl::StrCat(i));
  constexpr int kCalls = 10'000;
  int failed = 0;
  for (int i = 0; i < kCalls; ++i) failed += Call().ok() ? 0 : 1;
  EXPECT_LT(Attempts(), 1.25 * kCalls);
  EXPECT_GT(Attempts(), 1.15 * kCalls);
  EXPECT_GT(failed, 0);
}

TEST_F(CallerTest, KeysStayWithTheirEndpointAndRetriesDoNot) {
  Make(5, {.balance = {.policy = Policy::kConsistentHash}});
  std::map<std::string, std::string> owner;
  const auto call = [&](const std::string& key) {
    std::string last;
    const absl::Status status = caller_->Call(key, [&](const Attempt& attempt) {
      last = attempt.endpoint.id;
      return bad_.contains(last) ? failure_ : absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return last;
  };
  for (int i = 0; i < 100; ++i) owner[absl::StrCat("k", i)] = call(absl::StrCat("k", i));
  for (const auto& [key, id] : owner) EXPECT_EQ(call(key), id);
  bad_ = {owner["k0"]};
  EXPECT_NE(call("k0"), owner["k0"]);
}

TEST_F(CallerTest, TheWholeCallHasItsTime) {
  CallerOptions options{.timeout = absl::Seconds(3),
                        .total = absl::Seconds(5),
                        .retry = std::make_shared<LimitedAttempts>(10),
                        .retry_budget = 100};
  Make(5, options);
  std::vector<absl::Duration> timeouts;
  const absl::Status status = caller_->Call([&](const Attempt& attempt) {
    timeouts.push_back(attempt.timeout);
    clock_.Advance(attempt.timeout);
    return absl::DeadlineExceededError("slow");
  });
  EXPECT_TRUE(absl::IsDeadlineExceeded(status));
  ASSERT_EQ(timeouts.size(), 2u);
  EXPECT_EQ(timeouts[0], absl::Seconds(3));
  EXPECT_LE(timeouts[1], absl::Seconds(2));
  EXPECT_GT(timeouts[1], absl::Seconds(1));
}

TEST_F(CallerTest, WhatIsNoFailureMayBeAskedForAgain) {
  Make(3, {.retry_budget = 100});
  int attempts = 0;
  const auto aborted = [&](const Attempt&) {
    return ++attempts < 3 ? absl::AbortedError("again") : absl::OkStatus();
  };
  EXPECT_TRUE(caller_->Call(aborted).ok());
  EXPECT_EQ(attempts, 3);
  EXPECT_EQ(caller_->Call(nullptr).message(), "function: there is none");
}

TEST_F(CallerTest, ThreadsCallWhileEndpointsFailAndChange) {
  std::atomic<bool> stop{false};
  std::atomic<int> calls{0};
  std::vector<std::thread> threads;
  Make(5, {.endpoint_breaker = {.in_a_row = 2, .reset = absl::Milliseconds(1)}});
  // Without the callback of the other tests, which one thread writes to.
  auto core = std::make_shared<CallerCore>(
      CallerOptions{.endpoint_breaker = {.in_a_row = 2, .reset = absl::Milliseconds(1)},
                    .log_failures = false},
      CallerCore::Parts{.service = "users",
                        .balancer = balancer_,
                        .counts = counts_,
                        .clock = clock_,
                        .pause = [](absl::Duration) {}});
  const Caller caller(core);
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; !stop; ++i) {
        caller
            .Call([&](const Attempt& attempt) {
              clock_.Advance(absl::Microseconds(10));
              return (attempt.endpoint.id == "1" && i % 7 != t) ? absl::UnavailableError("")
                                                                : absl::OkStatus();
            })
            .IgnoreError();
        ++calls;
      }
    });
  }
  while (calls < 1'000) std::this_thread::yield();
  for (int i = 0; i < 200; ++i) Set(3 + i % 4);
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

// A registry that says nothing, and counts who listens.
class Silent : public Connection {
 public:
  absl::StatusOr<Resolution> Resolve(const Target&) override {
    return absl::UnavailableError("nothing is known");
  }
  absl::StatusOr<std::unique_ptr<Subscription>> Watch(const Target&, Listener) override {
    ++watched;
    return std::make_unique<Subscription>();
  }
  absl::StatusOr<std::unique_ptr<Registration>> Register(Instance, RegisterOptions) override {
    return absl::UnimplementedError("not here");
  }
  int watched = 0;
};

TEST(ClientCallTest, AllPathsOfAServiceAreOneCaller) {
  const auto connection = std::make_shared<Silent>();
  const Client client(connection);
  const auto nobody = [](const Attempt&) { return absl::OkStatus(); };
  for (int i = 0; i < 100; ++i) {
    const std::string url = absl::StrCat("http://users:8002/users/", i);
    EXPECT_EQ(client.Call(url, nobody).message(), "nothing is known");
  }
  EXPECT_EQ(connection->watched, 1);
  const Client copy = client;
  copy.Call("http://users:8002/other", nobody).IgnoreError();
  EXPECT_EQ(connection->watched, 1);
  client.Call("users", nobody).IgnoreError();
  EXPECT_EQ(connection->watched, 2) << "its DNS name has another port";
}

TEST(CallerOptionsTest, WhatCantBeUsedIsNamed) {
  const Client client(std::make_shared<Silent>());
  const auto error = [&](CallerOptions options) {
    const absl::Status status = client.CallerOf("users", std::move(options)).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(error({.timeout = absl::ZeroDuration()}), "timeout: is not above 0");
  EXPECT_EQ(error({.retry = nullptr}), "retry: there is none");
  EXPECT_EQ(error({.backoff = nullptr}), "backoff: there is none");
  EXPECT_EQ(error({.retry_budget = -1}), "retry_budget: is not from 0 to 100");
  EXPECT_EQ(error({.most_left_out = 2}), "most_left_out: is not from 0 to 1");
  EXPECT_EQ(error({.service_breaker = {.error_share = 0}}),
            "service_breaker: error_share is not above 0 and at most 1");
  EXPECT_EQ(error({.endpoint_breaker = {.probes = 0}}), "endpoint_breaker: probes is 0");
  EXPECT_EQ(error({.endpoint_breaker = {.window = absl::ZeroDuration()}}),
            "endpoint_breaker: window is not above 0");
  EXPECT_EQ(error({.service_breaker = {.reset = absl::ZeroDuration()}}),
            "service_breaker: reset is not above 0");
  EXPECT_EQ(error({.service_breaker = {.reset = absl::InfiniteDuration()}}),
            "service_breaker: window or reset is above a year");
  const auto nobody = [](const Attempt&) { return absl::OkStatus(); };
  EXPECT_TRUE(absl::IsUnavailable(client.Call("users", nobody)));
  EXPECT_TRUE(absl::IsInvalidArgument(client.Call("a b", nobody)));
}

}  // namespace
}  // namespace muster::client
