#include "storage/memory_engine.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/errors.h"
#include "base/fake_clock.h"
#include "engine_harness.h"
#include "storage/strand.h"

namespace muster::storage {
namespace {

using testing::RecordingSink;
using testing::Verdict;

class MemoryEngineTest : public ::testing::Test {
 protected:
  std::unique_ptr<MemoryEngine> Open(std::shared_ptr<MemoryStore> store, RecordingSink& sink) {
    auto engine = std::make_unique<MemoryEngine>(
        MemoryEngineOptions{.clock = clock_, .rng = rng_, .threaded = false}, std::move(store));
    EXPECT_TRUE(engine->Open({&sink}).ok());
    return engine;
  }

  static void ProposePut(Engine& engine, const std::string& key, std::vector<UnitResult>* out) {
    engine.Propose({{Unit{.ops = {Put(Family::kInstances, key, testing::Value("v"))}}}},
                   WriteClass::kUser, [out](std::vector<UnitResult> results) {
                     out->insert(out->end(), results.begin(), results.end());
                   });
  }

  base::FakeClock clock_;
  base::SeededRng rng_{1};
};

TEST_F(MemoryEngineTest, NothingHappensUntilItIsPumped) {
  RecordingSink sink;
  auto engine = Open(std::make_shared<MemoryStore>(), sink);
  std::vector<UnitResult> results;
  ProposePut(*engine, "a", &results);
  ProposePut(*engine, "b", &results);
  EXPECT_TRUE(results.empty());
  EXPECT_TRUE(sink.log().empty());
  EXPECT_EQ(engine->Stats().queue_used, 2u);
  EXPECT_EQ(engine->RunPending(), 2u);
  EXPECT_EQ(results.size(), 2u);
  EXPECT_EQ(sink.group_sizes(), std::vector<size_t>{2}) << "one group";
  EXPECT_EQ(engine->Stats().groups, 1u);
  EXPECT_EQ(engine->Stats().commits, 2u);
  EXPECT_EQ(engine->RunPending(), 0u);
}

TEST_F(MemoryEngineTest, RunPendingDoesWhatCompletionsPropose) {
  RecordingSink sink;
  auto engine = Open(std::make_shared<MemoryStore>(), sink);
  std::vector<UnitResult> results;
  engine->Propose({{Unit{}}}, WriteClass::kUser,
                  [&](std::vector<UnitResult>) { ProposePut(*engine, "a", &results); });
  EXPECT_EQ(engine->RunPending(), 2u);
  EXPECT_EQ(results.size(), 1u);
}

TEST_F(MemoryEngineTest, SeqsOfANewEpochBeginAtTheTimeOrAboveTheLast) {
  RecordingSink at_time;
  Open(std::make_shared<MemoryStore>(), at_time);
  EXPECT_EQ(at_time.opened().seq, static_cast<uint64_t>(clock_.System().us));
  const uint64_t ahead = clock_.System().us + 1'000'000;
  RecordingSink above;
  Open(std::make_shared<MemoryStore>(ahead), above);
  EXPECT_EQ(above.opened().seq, ahead + 1);
  EXPECT_NE(at_time.opened().epoch, above.opened().epoch);
  EXPECT_LT(above.opened().epoch, uint64_t{1} << 53);
}

TEST_F(MemoryEngineTest, TheStoreOutlivesTheEngine) {
  auto store = std::make_shared<MemoryStore>();
  RecordingSink first;
  std::vector<UnitResult> results;
  {
    auto engine = Open(store, first);
    ProposePut(*engine, "a", &results);
  }
  ASSERT_EQ(results.size(), 1u) << "destroying closes, closing finishes";
  RecordingSink second;
  auto engine = Open(store, second);
  EXPECT_EQ(second.opened(), (Revision{first.opened().epoch, results[0].seq}));
  EXPECT_EQ(second.tables(), first.tables());
}

TEST_F(MemoryEngineTest, AFailedWriteFreezesUntilReopened) {
  auto store = std::make_shared<MemoryStore>();
  RecordingSink sink;
  auto engine = Open(store, sink);
  std::vector<UnitResult> results;
  ProposePut(*engine, "before", &results);
  engine->RunPending();
  const Revision before = engine->revision();

  store->FailWrites(absl::UnavailableError("no space left on device"));
  ProposePut(*engine, "a", &results);
  engine->Propose({{Unit{}}}, WriteClass::kUser,
                  [&](std::vector<UnitResult> got) { results.push_back(got[0]); });
  engine->RunPending();
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(results[1].verdict, Verdict::kUnknown);
  EXPECT_EQ(base::ReasonOf(results[1].status), base::Reason::kOutcomeUnknown);
  EXPECT_EQ(results[2].verdict, Verdict::kNotCommitted) << "a barrier wrote nothing";
  store->FailWrites(absl::OkStatus());

  ProposePut(*engine, "b", &results);
  engine->RunPending();
  ASSERT_EQ(results.size(), 4u);
  EXPECT_EQ(results[3].verdict, Verdict::kNotCommitted);
  EXPECT_EQ(results[3].status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::ReasonOf(results[3].status), base::Reason::kStorageReadOnly);
  EXPECT_NE(results[3].status.ToString().find("no space left"), std::string::npos);
  EXPECT_TRUE(engine->Stats().frozen);
  EXPECT_EQ(engine->Stats().frozen_since, clock_.System());
  EXPECT_EQ(engine->revision(), before);
  EXPECT_EQ(sink.log().size(), 1u);
  EXPECT_TRUE(engine->Get(Family::kInstances, "before").ok()) << "reads go on";

  engine->Close();
  RecordingSink again;
  auto reopened = Open(store, again);
  ProposePut(*reopened, "c", &results);
  reopened->RunPending();
  EXPECT_EQ(results[4].verdict, Verdict::kCommitted);
}

TEST_F(MemoryEngineTest, AWriteThatAFullDiskRefusedIsNotCommittedAndFreezesNothing) {
  auto store = std::make_shared<MemoryStore>();
  RecordingSink sink;
  auto engine = Open(store, sink);
  std::vector<UnitResult> results;
  store->FailWrites(base::MakeError(absl::StatusCode::kUnavailable, base::Reason::kStorageFull,
                                    "the disk is full"));
  ProposePut(*engine, "a", &results);
  engine->RunPending();
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].verdict, Verdict::kNotCommitted);
  EXPECT_EQ(base::ReasonOf(results[0].status), base::Reason::kStorageFull);
  EXPECT_FALSE(engine->Stats().frozen);
  EXPECT_TRUE(sink.log().empty());
  store->FailWrites(absl::OkStatus());
  ProposePut(*engine, "a", &results);
  engine->RunPending();
  EXPECT_EQ(results[1].verdict, Verdict::kCommitted);
}

