// What every engine has to do. One suite, each case against each engine.
#include <gtest/gtest.h>

#include <thread>
#include <utility>

#include "base/errors.h"
#include "engine_harness.h"
#include "rocksdb_harness.h"
#include "storage/engine.h"

namespace muster::storage {
namespace {

using testing::EngineHarness;
using testing::HarnessKind;
using testing::OutcomePtr;
using testing::PayloadOf;
using testing::Tables;
using testing::Value;
using testing::Verdict;

constexpr Family kFamily = Family::kInstances;

Unit PutUnit(const std::string& key, const std::string& payload = "v") {
  return Unit{.ops = {Put(kFamily, key, Value(payload))}};
}

class EngineConformanceTest : public ::testing::TestWithParam<HarnessKind> {
 protected:
  void Start(const EngineLimits& limits = {}) {
    harness_ = GetParam().make(limits);
    const absl::Status opened = harness_->Open();
    ASSERT_TRUE(opened.ok()) << opened;
  }

  Engine& engine() { return harness_->engine(); }

  Tables Stored() {
    auto snapshot = engine().GetSnapshot();
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    return snapshot.ok() ? testing::TablesOf(**snapshot) : Tables{};
  }

  std::unique_ptr<EngineHarness> harness_;
};

TEST_P(EngineConformanceTest, ANewStoreHasAnEpochAndItsRecord) {
  Start();
  const Revision opened = harness_->sink().opened();
  EXPECT_GT(opened.epoch, 0u);
  EXPECT_LT(opened.epoch, uint64_t{1} << 53);
  EXPECT_EQ(opened.seq, static_cast<uint64_t>(harness_->clock().System().us));
  EXPECT_EQ(harness_->sink().record().epoch, opened.epoch);
  EXPECT_EQ(harness_->sink().record().base_seq, opened.seq);
  EXPECT_TRUE(harness_->sink().replayed());
  EXPECT_EQ(engine().revision(), opened);
  const Tables stored = Stored();
  EXPECT_EQ(stored, harness_->sink().tables());
  EXPECT_EQ(stored[0].size(), 1u) << "meta/store alone";
  EXPECT_EQ(ModSeqOf(stored[0].at(std::string(kStoreKey))), opened.seq);
}

TEST_P(EngineConformanceTest, CommitsInTheOrderOfProposals) {
  Start();
  std::vector<OutcomePtr> outcomes;
  for (int i = 0; i < 300; ++i) {
    outcomes.push_back(harness_->Propose({PutUnit("k" + std::to_string(i)), PutUnit("shared")}));
  }
  uint64_t last = harness_->sink().opened().seq;
  for (const OutcomePtr& outcome : outcomes) {
    const auto results = harness_->Wait(outcome);
    ASSERT_EQ(results.size(), 2u);
    for (const UnitResult& result : results) {
      ASSERT_EQ(result.verdict, Verdict::kCommitted) << result.status;
      ASSERT_GT(result.seq, last);
      last = result.seq;
    }
  }
  const auto log = harness_->sink().log();
  ASSERT_EQ(log.size(), 600u);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(log[2 * i].ops[0].key, "k" + std::to_string(i));
  EXPECT_EQ(engine().revision().seq, last);
  EXPECT_EQ(engine().Stats().commits, 600u);
  EXPECT_LE(engine().Stats().groups, 600u);
}

TEST_P(EngineConformanceTest, WhatWaitsSharesAGroup) {
  Start();
  harness_->Block();
  std::vector<OutcomePtr> outcomes;
  for (int i = 0; i < 10; ++i) outcomes.push_back(harness_->Propose({PutUnit(std::to_string(i))}));
  harness_->Unblock();
  for (const OutcomePtr& outcome : outcomes) harness_->Wait(outcome);
  EXPECT_EQ(harness_->sink().group_sizes().back(), 10u);
}

TEST_P(EngineConformanceTest, GroupsAreBounded) {
  Start({.group_max_units = 4});
  harness_->Block();
  std::vector<Unit> units;
  for (int i = 0; i < 10; ++i) units.push_back(PutUnit(std::to_string(i)));
  const OutcomePtr outcome = harness_->Propose(std::move(units));
  harness_->Unblock();
  const auto results = harness_->Wait(outcome);
  ASSERT_EQ(results.size(), 10u) << "a batch over several groups is answered once";
  for (size_t i = 1; i < results.size(); ++i) EXPECT_GT(results[i].seq, results[i - 1].seq);
  for (size_t size : harness_->sink().group_sizes()) EXPECT_LE(size, 4u);
}

TEST_P(EngineConformanceTest, ReadsItsOwnWriteWhenDoneRuns) {
  Start();
  for (int i = 0; i < 50; ++i) {
    const std::string key = "k" + std::to_string(i);
    auto outcome = std::make_shared<testing::Outcome>();
    engine().Propose({{PutUnit(key, "mine")}}, WriteClass::kUser,
                     [&, outcome, key](std::vector<UnitResult> results) {
                       ASSERT_EQ(results[0].verdict, Verdict::kCommitted);
                       EXPECT_GE(engine().revision().seq, results[0].seq);
                       EXPECT_GE(harness_->sink().last_seq(), results[0].seq);
                       EXPECT_EQ(harness_->sink().tables()[3].count(key), 1u);
                       const auto value = engine().Get(kFamily, key);
                       EXPECT_TRUE(value.ok()) << value.status();
                       EXPECT_EQ(ModSeqOf(*value), results[0].seq);
                       EXPECT_EQ(PayloadOf(*value), "mine");
                       outcome->Set(std::move(results));
                     });
    harness_->Wait(outcome);
  }
}

TEST_P(EngineConformanceTest, GetTellsAbsentFromEmpty) {
  Start();
  EXPECT_EQ(engine().Get(kFamily, "none").status().code(), absl::StatusCode::kNotFound);
  harness_->Run(PutUnit("empty", ""));
  ASSERT_TRUE(engine().Get(kFamily, "empty").ok());
  EXPECT_EQ(PayloadOf(*engine().Get(kFamily, "empty")), "");
  harness_->Run(Unit{.ops = {Delete(kFamily, "empty")}});
  EXPECT_EQ(engine().Get(kFamily, "empty").status().code(), absl::StatusCode::kNotFound);
}

TEST_P(EngineConformanceTest, PreconditionsAreJudgedAgainstTheStore) {
  Start();
  const uint64_t seq = harness_->Run(PutUnit("a", "one")).seq;

  const UnitResult absent =
      harness_->Run({.preconditions = {Absent(kFamily, "a")}, .ops = PutUnit("a", "two").ops});
  EXPECT_EQ(absent.verdict, Verdict::kRejected);
  EXPECT_EQ(PayloadOf(absent.current), "one");
  EXPECT_EQ(ModSeqOf(absent.current), seq);

  const UnitResult other = harness_->Run(
      {.preconditions = {ModSeqIs(kFamily, "a", seq + 1)}, .ops = PutUnit("a", "two").ops});
  EXPECT_EQ(other.verdict, Verdict::kRejected);
  EXPECT_EQ(PayloadOf(other.current), "one");

  const UnitResult gone = harness_->Run(
      {.preconditions = {ModSeqIs(kFamily, "b", seq)}, .ops = PutUnit("b", "two").ops});
  EXPECT_EQ(gone.verdict, Verdict::kRejected);
  EXPECT_EQ(gone.current, "");

  const UnitResult missing =
      harness_->Run({.preconditions = {Present(kFamily, "b")}, .ops = PutUnit("b", "two").ops});
  EXPECT_EQ(missing.verdict, Verdict::kRejected);

  const UnitResult holds = harness_->Run(
      {.preconditions = {ModSeqIs(kFamily, "a", seq), Present(kFamily, "a"), Absent(kFamily, "b")},
       .ops = PutUnit("a", "two").ops});
  EXPECT_EQ(holds.verdict, Verdict::kCommitted);
  EXPECT_EQ(holds.seq, engine().revision().seq) << "what was rejected wrote nothing";
  EXPECT_EQ(harness_->sink().log().size(), 2u);
}

TEST_P(EngineConformanceTest, PreconditionsSeeEarlierUnitsOfTheGroup) {
  Start();
  harness_->Block();
  std::vector<OutcomePtr> outcomes;
  for (int i = 0; i < 5; ++i) {
    outcomes.push_back(harness_->Propose({Unit{.preconditions = {Absent(kFamily, "a")},
                                               .ops = PutUnit("a", std::to_string(i)).ops}}));
  }
  harness_->Unblock();
  const UnitResult first = harness_->Wait(outcomes[0])[0];
  EXPECT_EQ(first.verdict, Verdict::kCommitted);
  for (int i = 1; i < 5; ++i) {
    const UnitResult later = harness_->Wait(outcomes[i])[0];
    EXPECT_EQ(later.verdict, Verdict::kRejected);
    EXPECT_EQ(PayloadOf(later.current), "0");
    EXPECT_EQ(ModSeqOf(later.current), first.seq);
  }
}

TEST_P(EngineConformanceTest, BarriersAreJudgedInOrderAndWriteNothing) {
  Start();
  harness_->Run(PutUnit("before"));
  const Revision before = engine().revision();
  const uint64_t groups = engine().Stats().groups;
  const UnitResult barrier = harness_->Run(Unit{});
  EXPECT_EQ(barrier.verdict, Verdict::kCommitted);
  EXPECT_EQ(barrier.seq, before.seq);
  EXPECT_EQ(engine().revision(), before);
  EXPECT_EQ(engine().Stats().groups, groups) << "no sync for barriers alone";
  EXPECT_EQ(harness_->Run({.preconditions = {Present(kFamily, "a")}}).verdict, Verdict::kRejected);

  harness_->Block();
  const OutcomePtr outcome = harness_->Propose(
      {PutUnit("a"), Unit{.preconditions = {Present(kFamily, "a")}},
       Unit{.ops = {Delete(kFamily, "a")}}, Unit{.preconditions = {Present(kFamily, "a")}}});
  harness_->Unblock();
  const auto results = harness_->Wait(outcome);
  ASSERT_EQ(results.size(), 4u);
  EXPECT_EQ(results[1].verdict, Verdict::kCommitted);
  EXPECT_EQ(results[1].seq, results[0].seq);
  EXPECT_EQ(results[3].verdict, Verdict::kRejected);
}

TEST_P(EngineConformanceTest, UnitsAreAtomicAndSeparate) {
  Start();
  const auto results = harness_->Wait(harness_->Propose(
      {Unit{.preconditions = {Absent(kFamily, "a"), Present(kFamily, "none")},
            .ops = {Put(kFamily, "a", Value("v")), Put(Family::kNodes, "n", Value("v"))}},
       Unit{.ops = {Put(kFamily, "b", Value("v")), Put(Family::kTombstones, "b", Value("v")),
                    Delete(kFamily, "never")}}}));
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].verdict, Verdict::kRejected);
  EXPECT_EQ(results[1].verdict, Verdict::kCommitted);
  const Tables stored = Stored();
  EXPECT_TRUE(stored[static_cast<int>(Family::kNodes)].empty());
  EXPECT_EQ(stored[static_cast<int>(kFamily)].size(), 1u);
  EXPECT_EQ(stored[static_cast<int>(Family::kTombstones)].size(), 1u);
  ASSERT_EQ(harness_->sink().log().size(), 1u);
  EXPECT_EQ(harness_->sink().log()[0].ops.size(), 3u);
}

