// Checks over time, with probers and a store that the test plays.
#include "server/health/check_scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/fake_clock.h"

namespace muster::health {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

ProbeResult Passing() { return {ProbeResult::Outcome::kPassing, true, "HTTP 200"}; }
ProbeResult Failing(std::string output = "HTTP 500") {
  return {ProbeResult::Outcome::kFailing, true, std::move(output)};
}
ProbeResult Unreachable() { return {ProbeResult::Outcome::kFailing, false, "refused"}; }

// What probers do, and what they were asked.
struct Targets {
  struct Run {
    std::string target;
    base::SteadyTime at;
    ProbeDone done;  // null once it was answered, or cancelled
  };
  std::vector<Run> runs;
  std::vector<WatchCallbacks> watches;
  std::map<std::string, ProbeResult> answers;  // at once; otherwise a run stays under way
  bool offer_watch = false;
  size_t under_way = 0;
  size_t most_under_way = 0;
};

class FakeProbe : public Probe {
 public:
  FakeProbe(Targets& targets, std::function<void()> on_end)
      : targets_(targets), on_end_(std::move(on_end)) {
    targets_.most_under_way = std::max(targets_.most_under_way, ++targets_.under_way);
  }
  ~FakeProbe() override {
    --targets_.under_way;
    on_end_();
  }

 private:
  Targets& targets_;
  const std::function<void()> on_end_;
};

class FakeProber : public Prober {
 public:
  FakeProber(Targets& targets, const base::Clock& clock, std::string target)
      : targets_(targets), clock_(clock), target_(std::move(target)) {}
  std::unique_ptr<Probe> Start(ProbeDone done) override {
    const size_t index = targets_.runs.size();
    targets_.runs.push_back({target_, clock_.Steady(), std::move(done)});
    return std::make_unique<FakeProbe>(
        targets_, [&targets = targets_, index] { targets.runs[index].done = nullptr; });
  }
  std::unique_ptr<Probe> Watch(WatchCallbacks callbacks) override {
    if (!targets_.offer_watch) return nullptr;
    targets_.watches.push_back(std::move(callbacks));
    return std::make_unique<FakeProbe>(targets_, [] {});
  }

