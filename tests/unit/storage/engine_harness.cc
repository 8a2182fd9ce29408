#include "engine_harness.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "storage/memory_engine.h"

namespace muster::storage::testing {
namespace {

using base::MutexLock;

constexpr absl::Duration kPatience = absl::Seconds(30);

class MemoryHarness : public EngineHarness {
 public:
  MemoryHarness(const EngineLimits& limits, bool threaded) : threaded_(threaded) {
    limits_ = limits;
  }
  ~MemoryHarness() override { engine_.reset(); }

  std::unique_ptr<Engine> NewEngine() override {
    auto engine = std::make_unique<MemoryEngine>(
        MemoryEngineOptions{.clock = clock_, .rng = rng_, .threaded = threaded_, .limits = limits_},
        store_);
    memory_ = engine.get();
    return engine;
  }
  void Pump() override {
    if (!threaded_) memory_->RunPending();
  }
  bool threaded() const override { return threaded_; }

 private:
  const bool threaded_;
  const std::shared_ptr<MemoryStore> store_ = std::make_shared<MemoryStore>();
  MemoryEngine* memory_ = nullptr;
};

}  // namespace

Tables TablesOf(const Snapshot& snapshot, bool transitions) {
  Tables tables;
  for (int i = 0; i < kFamilyCount; ++i) {
    if (!transitions && static_cast<Family>(i) == Family::kTransitions) continue;
    const absl::Status status = snapshot.Scan(
        static_cast<Family>(i), "", [&](std::string_view key, std::string_view value) {
          const bool fresh = tables[i].emplace(key, value).second;
          EXPECT_TRUE(fresh) << "scanned twice: " << key;
          EXPECT_EQ(tables[i].rbegin()->first, key) << "not ascending";
          return true;
        });
    EXPECT_TRUE(status.ok()) << status;
  }
  return tables;
}

Tables WithoutTransitions(Tables tables) {
  tables[static_cast<int>(Family::kTransitions)].clear();
  return tables;
}

void Apply(const Op& op, Tables& tables) {
  auto& table = tables[static_cast<int>(op.family)];
  if (op.kind == Op::Kind::kPut) {
    table[op.key] = op.value;
  } else {
    table.erase(op.key);
  }
}

std::string Value(std::string_view payload) { return EncodeValue(payload); }

std::string PayloadOf(std::string_view value) {
  const auto view = DecodeValue(value);
  EXPECT_TRUE(view.ok()) << view.status();
  return view.ok() ? std::string(view->payload) : "";
}

void RecordingSink::OnOpen(const Revision& revision, const StoreRecordView& store) {
  MutexLock lock(mu_);
  EXPECT_EQ(opened_.epoch, 0u) << "opened twice";
  opened_ = revision;
  record_ = store;
  last_seq_ = revision.seq;
}

void RecordingSink::OnReplay(Family family, std::string_view key, std::string_view value) {
  MutexLock lock(mu_);
  EXPECT_NE(opened_.epoch, 0u) << "replay before open";
  EXPECT_FALSE(replayed_) << "replay after its end";
  EXPECT_NE(family, Family::kTransitions);
  const int index = static_cast<int>(family);
  EXPECT_GE(index, last_family_);
  EXPECT_TRUE(first_key_ || index > last_family_ || key > last_key_) << "keys not ascending";
  first_key_ = false;
  last_family_ = index;
  last_key_ = std::string(key);
  EXPECT_LE(ModSeqOf(value), opened_.seq);
  tables_[index].emplace(key, value);
}

void RecordingSink::OnReplayed() {
  MutexLock lock(mu_);
  EXPECT_FALSE(replayed_);
  replayed_ = true;
}

void RecordingSink::OnCommits(absl::Span<const Commit> commits) {
  if (on_commits) on_commits();
  MutexLock lock(mu_);
  EXPECT_TRUE(replayed_) << "a commit before the end of replay";
  EXPECT_FALSE(commits.empty());
  group_sizes_.push_back(commits.size());
  for (const Commit& commit : commits) {
    EXPECT_GT(commit.seq, last_seq_) << "seqs don't increase";
    EXPECT_FALSE(commit.ops.empty());
    last_seq_ = commit.seq;
    log_.push_back({commit.seq, {commit.ops.begin(), commit.ops.end()}});
    for (const Op& op : commit.ops) {
      if (op.kind == Op::Kind::kPut) {
        EXPECT_EQ(ModSeqOf(op.value), commit.seq);
      }
      Apply(op, tables_);
    }
  }
}

Revision RecordingSink::opened() const {
  MutexLock lock(mu_);
  return opened_;
}
StoreRecordView RecordingSink::record() const {
  MutexLock lock(mu_);
  return record_;
}
bool RecordingSink::replayed() const {
  MutexLock lock(mu_);
  return replayed_;
}
Tables RecordingSink::tables() const {
  MutexLock lock(mu_);
  return tables_;
}
std::vector<RecordingSink::LoggedCommit> RecordingSink::log() const {
  MutexLock lock(mu_);
  return log_;
}
uint64_t RecordingSink::last_seq() const {
  MutexLock lock(mu_);
  return last_seq_;
}
std::vector<size_t> RecordingSink::group_sizes() const {
  MutexLock lock(mu_);
  return group_sizes_;
}

void Outcome::Set(std::vector<UnitResult> results) {
  MutexLock lock(mu_);
  EXPECT_FALSE(ready_) << "done ran twice";
  ready_ = true;
  results_ = std::move(results);
  changed_.NotifyAll();
}

bool Outcome::ready() const {
  MutexLock lock(mu_);
  return ready_;
}

std::vector<UnitResult> Outcome::Wait() {
  MutexLock lock(mu_);
  while (!ready_) {
    if (!changed_.WaitFor(mu_, kPatience) && !ready_) {
      ADD_FAILURE() << "done didn't run";
      return {};
    }
  }
  return results_;
}

void Gate::Shut() {
  MutexLock lock(mu_);
  shut_ = true;
}

void Gate::Open() {
  MutexLock lock(mu_);
  shut_ = false;
  changed_.NotifyAll();
}

void Gate::Pass() {
  MutexLock lock(mu_);
  ++waiters_;
  changed_.NotifyAll();
  while (shut_) changed_.Wait(mu_);
  --waiters_;
}

void Gate::AwaitWaiter() {
  MutexLock lock(mu_);
  while (waiters_ == 0) {
    if (!changed_.WaitFor(mu_, kPatience) && waiters_ == 0) {
      ADD_FAILURE() << "nobody came to the gate";
      return;
    }
  }
}

absl::Status EngineHarness::Open() {
  Close();
  return OpenWithoutClose();
}

absl::Status EngineHarness::OpenWithoutClose() {
  engine_.reset();
  sink_ = std::make_unique<RecordingSink>();
  sink_->on_commits = [this] { gate_.Pass(); };
  engine_ = NewEngine();
  return engine_->Open({sink_.get()});
}

void EngineHarness::Close() {
  if (engine_ != nullptr) engine_->Close();
}

OutcomePtr EngineHarness::Propose(std::vector<Unit> units, WriteClass write_class) {
  auto outcome = std::make_shared<Outcome>();
  engine_->Propose(
      Batch{std::move(units)}, write_class,
      [outcome](std::vector<UnitResult> results) { outcome->Set(std::move(results)); });
  return outcome;
}

std::vector<UnitResult> EngineHarness::Wait(const OutcomePtr& outcome) {
  if (!blocked_) Pump();
  return outcome->Wait();
}

UnitResult EngineHarness::Run(Unit unit) {
  std::vector<Unit> units;
  units.push_back(std::move(unit));
  std::vector<UnitResult> results = Wait(Propose(std::move(units)));
  EXPECT_EQ(results.size(), 1u);
  return results.empty() ? UnitResult{} : std::move(results[0]);
}

void EngineHarness::Block() {
  blocked_ = true;
  if (!threaded()) return;
  gate_.Shut();
  Propose({Unit{.ops = {Put(Family::kAccess, "blocker", Value(""))}}});
  gate_.AwaitWaiter();
}

void EngineHarness::Unblock() {
  blocked_ = false;
  gate_.Open();
  Pump();
}

HarnessKind ThreadedMemory() {
  return {"MemoryThreaded", [](const EngineLimits& limits) {
            return std::make_unique<MemoryHarness>(limits, /*threaded=*/true);
          }};
}

HarnessKind PumpedMemory() {
  return {"MemoryPumped", [](const EngineLimits& limits) {
            return std::make_unique<MemoryHarness>(limits, /*threaded=*/false);
          }};
}

TempDir::TempDir() {
  std::string pattern = ::testing::TempDir() + "muster_XXXXXX";
  path_ = ::mkdtemp(pattern.data());
}

TempDir::~TempDir() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

}  // namespace muster::storage::testing