TEST_P(EngineConformanceTest, AnEmptyBatchIsAnswered) {
  Start();
  EXPECT_TRUE(harness_->Wait(harness_->Propose({})).empty());
}

TEST_P(EngineConformanceTest, RefusesUnitsThatAreTooLarge) {
  Start();
  EXPECT_EQ(engine().max_unit_ops(), 512u);
  EXPECT_EQ(engine().max_unit_bytes(), 1'572'864u);
  Unit many;
  for (size_t i = 0; i < engine().max_unit_ops(); ++i) {
    many.ops.push_back(Put(kFamily, std::to_string(i), Value("")));
  }
  EXPECT_EQ(harness_->Run(many).verdict, Verdict::kCommitted);
  many.ops.push_back(Put(kFamily, "one more", Value("")));
  const UnitResult too_many = harness_->Run(many);
  EXPECT_EQ(too_many.verdict, Verdict::kNotCommitted);
  EXPECT_EQ(too_many.status.code(), absl::StatusCode::kInvalidArgument);

  const size_t payload = engine().max_unit_bytes() - kHeaderBytes - 1;
  EXPECT_EQ(harness_->Run(PutUnit("k", std::string(payload, 'x'))).verdict, Verdict::kCommitted);
  const UnitResult too_large = harness_->Run(PutUnit("k", std::string(payload + 1, 'x')));
  EXPECT_EQ(too_large.verdict, Verdict::kNotCommitted);
  EXPECT_EQ(too_large.status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(EngineConformanceTest, RefusesOpsThatWouldDamageTheStore) {
  Start();
  for (const Op& op : {Put(kFamily, "k", "short"), Put(static_cast<Family>(99), "k", Value("")),
                       Put(Family::kMeta, std::string(kSeqKey), Value(""))}) {
    const UnitResult result = harness_->Run({.ops = {op}});
    EXPECT_EQ(result.verdict, Verdict::kNotCommitted);
    EXPECT_EQ(result.status.code(), absl::StatusCode::kInvalidArgument) << result.status;
  }
}

TEST_P(EngineConformanceTest, AFullQueueRefusesUsersFirst) {
  Start({.queue_max = 20, .reserved_percent = 10});
  harness_->Block();
  std::vector<OutcomePtr> accepted;
  for (int i = 0; i < 18; ++i) {
    accepted.push_back(harness_->Propose({PutUnit("u" + std::to_string(i))}));
  }
  EXPECT_EQ(engine().Stats().queue_used, 18u);
  EXPECT_EQ(engine().Stats().queue_max, 20u);
  const OutcomePtr refused = harness_->Propose({PutUnit("refused"), PutUnit("too")});
  accepted.push_back(harness_->Propose({PutUnit("i1")}, WriteClass::kInternal));
  accepted.push_back(harness_->Propose({PutUnit("i2")}, WriteClass::kInternal));
  const OutcomePtr refused_internal = harness_->Propose({PutUnit("i3")}, WriteClass::kInternal);
  if (harness_->threaded()) {
    EXPECT_EQ(refused->Wait().size(), 2u) << "refused at once, while the strand is held up";
  }
  harness_->Unblock();
  for (const OutcomePtr& outcome : {refused, refused_internal}) {
    for (const UnitResult& result : harness_->Wait(outcome)) {
      EXPECT_EQ(result.verdict, Verdict::kNotCommitted);
      EXPECT_EQ(result.status.code(), absl::StatusCode::kResourceExhausted);
      EXPECT_EQ(base::ReasonOf(result.status), base::Reason::kQueueFull);
      EXPECT_EQ(base::RetryAfterOf(result.status), absl::Milliseconds(100));
    }
  }
  for (const OutcomePtr& outcome : accepted) {
    EXPECT_EQ(harness_->Wait(outcome)[0].verdict, Verdict::kCommitted);
  }
  EXPECT_EQ(engine().Stats().queue_used, 0u);
  EXPECT_EQ(harness_->Run(PutUnit("room again")).verdict, Verdict::kCommitted);
}

TEST_P(EngineConformanceTest, ABatchLargerThanTheQueueGetsInWhenNothingWaits) {
  Start({.queue_max = 20, .queue_max_bytes = 100});
  std::vector<Unit> units;
  for (int i = 0; i < 30; ++i) units.push_back(PutUnit("u" + std::to_string(i)));
  harness_->Block();
  const OutcomePtr large = harness_->Propose(units);
  EXPECT_EQ(engine().Stats().queue_used, 30u);
  const OutcomePtr next = harness_->Propose({PutUnit("next")}, WriteClass::kInternal);
  harness_->Unblock();
  EXPECT_EQ(base::ReasonOf(harness_->Wait(next)[0].status), base::Reason::kQueueFull);
  for (const UnitResult& result : harness_->Wait(large)) {
    EXPECT_EQ(result.verdict, Verdict::kCommitted) << result.status;
  }
}

TEST_P(EngineConformanceTest, TheQueueIsBoundedInBytesToo) {
  Start({.queue_max_bytes = 1000});
  harness_->Block();
  const OutcomePtr first = harness_->Propose({PutUnit("a", std::string(600, 'x'))});
  const OutcomePtr second = harness_->Propose({PutUnit("b", std::string(600, 'x'))});
  harness_->Unblock();
  EXPECT_EQ(harness_->Wait(first)[0].verdict, Verdict::kCommitted);
  EXPECT_EQ(base::ReasonOf(harness_->Wait(second)[0].status), base::Reason::kQueueFull);
}

TEST_P(EngineConformanceTest, ReopeningReplaysTheSameState) {
  Start();
  for (int i = 0; i < kFamilyCount; ++i) {
    const Family family = static_cast<Family>(i);
    for (const char* key : {"c", "a", "b"}) harness_->Run({.ops = {Put(family, key, Value(key))}});
  }
  harness_->Run({.ops = {Delete(kFamily, "b")}});
  const Tables before = Stored();
  const Revision revision = engine().revision();
  harness_->clock().Advance(absl::Seconds(100));

  ASSERT_TRUE(harness_->Open().ok());
  EXPECT_EQ(harness_->sink().opened(), revision);
  EXPECT_EQ(engine().revision(), revision);
  EXPECT_EQ(Stored(), before);
  EXPECT_EQ(harness_->sink().tables(), testing::WithoutTransitions(before));

  harness_->Run(PutUnit("after"));
  const Tables after = Stored();
  ASSERT_TRUE(harness_->OpenWithoutClose().ok());
  EXPECT_EQ(Stored(), after);
}

TEST_P(EngineConformanceTest, SeqNeverGoesBackWhenTheLastCommitsWereDeletions) {
  Start();
  harness_->Run(PutUnit("a"));
  for (int i = 0; i < 10; ++i) harness_->Run({.ops = {Delete(kFamily, "a")}});
  const Revision last = engine().revision();
  ASSERT_TRUE(harness_->Open().ok());
  EXPECT_EQ(harness_->sink().opened(), last);
  EXPECT_GT(harness_->Run(PutUnit("a")).seq, last.seq);
}

TEST_P(EngineConformanceTest, ASnapshotDoesntMove) {
  Start();
  harness_->Run(PutUnit("a", "one"));
  auto snapshot = engine().GetSnapshot();
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  const Revision then = engine().revision();
  const Tables tables = Stored();
  harness_->Run(PutUnit("a", "two"));
  harness_->Run(PutUnit("b"));
  EXPECT_EQ((*snapshot)->revision(), then);
  EXPECT_EQ(testing::TablesOf(**snapshot), tables);
  EXPECT_NE(Stored(), tables);
}

TEST_P(EngineConformanceTest, ScanKeepsToThePrefixAndStopsWhenTold) {
  Start();
  for (const char* key : {"a", "ab", "ab1", "ab2", "ac", "b"}) harness_->Run(PutUnit(key));
  auto snapshot = engine().GetSnapshot();
  std::vector<std::string> keys;
  ASSERT_TRUE((*snapshot)
                  ->Scan(kFamily, "ab",
                         [&](std::string_view key, std::string_view) {
                           keys.emplace_back(key);
                           return key != "ab1";
                         })
                  .ok());
  EXPECT_EQ(keys, (std::vector<std::string>{"ab", "ab1"}));
}

TEST_P(EngineConformanceTest, CloseFinishesWhatIsQueuedAndRefusesTheRest) {
  Start();
  harness_->Block();
  std::vector<OutcomePtr> outcomes;
  for (int i = 0; i < 50; ++i) outcomes.push_back(harness_->Propose({PutUnit(std::to_string(i))}));
  for (const OutcomePtr& outcome : outcomes) EXPECT_FALSE(outcome->ready());
  harness_->Unblock();
  engine().Close();
  for (const OutcomePtr& outcome : outcomes) {
    ASSERT_TRUE(outcome->ready()) << "completions run before Close returns";
    EXPECT_EQ(outcome->Wait()[0].verdict, Verdict::kCommitted);
  }
  engine().Close();
  const OutcomePtr late = harness_->Propose({PutUnit("late"), PutUnit("too late")});
  ASSERT_TRUE(late->ready());
  for (const UnitResult& result : late->Wait()) {
    EXPECT_EQ(result.verdict, Verdict::kNotCommitted);
    EXPECT_EQ(result.status.code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(base::ReasonOf(result.status), base::Reason::kClosed);
  }
  ASSERT_TRUE(harness_->Open().ok());
  EXPECT_EQ(harness_->sink().tables()[static_cast<int>(kFamily)].size(), 50u);
}

TEST_P(EngineConformanceTest, ManyThreadsMayProposeWhileOthersRead) {
  Start();
  const int count = harness_->threaded() ? 4 : 1;  // a pumped engine has one thread
  constexpr int kEach = 100;
  std::vector<std::thread> threads;
  for (int t = 0; t < count; ++t) {
    threads.emplace_back([this, t] {
      uint64_t last = 0;
      for (int i = 0; i < kEach; ++i) {
        const std::string key = std::to_string(t) + "/" + std::to_string(i);
        const UnitResult result = harness_->Run(PutUnit(key));
        EXPECT_EQ(result.verdict, Verdict::kCommitted);
        EXPECT_GT(result.seq, last);
        last = result.seq;
        EXPECT_TRUE(engine().Get(kFamily, key).ok());
        EXPECT_GE(engine().revision().seq, last);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(harness_->sink().log().size(), static_cast<size_t>(count * kEach));
  EXPECT_EQ(Stored(), harness_->sink().tables());
}

// Random units against a map, in bursts that share groups; reopened now and then.
class RandomHistory {
 public:
  RandomHistory(EngineHarness& harness, uint64_t seed) : harness_(harness), rng_(seed) {
    const Tables tables = harness_.sink().tables();
    for (const auto& [key, value] : tables[0]) model_[{0, key}] = value;
  }

  void Burst() {
    const std::map<ModelKey, std::string> known = model_;
    std::vector<Expected> expected;
    harness_.Block();
    const size_t batches = 1 + rng_.Uniform(12);
    for (size_t i = 0; i < batches; ++i) expected.push_back(ProposeOne(known));
    harness_.Unblock();
    for (Expected& each : expected) Check(each);
    if (const auto blocker = harness_.engine().Get(Family::kAccess, "blocker"); blocker.ok()) {
      model_[{static_cast<int>(Family::kAccess), "blocker"}] = *blocker;
    }
    CheckState();
  }

  void Reopen() {
    const Revision before = harness_.engine().revision();
    ASSERT_TRUE((rng_.Uniform(2) == 0 ? harness_.Open() : harness_.OpenWithoutClose()).ok());
    ASSERT_EQ(harness_.sink().opened(), before);
    CheckState();
  }

 private:
  using ModelKey = std::pair<int, std::string>;
  struct ExpectedUnit {
    bool holds = true;
    std::vector<std::pair<ModelKey, std::string>> puts;
  };
  struct Expected {
    OutcomePtr outcome;
    std::vector<ExpectedUnit> units;
  };
  // Stands in the model for a value written in this burst: its seq isn't known yet.
  std::string NewToken() { return "token" + std::to_string(++tokens_); }

  ModelKey RandomKey() {
    static constexpr Family kFamilies[] = {Family::kInstances, Family::kTombstones,
                                           Family::kTransitions};
    return {static_cast<int>(kFamilies[rng_.Uniform(3)]), "k" + std::to_string(rng_.Uniform(12))};
  }

  // Adds a random precondition; whether it holds in the model.
  bool AddPrecondition(const std::map<ModelKey, std::string>& known, Unit& unit) {
    const ModelKey key = RandomKey();
    const Family family = static_cast<Family>(key.first);
    const auto now = model_.find(key);
    const auto before = known.find(key);
    switch (rng_.Uniform(3)) {
      case 0:
        unit.preconditions.push_back(Absent(family, key.second));
        return now == model_.end();
      case 1:
        unit.preconditions.push_back(Present(family, key.second));
        return now != model_.end();
      default:
        if (before == known.end()) return true;
        unit.preconditions.push_back(ModSeqIs(family, key.second, ModSeqOf(before->second)));
        return now != model_.end() && now->second == before->second;
    }
  }

  ExpectedUnit MakeUnit(const std::map<ModelKey, std::string>& known, Unit& unit) {
    ExpectedUnit expected;
    for (uint64_t i = rng_.Uniform(3); i > 0; --i) {
      expected.holds = AddPrecondition(known, unit) && expected.holds;
    }
    for (uint64_t i = rng_.Uniform(4); i > 0; --i) {
      const ModelKey key = RandomKey();
      const Family family = static_cast<Family>(key.first);
      if (rng_.Uniform(3) == 0) {
        unit.ops.push_back(Delete(family, key.second));
        if (expected.holds) model_.erase(key);
      } else {
        const std::string token = NewToken();
        unit.ops.push_back(Put(family, key.second, Value(token)));
        if (expected.holds) model_[key] = token;
      }
    }
    return expected;
  }

  Expected ProposeOne(const std::map<ModelKey, std::string>& known) {
    Expected expected;
    std::vector<Unit> units(1 + rng_.Uniform(4));
    for (Unit& unit : units) expected.units.push_back(MakeUnit(known, unit));
    expected.outcome = harness_.Propose(std::move(units));
    return expected;
  }

  void Check(Expected& expected) {
    const auto results = harness_.Wait(expected.outcome);
    ASSERT_EQ(results.size(), expected.units.size());
    for (size_t i = 0; i < results.size(); ++i) {
      ASSERT_EQ(results[i].verdict,
                expected.units[i].holds ? Verdict::kCommitted : Verdict::kRejected);
    }
  }

  // The store, the sink and the model agree; then the model takes the stored values, seqs included.
  void CheckState() {
    auto snapshot = harness_.engine().GetSnapshot();
    ASSERT_TRUE(snapshot.ok());
    const Tables stored = testing::TablesOf(**snapshot);
    ASSERT_EQ(testing::WithoutTransitions(stored),
              testing::WithoutTransitions(harness_.sink().tables()));
    size_t count = 0;
    for (int family = 0; family < kFamilyCount; ++family) {
      for (const auto& [key, value] : stored[family]) {
        const auto found = model_.find({family, key});
        ASSERT_NE(found, model_.end()) << "family " << family << " key " << key;
        if (found->second.starts_with("token")) {
          ASSERT_EQ(PayloadOf(value), found->second);
        } else {
          ASSERT_EQ(value, found->second);
        }
        found->second = value;
        ++count;
      }
    }
    ASSERT_EQ(count, model_.size()) << "something is missing";
  }

  EngineHarness& harness_;
  base::SeededRng rng_;
  std::map<ModelKey, std::string> model_;
  uint64_t tokens_ = 0;
};

TEST_P(EngineConformanceTest, RandomHistoriesAgreeWithAModel) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Start({.group_max_units = 5});
    RandomHistory history(*harness_, seed);
    for (int i = 0; i < 40; ++i) {
      history.Burst();
      if (i % 10 == 9) history.Reopen();
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, EngineConformanceTest,
                         ::testing::Values(testing::ThreadedMemory(), testing::PumpedMemory(),
                                           testing::RocksDb()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace muster::storage