 private:
  Targets& targets_;
  const base::Clock& clock_;
  const std::string target_;
};

// Answers at the next turn of the loop, as the real one.
struct FakeStore : CheckStore {
  void SetOutcome(core::CheckOutcome outcome, std::function<void(absl::Status)> done) override {
    said.push_back(absl::StrCat(outcome.check_id, " ",
                                " PWC"[outcome.status] == 'P'   ? "passing"
                                : " PWC"[outcome.status] == 'W' ? "warning"
                                                                : "critical",
                                ": ", outcome.output));
    definitions.push_back(outcome.definition_seq);
    waiting.push_back([done = std::move(done), status = next] { done(status); });
  }
  void Deregister(const std::string&, uint64_t incarnation) override {
    deregistered.push_back(incarnation);
  }
  void Answer() {
    for (const auto& one : std::exchange(waiting, {})) one();
  }
  std::vector<std::string> said;
  std::vector<uint64_t> definitions;
  std::vector<uint64_t> deregistered;
  std::vector<std::function<void()>> waiting;
  absl::Status next;
};

class CheckSchedulerTest : public testing::Test {
 protected:
  void Make(SchedulerOptions options = {}) {
    options.nudge = [this] { nudged_ = true; };
    scheduler_ = std::make_unique<CheckScheduler>(
        clock_, rng_, store_,
        [this](const v1::Check& check, const std::string& address,
               uint32_t port) -> absl::StatusOr<std::unique_ptr<Prober>> {
          if (check.tcp().target() == "refused:1") {
            return absl::InvalidArgumentError("it may not be probed");
          }
          return std::unique_ptr<Prober>(
              new FakeProber(targets_, clock_, absl::StrCat(address, ":", port, "/", check.id())));
        },
        options);
  }
  static v1::Check Tcp(const std::string& id) {
    v1::Check check;
    check.set_id(id);
    check.mutable_tcp();
    return check;
  }
  static v1::Check Ttl(int64_t seconds) {
    v1::Check check;
    check.set_id("ttl");
    check.mutable_ttl()->mutable_ttl()->set_seconds(seconds);
    return check;
  }
  Followed Instance(const std::string& id, uint64_t incarnation = 1, uint64_t definition = 1) {
    return {.key = storage::EncodeInstanceKey("default", "api", "", id),
            .incarnation = incarnation,
            .definition_seq = definition,
            .address = "10.0.0.1",
            .port = 80,
            .zone = "a"};
  }
  void Set(const Followed& instance, const std::vector<v1::Check>& checks, bool fresh = true) {
    std::vector<CheckScheduler::Definition> definitions;
    for (const v1::Check& check : checks) definitions.emplace_back().check = check;
    scheduler_->Set(instance, std::move(definitions), fresh);
  }
  // Lets time pass in steps of 10 ms.
  void Advance(absl::Duration d) {
    for (; d > absl::ZeroDuration(); d -= absl::Milliseconds(10)) {
      clock_.Advance(absl::Milliseconds(10));
      Turn();
    }
  }
  void Turn() {
    Poll();
    for (size_t i = 0; i < targets_.runs.size(); ++i) {
      const auto answer = targets_.answers.find(targets_.runs[i].target);
      if (targets_.runs[i].done == nullptr || answer == targets_.answers.end()) continue;
      const ProbeDone done = targets_.runs[i].done;
      done(answer->second);
    }
    store_.Answer();
    Poll();
  }
  // When it was asked for, as the real loop.
  void Poll() {
    while (nudged_ || clock_.Steady() >= next_poll_) {
      nudged_ = false;
      next_poll_ = scheduler_->Poll();
      if (next_poll_ <= clock_.Steady()) break;
    }
  }
  const std::string kUp = "10.0.0.1:80/up";

