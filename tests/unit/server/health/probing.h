// Runs probers on a loop in the test's own thread.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/health/prober_factory.h"
#include "server/health/resolver.h"

namespace muster::health {

using Outcome = ProbeResult::Outcome;

// Knows the names that it is told, and answers at once. One that it isn't told hangs.
class FakeResolver : public Resolver {
 public:
  Begun Resolve(const std::string& host, std::weak_ptr<const void> wanted, Done done) override {
    asked_.push_back(host);
    const auto found = names_.find(host);
    if (found == names_.end()) {
      hanging_.emplace_back(std::move(wanted), std::move(done));
    } else {
      done(found->second);
    }
    return std::make_shared<std::atomic<bool>>(!crowded_);
  }
  void Set(const std::string& host, const std::vector<std::string>& addresses) {
    Addresses& out = names_[host].emplace();
    for (const auto& address : addresses) out.push_back(boost::asio::ip::make_address(address));
  }
  void Fail(const std::string& host, const std::string& why) {
    names_[host] = absl::UnavailableError(why);
  }
  void SetCrowded() { crowded_ = true; }
  const std::vector<std::string>& asked() const { return asked_; }
  // Whether whoever asks for a name that hangs is still there.
  bool Wanted() const { return !hanging_.empty() && !hanging_.back().first.expired(); }
  void AnswerHanging(const Addresses& addresses) {
    for (auto& [wanted, done] : std::exchange(hanging_, {})) done(addresses);
  }

 private:
  std::map<std::string, absl::StatusOr<Addresses>> names_;
  std::vector<std::string> asked_;
  bool crowded_ = false;
  std::vector<std::pair<std::weak_ptr<const void>, Done>> hanging_;
};

class Probing : public testing::Test {
 protected:
  // With loopback allowed, unless the test says otherwise.
  void Configure(const config::v1::Health& config = {}, bool loopback_ok = true) {
    auto factory =
        ProberFactory::Create(loop_, config, {.loopback_ok = loopback_ok, .resolver = resolver_});
    ASSERT_TRUE(factory.ok()) << factory.status();
    factory_ = *std::move(factory);
  }
  std::unique_ptr<Prober> Make(const v1::Check& check, uint32_t port,
                               const std::string& address = "127.0.0.1") {
    if (factory_ == nullptr) Configure();
    auto prober = factory_->Make(check, {address, port});
    EXPECT_TRUE(prober.ok()) << prober.status();
    return prober.ok() ? *std::move(prober) : nullptr;
  }

  // Runs the loop until `reached()`; false after 20 s.
  template <typename Condition>
  bool RunUntil(const Condition& reached) {
    const auto end = base::RealClock().Steady() + absl::Seconds(20);
    while (!reached()) {
      if (base::RealClock().Steady() > end) return false;
      loop_.restart();
      loop_.run_one_for(std::chrono::milliseconds(20));
    }
    return true;
  }
  void RunFor(absl::Duration duration) {
    loop_.restart();
    loop_.run_for(absl::ToChronoMilliseconds(duration));
  }

  // One run. How long it took is in took_.
  ProbeResult Run(Prober& prober) {
    std::optional<ProbeResult> result;
    int calls = 0;
    const auto start = base::RealClock().Steady();
    const auto probe = prober.Start([&](ProbeResult done) {
      ++calls;
      result = std::move(done);
    });
    EXPECT_EQ(calls, 0) << "called within Start";
    EXPECT_TRUE(RunUntil([&] { return result.has_value(); }));
    took_ = base::RealClock().Steady() - start;
    loop_.restart();
    loop_.poll();
    EXPECT_EQ(calls, 1);
    return result.value_or(ProbeResult{});
  }
  ProbeResult Run(const v1::Check& check, uint32_t port, const std::string& address = "127.0.0.1") {
    const auto prober = Make(check, port, address);
    return prober == nullptr ? ProbeResult{} : Run(*prober);
  }

  // A probe that is destroyed once `there()`, must not call back, and must leave nothing behind:
  // the loop has no more work.
  template <typename Condition>
  void ExpectCancels(const v1::Check& check, uint32_t port, const Condition& there,
                     const std::string& address = "127.0.0.1") {
    auto prober = Make(check, port, address);
    bool called = false;
    auto probe = prober->Start([&](const ProbeResult&) { called = true; });
    ASSERT_TRUE(RunUntil(there));
    ASSERT_FALSE(called);
    probe.reset();
    prober.reset();
    loop_.restart();
    const auto start = base::RealClock().Steady();
    loop_.run_for(std::chrono::seconds(20));
    EXPECT_LT(base::RealClock().Steady() - start, absl::Seconds(2)) << "something still waits";
    EXPECT_FALSE(called);
  }

  boost::asio::io_context loop_;
  const std::shared_ptr<FakeResolver> resolver_ = std::make_shared<FakeResolver>();
  std::unique_ptr<ProberFactory> factory_;
  absl::Duration took_;
};

inline v1::Check WithTimeout(v1::Check check, absl::Duration timeout) {
  check.mutable_timeout()->set_seconds(absl::ToInt64Seconds(timeout));
  check.mutable_timeout()->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(timeout % absl::Seconds(1))));
  return check;
}

inline v1::Check HttpCheck(const std::string& url, absl::Duration timeout = absl::Seconds(5)) {
  v1::Check check;
  check.mutable_http()->set_url(url);
  return WithTimeout(std::move(check), timeout);
}

inline v1::Check TcpCheck(const std::string& target = "",
                          absl::Duration timeout = absl::Seconds(5)) {
  v1::Check check;
  check.mutable_tcp()->set_target(target);
  return WithTimeout(std::move(check), timeout);
}

MATCHER_P3(IsResult, outcome, reached, output, "") {
  *result_listener << "outcome " << static_cast<int>(arg.outcome) << ", reached " << arg.reached
                   << ", output " << arg.output;
  return arg.outcome == outcome && arg.reached == reached &&
         testing::ExplainMatchResult(testing::HasSubstr(output), arg.output, result_listener);
}

}  // namespace muster::health
