#include "muster/client/metrics.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/fake_clock.h"
#include "client/guard/call_counts.h"
#include "client/guard/caller_core.h"
#include "fake_scheduler.h"
#include "muster/client/log.h"

namespace muster::client {
namespace {

using testing::FakeScheduler;

class MetricsTest : public ::testing::Test {
 protected:
  MetricsTest() {
    balancer_ = std::make_shared<BalancerCore>(
        BalanceOptions{}, BalancerCore::Breaking{.breaker = {.minimum = 1'000'000}}, 7, clock_,
        scheduler_);
    SetLogSink([this](const LogLine& line) {
      EXPECT_EQ(line.level, LogLevel::kWarn);
      lines_.push_back(absl::StrCat(std::string(line.message), ": ",
                                    absl::StrJoin(line.fields, " ", absl::PairFormatter("="))));
    });
  }
  ~MetricsTest() override { SetLogSink(nullptr); }

  void Set(const std::vector<std::string>& hosts,
           Resolution::Source source = Resolution::Source::kRegistry) {
    auto list = std::make_shared<EndpointList>();
    for (const std::string& host : hosts) {
      list->push_back(
          std::make_shared<const Endpoint>(Endpoint{.id = host, .address = {host, 80}}));
    }
    balancer_->Update(
        {.endpoints = std::move(list), .source = source, .empty = Resolution::Empty::kNoInstances},
        "users");
  }
  // Takes so long and ends so, each attempt of it.
  void Call(absl::Duration took, const absl::Status& status, CallerOptions options = {}) {
    options.service_breaker.minimum = 1'000'000;
    options.retry_budget = 100;
    CallerCore core(std::move(options),
                    {.service = "users",
                     .balancer = balancer_,
                     .counts = counts_,
                     .clock = clock_,
                     .pause = [this](absl::Duration) { clock_.Advance(absl::Milliseconds(10)); }});
    core.Call(
            nullptr,
            [&](const Attempt&) {
              clock_.Advance(took);
              return status;
            },
            Idempotent::kYes)
        .IgnoreError();
  }
  ServiceMetrics Read() { return counts_->Read(clock_.Steady()); }