  base::FakeClock clock_;
  base::SeededRng rng_{7};
  Targets targets_;
  FakeStore store_;
  bool nudged_ = false;
  base::SteadyTime next_poll_{};
  std::unique_ptr<CheckScheduler> scheduler_;
};

TEST_F(CheckSchedulerTest, WhoRegistersIsProbedWithinASecond) {
  Make();
  targets_.answers[kUp] = Passing();
  Set(Instance("a"), {Tcp("up")});
  Advance(absl::Seconds(1));
  EXPECT_THAT(store_.said, ElementsAre("up passing: HTTP 200"));
}

TEST_F(CheckSchedulerTest, RunsComeFromStartToStartAndALittleEarly) {
  Make();
  targets_.answers[kUp] = Passing();
  Set(Instance("a"), {Tcp("up")});
  Advance(absl::Seconds(200));
  ASSERT_GT(targets_.runs.size(), 20u);
  EXPECT_LE(targets_.runs[1].at - targets_.runs[0].at, absl::Seconds(10));
  for (size_t i = 2; i < targets_.runs.size(); ++i) {
    const absl::Duration between = targets_.runs[i].at - targets_.runs[i - 1].at;
    EXPECT_GE(between, absl::Milliseconds(9500));
    EXPECT_LE(between, absl::Milliseconds(10'020));
  }
  EXPECT_THAT(store_.said, SizeIs(1)) << "the same again is no news";
}

TEST_F(CheckSchedulerTest, FailingOnesRunAtAnotherInterval) {
  Make();
  v1::Check check = Tcp("up");
  check.mutable_failing_interval()->set_seconds(2);
  targets_.answers[kUp] = Failing();
  Set(Instance("a"), {check});
  Advance(absl::Seconds(61));
  EXPECT_GE(targets_.runs.size(), 30u);
  EXPECT_LE(targets_.runs.size(), 34u);
  EXPECT_THAT(store_.said, ElementsAre("up critical: HTTP 500"));
}

TEST_F(CheckSchedulerTest, ASickOneIsToldWithinItsTime) {
  Make();
  v1::Check check = Tcp("up");
  check.mutable_interval()->set_seconds(5);
  check.set_failures_before_critical(3);
  targets_.answers[kUp] = Passing();
  Set(Instance("a"), {check});
  Advance(absl::Seconds(20));
  targets_.answers[kUp] = Failing();
  const base::SteadyTime sick = clock_.Steady();
  while (store_.said.size() < 2 && clock_.Steady() - sick < absl::Seconds(30)) {
    Advance(absl::Milliseconds(10));
  }
  EXPECT_THAT(store_.said, ElementsAre("up passing: HTTP 200", "up critical: HTTP 500"));
  EXPECT_LE(clock_.Steady() - sick, absl::Seconds(15) + absl::Milliseconds(50));
}

TEST_F(CheckSchedulerTest, AfterARestartItStartsFromWhatIsStored) {
  Make();
  CheckScheduler::Definition definition;
  definition.check = Tcp("up");
  definition.check.set_failures_before_critical(3);
  definition.has_result = true;
  definition.result.set_status(v1::PASSING);
  definition.result.set_output("HTTP 200");
  targets_.answers[kUp] = Failing();
  scheduler_->Set(Instance("a"), {definition}, /*fresh=*/false);
  Advance(absl::Seconds(9));
  EXPECT_THAT(store_.said, IsEmpty()) << "one failure or none";
  Advance(absl::Seconds(25));
  EXPECT_THAT(store_.said, ElementsAre("up critical: HTTP 500"));
}

// A record that is a minute old at most may not take another text, and nobody would notice.
TEST_F(CheckSchedulerTest, AfterARestartANewOutputWaitsForItsMinute) {
  Make();
  CheckScheduler::Definition definition;
  definition.check = Tcp("up");
  definition.has_result = true;
  definition.result.set_status(v1::PASSING);
  definition.result.set_output("HTTP 204");
  targets_.answers[kUp] = Passing();
  scheduler_->Set(Instance("a"), {definition}, /*fresh=*/false);
  Advance(absl::Seconds(59));
  EXPECT_THAT(store_.said, IsEmpty());
  Advance(absl::Seconds(2));
  EXPECT_THAT(store_.said, ElementsAre("up passing: HTTP 200"));
}

TEST_F(CheckSchedulerTest, ANewOutputOfAWatchIsToldAfterItsMinute) {
  Make();
  targets_.offer_watch = true;
  Set(Instance("a"), {Tcp("up")});
  Advance(absl::Seconds(1));
  for (const char* output : {"NOT_SERVING", "SERVICE_UNKNOWN"}) {
    const ProbeDone told = targets_.watches.back().on_status;
    told(Failing(output));
    store_.Answer();
  }
  EXPECT_THAT(store_.said, ElementsAre("up critical: NOT_SERVING"));
  Advance(absl::Seconds(61));
  EXPECT_THAT(store_.said, ElementsAre("up critical: NOT_SERVING", "up critical: SERVICE_UNKNOWN"));
}

TEST_F(CheckSchedulerTest, ANewOutputIsToldOnceAMinute) {
  Make();
  Set(Instance("a"), {Tcp("up")});
  for (int i = 0; i < 15; ++i) {
    targets_.answers[kUp] = Passing();
    targets_.answers[kUp].output = absl::StrCat("took ", i, " ms");
    Advance(absl::Seconds(10));
  }
  EXPECT_THAT(store_.said, SizeIs(3));
}

TEST_F(CheckSchedulerTest, WhatTheStoreRefusedIsToldAgain) {
  Make();
  targets_.answers[kUp] = Passing();
  store_.next = absl::UnavailableError("read-only");
  Set(Instance("a"), {Tcp("up")});
  Advance(absl::Seconds(4));
  EXPECT_GE(store_.said.size(), 3u);
  EXPECT_LE(store_.said.size(), 5u);
  store_.next = absl::OkStatus();
  Advance(absl::Seconds(2));
  const size_t said = store_.said.size();
  Advance(absl::Seconds(20));
  EXPECT_EQ(store_.said.size(), said);
}

TEST_F(CheckSchedulerTest, NoMoreRunAtOnceThanAllowed) {
  Make({.max_probes = 8});
  for (int i = 0; i < 200; ++i) {
    Followed instance = Instance(absl::StrCat(i));
    instance.address = absl::StrCat("10.0.1.", i);
    Set(instance, {Tcp("up")});
  }
  Advance(absl::Seconds(3));
  EXPECT_EQ(targets_.most_under_way, 6u) << "and none of them answers, of which nothing is known";
  EXPECT_EQ(scheduler_->counts().waiting, 194u);
}

// Before the loop would look by itself.
TEST_F(CheckSchedulerTest, AFreePlaceIsTakenAtOnce) {
  Make({.max_probes = 4});
  for (int i = 0; i < 20; ++i) {
    targets_.answers[absl::StrCat("10.0.0.1:80/", i)] = Passing();
    Set(Instance(absl::StrCat(i)), {Tcp(absl::StrCat(i))});
  }
  Advance(absl::Seconds(30));
  // One place for this host. All come due, and each takes one turn of the loop.
  clock_.Advance(absl::Seconds(10));
  const size_t before = targets_.runs.size();
  for (int i = 0; i < 20; ++i) Turn();
  EXPECT_GE(targets_.runs.size(), before + 20);
}

TEST_F(CheckSchedulerTest, WakesOfThePastAreForgotten) {
  Make();
  v1::Check check = Ttl(86'400);
  for (int i = 0; i < 50'000; ++i) {
    scheduler_->Remove(Instance("a").key);
    Set(Instance("a"), {check});
  }
  EXPECT_LT(scheduler_->counts().wakes, 2'000u);
  Advance(absl::Seconds(1));
  EXPECT_THAT(store_.said, IsEmpty());
}

// Targets of many names hang, more than there are places, each for the whole of its interval, but
// for every so-manieth run, in which they answer at once.
class ManyHang : public CheckSchedulerTest, public testing::WithParamInterface<size_t> {
 protected:
  static constexpr absl::Duration kInterval = absl::Seconds(10);
  Followed At(const std::string& host) {
    Followed instance = Instance(host);
    instance.address = host;
    return instance;
  }
  void AdvanceHanging(absl::Duration d) {
    for (; d > absl::ZeroDuration(); d -= absl::Milliseconds(10)) {
      clock_.Advance(absl::Milliseconds(10));
      for (size_t i = 0; i < targets_.runs.size(); ++i) {
        const Targets::Run& run = targets_.runs[i];
        if (run.done == nullptr || !run.target.starts_with("hangs")) continue;
        const bool answers =
            GetParam() > 0 && ++runs_of_[i] == 1 && ++runs_of_target_[run.target] % GetParam() == 0;
        if (!answers && clock_.Steady() - run.at < kInterval) continue;
        const ProbeDone done = run.done;
        done(answers ? Passing() : Unreachable());
      }
      Turn();
    }
  }
  // Of each target, the longest time from run to run since then.
  absl::Duration LongestWait(base::SteadyTime since, std::string_view prefix) const {
    std::map<std::string, base::SteadyTime> last;
    absl::Duration longest = absl::ZeroDuration();
    for (const Targets::Run& run : targets_.runs) {
      if (!run.target.starts_with(prefix)) continue;
      const auto [it, first] = last.emplace(run.target, run.at);
      if (!first && run.at >= since) longest = std::max(longest, run.at - it->second);
      it->second = run.at;
    }
    for (const auto& [target, at] : last) longest = std::max(longest, clock_.Steady() - at);
    return longest;
  }
  std::map<size_t, size_t> runs_of_;
  std::map<std::string, size_t> runs_of_target_;
};

TEST_P(ManyHang, TheyDelayEachOtherOnly) {
  Make({.max_probes = 16});
  v1::Check hanging = Tcp("up");
  hanging.mutable_timeout()->set_seconds(10);
  for (int i = 0; i < 30; ++i) Set(At(absl::StrCat("hangs", i)), {hanging});
  for (int i = 0; i < 20; ++i) {
    targets_.answers[absl::StrCat("well", i, ":80/up")] = Passing();
    Set(At(absl::StrCat("well", i)), {Tcp("up")});
  }
  AdvanceHanging(absl::Seconds(60));
  const base::SteadyTime settled = clock_.Steady();
  AdvanceHanging(absl::Seconds(200));
  EXPECT_LE(LongestWait(settled, "well"), kInterval + absl::Milliseconds(50));
  EXPECT_LE(LongestWait(settled, "hangs"), 6 * kInterval) << "30 of them share 8 places";
  EXPECT_GT(scheduler_->counts().waiting, 0u);
  // One that comes isn't kept waiting, either.
  targets_.answers["new:80/up"] = Passing();
  Set(At("new"), {Tcp("up")});
  AdvanceHanging(absl::Seconds(1));
  EXPECT_EQ(std::count_if(targets_.runs.begin(), targets_.runs.end(),
                          [](const Targets::Run& run) { return run.target == "new:80/up"; }),
            1);
}
INSTANTIATE_TEST_SUITE_P(AnswerEvery, ManyHang, testing::Values(0, 2, 7));

// They had answered at once for as long as nobody was to be harmed.
TEST_F(CheckSchedulerTest, WhoMayHangForLongIsNeverAQuickOne) {
  Make({.max_probes = 16});
  v1::Check hanging = Tcp("up");
  hanging.mutable_timeout()->set_seconds(3600);
  hanging.mutable_interval()->set_seconds(3600);
  const auto all = [&](uint64_t incarnation) {
    for (int i = 0; i < 64; ++i) {
      Followed instance = Instance(absl::StrCat("h", i), incarnation);
      instance.address = absl::StrCat("hangs", i);
      Set(instance, {hanging});
    }
  };
  for (int i = 0; i < 64; ++i) targets_.answers[absl::StrCat("hangs", i, ":80/up")] = Passing();
  all(1);
  Advance(absl::Seconds(5));
  targets_.answers.clear();
  all(2);
  Advance(absl::Seconds(5));
  targets_.answers[kUp] = Passing();
  Set(Instance("well"), {Tcp("up")});
  Advance(absl::Seconds(1));
  EXPECT_EQ(store_.said.size(), 65u);
  EXPECT_EQ(targets_.under_way, 8u);
}

TEST_F(CheckSchedulerTest, StartTimesAreEvenlySpread) {
  Make({.max_probes = 100'000});
  constexpr int kChecks = 5000;
  for (int i = 0; i < kChecks; ++i) {
    targets_.answers[absl::StrCat("10.0.0.1:80/", i)] = Passing();
    Set(Instance(absl::StrCat(i)), {Tcp(absl::StrCat(i))});
  }
  Advance(absl::Seconds(12));
  // One for each look at it, and a bit less than an interval in all.
  std::vector<int> bins(95);
  const size_t before = targets_.runs.size();
  for (int& bin : bins) {
    clock_.Advance(absl::Milliseconds(100));
    const size_t runs = targets_.runs.size();
    Turn();
    bin = static_cast<int>(targets_.runs.size() - runs);
  }
  const double expected = static_cast<double>(targets_.runs.size() - before) / 95;
  double chi2 = 0;
  for (const int n : bins) chi2 += (n - expected) * (n - expected) / expected;
  EXPECT_LT(chi2, 142.1) << "94 degrees of freedom, p = 0.001";
  EXPECT_GT(expected, 45.0);
}

// Places are few, so that a crowd of new ones takes seconds to be served.
TEST_F(CheckSchedulerTest, ACrowdDoesNotStayTogether) {
  Make({.max_probes = 64});
  constexpr int kChecks = 5000;
  for (int i = 0; i < kChecks; ++i) {
    Followed instance = Instance(absl::StrCat(i));
    instance.address = absl::StrCat("10.0.", i % 200, ".1");
    targets_.answers[absl::StrCat(instance.address, ":80/", i)] = Passing();
    Set(instance, {Tcp(absl::StrCat(i))});
  }
  // 64 at a time, each for 20 ms: the first runs take 1.6 s, and second ones wait for them.
  for (int i = 0; i < 650; ++i) {
    clock_.Advance(absl::Milliseconds(20));
    Turn();
  }
  std::vector<int> bins(95);
  for (int& bin : bins) {
    const size_t runs = targets_.runs.size();
    for (int i = 0; i < 5; ++i) {
      clock_.Advance(absl::Milliseconds(20));
      Turn();
    }
    bin = static_cast<int>(targets_.runs.size() - runs);
  }
  double chi2 = 0, all = 0;
  for (const int n : bins) all += n;
  const double expected = all / 95;
  for (const int n : bins) chi2 += (n - expected) * (n - expected) / expected;
  EXPECT_LT(chi2, 142.1) << "94 degrees of freedom, p = 0.001";
}

TEST_F(CheckSchedulerTest, ATtlWithoutReportIsCritical) {
  Make();
  Set(Instance("a"), {Ttl(10)});
  for (int i = 0; i < 5; ++i) {
    Advance(absl::Seconds(9));
    scheduler_->Reported(Instance("a").key, "");
  }
  EXPECT_THAT(store_.said, IsEmpty());
  Advance(absl::Milliseconds(9990));
  EXPECT_THAT(store_.said, IsEmpty());
  Advance(absl::Milliseconds(20));
  EXPECT_THAT(store_.said, ElementsAre("ttl critical: no report for 10s"));
  scheduler_->Reported(Instance("a").key, "ttl");
  Advance(absl::Seconds(30));
  EXPECT_THAT(store_.said, SizeIs(2)) << "and again after the next";
}

TEST_F(CheckSchedulerTest, AReportOfSeveralHasToNameOne) {
  Make();
  v1::Check other = Ttl(10);
  other.set_id("other");
  Set(Instance("a"), {Ttl(10), other});
  Advance(absl::Seconds(5));
  scheduler_->Reported(Instance("a").key, "");
  scheduler_->Reported(Instance("a").key, "other");
  Advance(absl::Seconds(6));
  EXPECT_THAT(store_.said, ElementsAre("ttl critical: no report for 10s"));
}

TEST_F(CheckSchedulerTest, AGapIsNoSilence) {
  Make();
  Set(Instance("a"), {Ttl(10)});
  Advance(absl::Seconds(5));
  clock_.Advance(absl::Hours(1));
  Advance(absl::Seconds(4));
  EXPECT_THAT(store_.said, IsEmpty());
  Advance(absl::Seconds(2));
  EXPECT_THAT(store_.said, SizeIs(1));
}

// What was proposed before the report may be stored after it.
TEST_F(CheckSchedulerTest, SilenceIsToldAgainAfterAReport) {
  Make();
  Set(Instance("a"), {Ttl(10)});
  clock_.Advance(absl::Milliseconds(900));
  Advance(absl::Milliseconds(9090));
  clock_.Advance(absl::Milliseconds(20));
  Poll();
  ASSERT_THAT(store_.said, SizeIs(1));
  scheduler_->Reported(Instance("a").key, "");
  store_.Answer();
  Advance(absl::Seconds(11));
  EXPECT_THAT(store_.said, SizeIs(2));
}

TEST_F(CheckSchedulerTest, AGapBeforeIsNoExcuse) {
  Make();
  targets_.offer_watch = true;
  Set(Instance("a"), {Tcp("up")});
  Advance(absl::Seconds(1));
  const ProbeDone told = targets_.watches.back().on_status;
  told(Passing());
  Advance(absl::Seconds(5));
  clock_.Advance(absl::Seconds(10));
  Advance(absl::Seconds(60));
  const auto end = targets_.watches.back().on_end;
  end({WatchEnd::Cause::kFailed, Unreachable()});
  EXPECT_EQ(store_.said.back(), "up critical: refused");
}

TEST_F(CheckSchedulerTest, AFailureAcrossAGapIsTriedAgain) {
  Make();
  Set(Instance("a"), {Tcp("up")});
  Advance(absl::Seconds(1));
  ASSERT_THAT(targets_.runs, SizeIs(1));
  clock_.Advance(absl::Seconds(20));
  const ProbeDone done = targets_.runs[0].done;
  done(Unreachable());
  EXPECT_THAT(store_.said, IsEmpty());
  targets_.answers[kUp] = Passing();
  Turn();
  Turn();
  EXPECT_THAT(store_.said, ElementsAre("up passing: HTTP 200"));
}

TEST_F(CheckSchedulerTest, AnotherLifeIsProbedAnew) {
  Make();
  Set(Instance("a", 1, 1), {Tcp("up")});
  Advance(absl::Seconds(1));
  ASSERT_THAT(targets_.runs, SizeIs(1));
  Set(Instance("a", 2, 2), {Tcp("up")});
  EXPECT_EQ(targets_.runs[0].done, nullptr) << "what was asked of the one before is dropped";
  targets_.answers[kUp] = Passing();
  Advance(absl::Seconds(1));
  EXPECT_THAT(store_.said, ElementsAre("up passing: HTTP 200"));
  EXPECT_THAT(store_.definitions, ElementsAre(2));
}

TEST_F(CheckSchedulerTest, OnlyWhatChangedBeginsAnew) {
  Make();
  targets_.answers[kUp] = targets_.answers["10.0.0.1:80/db"] = Passing();
  Set(Instance("a", 1, 1), {Tcp("up"), Tcp("db")});
  Advance(absl::Seconds(2));
  ASSERT_THAT(store_.said, SizeIs(2));
  v1::Check db = Tcp("db");
  db.set_name("the database");
  Set(Instance("a", 1, 2), {Tcp("up"), db});
  Advance(absl::Seconds(1));
  EXPECT_THAT(store_.said, SizeIs(3));
  EXPECT_EQ(store_.definitions.back(), 2u);
  scheduler_->Remove(Instance("a").key);
  EXPECT_EQ(scheduler_->counts().checks, 0u);
  const size_t runs = targets_.runs.size();
  Advance(absl::Seconds(20));
  EXPECT_EQ(targets_.runs.size(), runs);
}

TEST_F(CheckSchedulerTest, WhatCantBeProbedIsCritical) {
  Make();
  v1::Check check = Tcp("up");
  check.mutable_tcp()->set_target("refused:1");
  Set(Instance("a"), {check});
  Turn();
  EXPECT_THAT(store_.said, ElementsAre("up critical: it may not be probed"));
}

TEST_F(CheckSchedulerTest, AWatchIsNotPolled) {
  Make();
  targets_.offer_watch = true;
  Set(Instance("a"), {Tcp("up")});
  Advance(absl::Seconds(1));
  ASSERT_THAT(targets_.watches, SizeIs(1));
  EXPECT_EQ(scheduler_->counts().probes, 1u);
  const auto tell = [this](ProbeResult result) {
    const ProbeDone told = targets_.watches.back().on_status;
    told(std::move(result));
    store_.Answer();
  };
  tell(Passing());
  EXPECT_EQ(scheduler_->counts().probes, 0u) << "it takes nobody's place while it lives";
  Advance(absl::Seconds(60));
  EXPECT_THAT(targets_.watches, SizeIs(1));
  EXPECT_THAT(targets_.runs, IsEmpty());
  tell(Failing("NOT_SERVING"));
  EXPECT_THAT(store_.said, ElementsAre("up passing: HTTP 200", "up critical: NOT_SERVING"));

  const auto lost = targets_.watches.back().on_end;
  lost({WatchEnd::Cause::kLost, {}});
  Turn();
  EXPECT_THAT(targets_.watches, SizeIs(2)) << "at once";
  const auto failed = targets_.watches.back().on_end;
  failed({WatchEnd::Cause::kFailed, Unreachable()});
  Advance(absl::Seconds(10));
  EXPECT_THAT(targets_.watches, SizeIs(3)) << "after an interval";
}

TEST_F(CheckSchedulerTest, OneWithoutWatchIsPolled) {
  Make();
  targets_.offer_watch = true;
  targets_.answers[kUp] = Passing();
  Set(Instance("a"), {Tcp("up")});
  Advance(absl::Seconds(1));
  const auto end = targets_.watches.back().on_end;
  end({WatchEnd::Cause::kUnsupported, {}});
  Advance(absl::Seconds(25));
  EXPECT_THAT(targets_.watches, SizeIs(1));
  EXPECT_GE(targets_.runs.size(), 3u);
}

TEST_F(CheckSchedulerTest, UnreachableForLongIsDeregistered) {
  Make();
  v1::Check check = Tcp("up");
  check.mutable_deregister_after_critical()->set_seconds(60);
  targets_.answers[kUp] = Failing();
  Set(Instance("a", 5), {check});
  Advance(absl::Seconds(200));
  EXPECT_THAT(store_.deregistered, IsEmpty()) << "it answers";
  targets_.answers[kUp] = Unreachable();
  Advance(absl::Seconds(59));
  EXPECT_THAT(store_.deregistered, IsEmpty());
  Advance(absl::Seconds(22));
  ASSERT_FALSE(store_.deregistered.empty());
  EXPECT_EQ(store_.deregistered[0], 5u);
}

TEST_F(CheckSchedulerTest, WhatThisServerCouldNotAskIsNotDeregistered) {
  Make();
  v1::Check check = Tcp("up");
  check.mutable_deregister_after_critical()->set_seconds(60);
  targets_.answers[kUp] = Unreachable();
  Set(Instance("a", 5), {check});
  Advance(absl::Seconds(2));
  targets_.answers[kUp] = {ProbeResult::Outcome::kNotRun, false, "Too many open files"};
  Advance(absl::Seconds(300));
  EXPECT_THAT(store_.deregistered, IsEmpty());
}

TEST_F(CheckSchedulerTest, ATtlWithoutReportsIsDeregistered) {
  Make();
  v1::Check check = Ttl(5);
  check.mutable_deregister_after_critical()->set_seconds(10);
  Set(Instance("a", 5), {check});
  Advance(absl::Milliseconds(14'900));
  EXPECT_THAT(store_.deregistered, IsEmpty());
  Advance(absl::Milliseconds(1200));
  EXPECT_FALSE(store_.deregistered.empty());
}

TEST_F(CheckSchedulerTest, ManyAtOnceAreHeldForAMinute) {
  Make();
  v1::Check check = Tcp("up");
  check.mutable_deregister_after_critical()->set_seconds(30);
  targets_.answers[kUp] = Unreachable();
  for (int i = 0; i < 10; ++i) Set(Instance(absl::StrCat(i)), {check});
  Advance(absl::Seconds(89));
  EXPECT_THAT(store_.deregistered, IsEmpty());
  Advance(absl::Seconds(13));
  EXPECT_GE(store_.deregistered.size(), 10u);
}

TEST_F(CheckSchedulerTest, WithoutPlacesNothingIsProbed) {
  Make({.max_probes = 0});
  Set(Instance("a"), {Tcp("up"), Ttl(5)});
  EXPECT_EQ(scheduler_->counts().checks, 1u);
  Advance(absl::Seconds(6));
  EXPECT_THAT(store_.said, SizeIs(1));
  EXPECT_THAT(targets_.runs, IsEmpty());
}

}  // namespace
}  // namespace muster::health