TEST_F(MemoryEngineTest, AShortageRefusesUsersFirst) {
  const auto store = std::make_shared<MemoryStore>();
  Strand strand({}, Strand::Mode::kManual, *store, clock_);
  const auto settle = [&](WriteClass write_class) {
    UnitResult out;
    strand.Propose({{Unit{.ops = {Put(Family::kInstances, "k", testing::Value(""))}}}}, write_class,
                   [&](std::vector<UnitResult> results) { out = results[0]; });
    strand.RunPending();
    return out;
  };
  strand.Start({1, 10}, {});
  strand.SetShortage(Strand::Shortage::kLow, "9 bytes are free");
  clock_.Advance(absl::Seconds(5));
  strand.SetShortage(Strand::Shortage::kLow, "8 bytes are free");
  const UnitResult refused = settle(WriteClass::kUser);
  EXPECT_EQ(refused.verdict, Verdict::kNotCommitted);
  EXPECT_EQ(refused.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::ReasonOf(refused.status), base::Reason::kStorageFull);
  EXPECT_TRUE(base::RetryAfterOf(refused.status).has_value());
  EXPECT_EQ(settle(WriteClass::kInternal).verdict, Verdict::kCommitted);
  const EngineStats stats = strand.Stats("x");
  EXPECT_TRUE(stats.low_space);
  EXPECT_EQ(stats.low_space_since.us + 5'000'000, clock_.System().us);
  EXPECT_EQ(stats.low_space_reason, "8 bytes are free");

  strand.SetShortage(Strand::Shortage::kFull, "none is free");
  EXPECT_EQ(settle(WriteClass::kInternal).verdict, Verdict::kNotCommitted);
  strand.SetShortage(Strand::Shortage::kNone, "");
  EXPECT_EQ(settle(WriteClass::kUser).verdict, Verdict::kCommitted);
  EXPECT_FALSE(strand.Stats("x").low_space);
  EXPECT_FALSE(strand.Stats("x").frozen);
  strand.Close();
}

TEST_F(MemoryEngineTest, UnitsThatWaitedBehindAFailedGroupAreNotCommitted) {
  auto store = std::make_shared<MemoryStore>();
  RecordingSink sink;
  MemoryEngine engine(
      {.clock = clock_, .rng = rng_, .threaded = false, .limits = {.group_max_units = 2}}, store);
  ASSERT_TRUE(engine.Open({&sink}).ok());
  store->FailWrites(absl::UnavailableError("gone"));
  std::vector<UnitResult> results;
  for (int i = 0; i < 4; ++i) ProposePut(engine, "a", &results);
  engine.RunPending();
  ASSERT_EQ(results.size(), 4u);
  EXPECT_EQ(results[1].verdict, Verdict::kUnknown);
  EXPECT_EQ(results[2].verdict, Verdict::kNotCommitted);
  EXPECT_EQ(results[3].verdict, Verdict::kNotCommitted);
}

}  // namespace
}  // namespace muster::storage