  base::FakeClock clock_;
  FakeScheduler scheduler_;
  std::shared_ptr<BalancerCore> balancer_;
  const std::shared_ptr<CallCounts> counts_ = std::make_shared<CallCounts>("users");
  std::vector<std::string> lines_;
};

TEST_F(MetricsTest, CallsAndAttemptsAreCountedByEndpointAndSource) {
  Set({"10.0.0.1"});
  Call(absl::Milliseconds(3), absl::OkStatus());
  Set({"10.0.0.2"}, Resolution::Source::kSnapshot);
  Call(absl::Milliseconds(700), absl::UnavailableError("gone"));
  Call(absl::Milliseconds(1), absl::NotFoundError("its answer"));
  const ServiceMetrics read = Read();
  EXPECT_EQ(read.calls, 3u);
  EXPECT_EQ(read.failed, 1u) << "after all its attempts";
  EXPECT_EQ(read.not_made, 0u);
  EXPECT_EQ(read.attempts, 5u);
  EXPECT_EQ(read.by_source[0], 1u);
  EXPECT_EQ(read.by_source[static_cast<size_t>(Resolution::Source::kSnapshot)], 4u);
  EXPECT_EQ(read.latency.count(), 3u);
  // 3 ms, 3 * 700 ms with two pauses of 10 ms, 1 ms.
  EXPECT_EQ(read.latency.sum_us, 3'000 + 2'120'000 + 1'000);
  EXPECT_EQ(read.latency.counts[1], 1u) << "above 0.5 and up to 1 ms";
  EXPECT_EQ(read.latency.counts[3], 1u) << "up to 5 ms";
  EXPECT_EQ(read.latency.counts[11], 1u) << "up to 2.5 s";
  ASSERT_EQ(read.endpoints.size(), 2u);
  EXPECT_EQ(read.endpoints[0].endpoint, "10.0.0.1:80");
  EXPECT_EQ(read.endpoints[1].attempts, 4u);
  EXPECT_EQ(read.endpoints[1].failed, 3u);
  EXPECT_EQ(read.endpoints[1].latency.sum_us, 2'101'000);
}

TEST_F(MetricsTest, CallsWithoutAnAttemptAreCounted) {
  Set({});
  Call(absl::ZeroDuration(), absl::OkStatus());
  EXPECT_EQ(Read().failed, 1u);
  EXPECT_EQ(Read().not_made, 1u);
  balancer_->Fail(absl::UnauthenticatedError("who?"));
  Call(absl::ZeroDuration(), absl::OkStatus());
  EXPECT_EQ(Read().failed, 2u) << "whatever the reason";
  EXPECT_EQ(Read().attempts, 0u);
}

TEST_F(MetricsTest, AnEndpointThatIsCalledNoMoreIsForgottenAfterAnHour) {
  Set({"10.0.0.1"});
  Call(absl::Milliseconds(1), absl::OkStatus());
  Set({"10.0.0.2"});
  clock_.Advance(absl::Minutes(59));
  Call(absl::Milliseconds(1), absl::OkStatus());
  EXPECT_EQ(Read().endpoints.size(), 2u);
  clock_.Advance(absl::Minutes(2));
  ASSERT_EQ(Read().endpoints.size(), 1u);
  EXPECT_EQ(Read().endpoints[0].endpoint, "10.0.0.2:80");
  EXPECT_EQ(Read().attempts, 2u) << "of the service";
}

TEST_F(MetricsTest, AFailedCallIsALineOfTheLogTenASecond) {
  Set({"10.0.0.1"});
  Call(absl::Milliseconds(20), absl::OkStatus());
  Call(absl::Milliseconds(20), absl::NotFoundError("its answer"));
  EXPECT_EQ(lines_, std::vector<std::string>{});
  Call(absl::Milliseconds(20), absl::UnavailableError("gone"));
  EXPECT_EQ(lines_,
            std::vector<std::string>{"a call failed: service=users endpoint=10.0.0.1:80 attempts=3 "
                                     "took=80ms why=UNAVAILABLE: gone failed_before_unlogged=0"});
  clock_.Advance(absl::Seconds(1));
  for (int i = 0; i < 25; ++i) Call(absl::ZeroDuration(), absl::InternalError(""));
  EXPECT_EQ(lines_.size(), 11u);
  clock_.Advance(absl::Seconds(1));
  Call(absl::ZeroDuration(), absl::InternalError(""));
  EXPECT_TRUE(absl::EndsWith(lines_.back(), "failed_before_unlogged=15")) << lines_.back();
  const size_t lines = lines_.size();
  clock_.Advance(absl::Seconds(1));
  Call(absl::ZeroDuration(), absl::InternalError(""), {.log_failures = false});
  EXPECT_EQ(lines_.size(), lines);
}

TEST_F(MetricsTest, EachAttemptIsTold) {
  Set({"10.0.0.1", "10.0.0.2"}, Resolution::Source::kDns);
  std::vector<AttemptEvent> told;
  Call(absl::Milliseconds(5), absl::UnavailableError("gone"),
       {.on_attempt = [&](const AttemptEvent& event) { told.push_back(event); },
        .log_failures = false});
  ASSERT_EQ(told.size(), 3u);
  EXPECT_NE(told[0].endpoint, told[1].endpoint);
  EXPECT_EQ(told[2].number, 3);
  EXPECT_EQ(told[2].service, "users");
  EXPECT_EQ(told[2].source, Resolution::Source::kDns);
  EXPECT_EQ(told[2].took, absl::Milliseconds(5));
  EXPECT_EQ(told[2].status.message(), "gone");
}

TEST_F(MetricsTest, PrometheusText) {
  ServiceMetrics users{.service = "a\"b\\c\n", .calls = 3, .failed = 1, .attempts = 4};
  users.breaker = BreakerState::kOpen;
  users.by_source[3] = 4;
  users.latency.Add(1'000);
  users.latency.Add(1'001);
  users.latency.Add(60'000'000);
  users.endpoints.push_back({.endpoint = "[::1]:80", .attempts = 4, .failed = 2});
  const std::string text =
      PrometheusText({.services = {users},
                      .registrations = {{"api",
                                         {.state = RegistrationStatus::State::kHeld,
                                          .unconfirmed = absl::Milliseconds(1'500),
                                          .id = "a"}},
                                        {"api", {}},
                                        {"api", {}}}});
  for (const std::string line :
       {"# TYPE muster_client_calls_total counter",
        R"(muster_client_calls_total{service="a\"b\\c\n"} 3)",
        R"(muster_client_breaker_state{service="a\"b\\c\n"} 1)",
        R"(muster_client_call_seconds_bucket{service="a\"b\\c\n",le="0.0005"} 0)",
        R"(muster_client_call_seconds_bucket{service="a\"b\\c\n",le="0.001"} 1)",
        R"(muster_client_call_seconds_bucket{service="a\"b\\c\n",le="5"} 2)",
        R"(muster_client_call_seconds_bucket{service="a\"b\\c\n",le="+Inf"} 3)",
        R"(muster_client_call_seconds_sum{service="a\"b\\c\n"} 60.002001)",
        R"(muster_client_call_seconds_count{service="a\"b\\c\n"} 3)",
        R"(muster_client_attempts_total{service="a\"b\\c\n",source="dns"} 4)",
        R"(muster_client_registration_held{service="api",id="a"} 1)",
        R"(muster_client_registration_unconfirmed_seconds{service="api",id="a"} 1.5)",
        R"(muster_client_registration_held{service="api",id=""} 0)",
        R"(muster_client_registration_held{service="api",id="#1"} 0)",
        R"(muster_client_registration_unconfirmed_seconds{service="api",id=""} +Inf)",
        R"(muster_client_endpoint_failures_total{service="a\"b\\c\n",endpoint="[::1]:80"} 2)"}) {
    EXPECT_TRUE(absl::StrContains(text, line + "\n")) << line << "\n" << text;
  }
}

}  // namespace
}  // namespace muster::client
