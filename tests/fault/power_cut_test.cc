// Power cuts at random operations of the file system, under mixed load: what was acknowledged is
// there, what is there was proposed, the store is sound and takes writes again.
#include <gtest/gtest.h>
#include <rocksdb/env.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/fake_clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "engine_harness.h"
#include "server/core/applier.h"
#include "server/core/catalog.h"
#include "server/core/held_set.h"
#include "server/core/verify.h"
#include "server/core/watch_hub.h"
#include "storage/group.h"
#include "storage/rocksdb/rocksdb_engine.h"
#include "storage/rocksdb/salvage.h"
#include "tests/fault/mixed_load.h"
#include "tests/fault/power_cut_fs.h"
#include "tests/fault/proposal_log.h"

namespace muster::test {
namespace {

namespace fs = std::filesystem;
using storage::Family;
using storage::testing::RecordingSink;
using storage::testing::Tables;

// Files in memory: a sync there costs nothing, and what is asked is only whether it was called.
class FastDir {
 public:
  FastDir() {
    std::string pattern = fs::exists("/dev/shm") ? "/dev/shm/muster-cut-XXXXXX"
                                                 : fs::temp_directory_path() / "muster-cut-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~FastDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

uint64_t Setting(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  uint64_t value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : fallback;
}

// What has to be in the store.
struct Expected {
  bool born = false;  // the store has been opened once
  Tables tables;
  uint64_t seq = 0;
  uint64_t acknowledged_seq = 0;
  uint64_t least_seq = 0;              // of the first commit of the life
  std::vector<storage::Unit> unknown;  // proposed, and neither acknowledged nor refused
};

// The registry on a store whose power can be cut. One life, from power on to power off.
class Life {
 public:
  Life(const std::string& dir, rocksdb::Env& env, base::FakeClock& clock, bool sync, uint64_t seed)
      : clock_(clock),
        rng_(seed),
        leases_(clock, rng_, {}),
        applier_(catalog_, leases_, hub_),
        rocksdb_({.data_dir = dir,
                  .clock = clock,
                  .rng = rng_,
                  .sync = sync,
                  .write_buffer_bytes = 64 << 10,
                  .block_cache_bytes = 1 << 20,
                  .note_logs_every = absl::ZeroDuration(),
                  .env = &env}),
        engine_(rocksdb_),
        held_(catalog_, leases_, hub_, clock),
        registry_(engine_, catalog_, leases_, held_, clock, {}) {}

  absl::Status Open() {
    least_seq_ = static_cast<uint64_t>(clock_.System().us);
    const absl::Status status = engine_.Open({&applier_, &sink_});
    if (status.ok()) leases_.SetLoaded();
    return status;
  }
  // One registration, waited for.
  absl::Status RegisterOne(std::mt19937_64& random) {
    base::Mutex mu;
    base::CondVar answered;
    std::optional<absl::Status> status;
    v1::RegisterRequest request = MixedLoad::Registration(random);
    request.clear_life_id();  // a life that another one replaced is refused
    registry_.Register(request, {}, [&](const auto& result) {
      base::MutexLock lock(mu);
      status = result.status();
      answered.NotifyAll();
    });
    base::MutexLock lock(mu);
    while (!status) answered.Wait(mu);
    return *status;
  }
  void LoadUntil(const std::function<bool()>& stop, uint64_t seed) {
    std::thread tend([this, &stop] {
      while (!stop()) {
        rocksdb_.Tend();
        absl::SleepFor(absl::Milliseconds(1));
      }
    });
    MixedLoad(registry_, leases_, clock_, stop, seed).Wait();
    tend.join();
  }
  std::vector<std::string> Problems() {
    const auto found = core::Verify(engine_, catalog_, leases_, [] { return false; });
    return found.ok() ? found->problems : std::vector{found.status().ToString()};
  }
  Expected Close() {
    engine_.Close();
    return {true,       sink_.tables(),   sink_.last_seq(), engine_.acknowledged_seq(),
            least_seq_, engine_.unknown()};
  }
  const RecordingSink& sink() const { return sink_; }
  uint64_t acknowledged() const { return engine_.acknowledged(); }

 private:
  base::FakeClock& clock_;
  base::SeededRng rng_;
  core::Catalog catalog_;
  core::WatchHub hub_;
  core::LeaseTable leases_;
  core::Applier applier_;
  RecordingSink sink_;
  storage::RocksDbEngine rocksdb_;
  ProposalLog engine_;
  core::HeldSet held_;
  core::Registry registry_;
  uint64_t least_seq_ = 0;
};

// With what was of unknown outcome.
Expected WithUnknown(Expected expected) {
  std::vector<storage::Unit*> unknown;
  for (storage::Unit& unit : expected.unknown) unknown.push_back(&unit);
  auto judged = storage::JudgeGroup(
      unknown, {.last = expected.seq, .least = expected.least_seq},
      [](Family, std::string_view) -> std::optional<uint64_t> { return std::nullopt; },
      [&](Family family, std::string_view key) -> absl::StatusOr<std::optional<std::string>> {
        const auto& table = expected.tables[static_cast<int>(family)];
        const auto found = table.find(std::string(key));
        if (found == table.end()) return std::nullopt;
        return found->second;
      });
  for (const storage::Commit& commit : judged.commits) {
    for (const storage::Op& op : commit.ops) storage::testing::Apply(op, expected.tables);
  }
  expected.seq = judged.last_seq;
  return expected;
}

// A salvaged store has an identity of its own.
Tables WithoutIdentity(Tables tables) {
  tables[static_cast<int>(Family::kMeta)].erase(std::string(storage::kStoreKey));
  return tables;
}

// "" when what was opened is what has to be there: all that was acknowledged, and of the rest the
// last group or not.
std::string Compare(const Expected& all, const RecordingSink& found, bool salvaged) {
  const Tables tables = found.tables();
  Expected expected = all;
  // They aren't replayed.
  expected.tables = storage::testing::WithoutTransitions(all.tables);
  if (!expected.born) {
    size_t keys = 0;
    for (const auto& table : tables) keys += table.size();
    return keys <= 1 ? "" : absl::StrCat("a new store has ", keys, " records");
  }
  Expected more = WithUnknown(all);
  more.tables = storage::testing::WithoutTransitions(more.tables);
  if (salvaged) {
    const Tables bare = WithoutIdentity(tables);
    if (bare == WithoutIdentity(expected.tables) || bare == WithoutIdentity(more.tables)) return "";
    return "salvaged, and not what it was";
  }
  const uint64_t seq = found.opened().seq;
  if (seq < expected.acknowledged_seq) {
    return absl::StrCat("acknowledged and lost: seq ", expected.acknowledged_seq, ", found ", seq);
  }
  if (seq == expected.seq && tables == expected.tables) return "";
  if (seq == more.seq && tables == more.tables) return "";
  return absl::StrCat("lost or invented: expected seq ", expected.seq, " or ", more.seq, ", found ",
                      seq);
}

struct Tally {
  uint64_t cuts = 0;
  uint64_t cut_while_opening = 0;
  uint64_t acknowledged = 0;
  uint64_t salvaged = 0;
  uint64_t logs = 0;
  uint64_t tables = 0;
  std::string problem;  // the first one
};

class PowerCuts {
 public:
  PowerCuts(bool sync, uint64_t seed) : sync_(sync), random_(seed) { NewStore(); }

  // Ends at the first problem.
  Tally Run(uint64_t cuts, const std::vector<Keep>& keeps) {
    for (uint64_t i = 0; i < cuts && tally_.problem.empty(); ++i) {
      if (i % 50 == 49) {
        tally_.problem = CheckLast();
        NewStore();
      }
      if (tally_.problem.empty()) Cut(keeps[i % keeps.size()]);
      if (!tally_.problem.empty()) tally_.problem += absl::StrCat(" (cut ", i, ")");
    }
    if (tally_.problem.empty()) tally_.problem = CheckLast();
    Count();
    return tally_;
  }

 private:
  void NewStore() {
    Count();
    dir_ = std::make_unique<FastDir>();
    data_ = dir_->path() + "/data";
    fs_ = std::make_shared<PowerCutFileSystem>(data_, random_());
    env_ = NewPowerCutEnv(fs_);
    clock_ = std::make_unique<base::FakeClock>();
    expected_ = {};
    salvaged_ = false;
  }
  void Count() {
    if (fs_ == nullptr) return;
    tally_.logs += fs_->created(".log");
    tally_.tables += fs_->created(".sst");
    fs_ = nullptr;
  }

  // A life that ends by a power cut; first, whether the last one was survived.
  void Cut(Keep keep) {
    clock_->Advance(absl::Seconds(1));
    {
      Life life(data_, *env_, *clock_, sync_, random_());
      const bool early = random_() % 5 == 0;
      if (early) fs_->CutAt(1 + random_() % 80);
      const absl::Status opened = life.Open();
      if (opened.ok()) {
        tally_.problem = CheckAndLoad(life, early);
        expected_ = life.Close();
        tally_.acknowledged += life.acknowledged();
      } else if (!fs_->cut()) {
        tally_.problem = absl::StrCat("doesn't open: ", opened.ToString());
      } else {
        ++tally_.cut_while_opening;
      }
      if (opened.ok()) salvaged_ = false;
    }
    ++tally_.cuts;
    fs_->Restore(keep);
    if (tally_.problem.empty()) SalvageIfAsked(keep);
  }

  std::string CheckAndLoad(Life& life, bool armed) {
    std::string problem = Compare(expected_, life.sink(), salvaged_);
    if (!problem.empty()) return problem;
    if (armed) {
      life.LoadUntil([this] { return fs_->cut(); }, random_());
      return "";
    }
    for (const std::string& line : life.Problems()) return "verify: " + line;
    const absl::Status first = life.RegisterOne(random_);
    if (!first.ok()) return "no registration: " + first.ToString();
    fs_->CutAt(1 + random_() % 500);
    life.LoadUntil([this] { return fs_->cut(); }, random_());
    return "";
  }

  // What can't be told from damage may be too much for the server itself (docs/adr/0005): then it
  // says what to do, and that helps.
  void SalvageIfAsked(Keep keep) {
    if (keep != Keep::kGarbage && keep != Keep::kTorn) return;
    base::SeededRng rng(random_());
    for (int file = 0; file < 2; ++file) {
      if (!storage::PlanSalvage(data_).ok()) return;
      const auto revision = storage::RunSalvage(data_, *clock_, rng);
      if (!revision.ok()) continue;  // the other log as well
      ++tally_.salvaged;
      salvaged_ = true;
    }
  }

  std::string CheckLast() {
    Life life(data_, *env_, *clock_, sync_, random_());
    if (const absl::Status opened = life.Open(); !opened.ok()) return opened.ToString();
    return Compare(expected_, life.sink(), salvaged_);
  }

  const bool sync_;
  std::mt19937_64 random_;
  std::unique_ptr<FastDir> dir_;
  std::string data_;
  std::shared_ptr<PowerCutFileSystem> fs_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<base::FakeClock> clock_;
  Expected expected_;
  bool salvaged_ = false;
  Tally tally_;
};

Tally RunCuts(bool sync, uint64_t cuts, const std::vector<Keep>& keeps) {
  // Thousands of lines on power that is cut.
  base::SetLogSink([](base::LogLevel, std::string_view, absl::Span<const base::LogField>) {});
  const uint64_t seed = Setting("MUSTER_SEED", std::random_device()());
  std::cout << "MUSTER_SEED=" << seed << std::endl;
  const Tally tally = PowerCuts(sync, seed).Run(Setting("MUSTER_CUTS", cuts), keeps);
  std::cout << tally.cuts << " cuts, " << tally.cut_while_opening << " of them while opening, "
            << tally.acknowledged << " writes acknowledged, " << tally.logs << " logs, "
            << tally.tables << " tables, " << tally.salvaged << " salvaged" << std::endl;
  return tally;
}

void ExpectAllSurvive(uint64_t cuts, const std::vector<Keep>& keeps) {
  const Tally tally = RunCuts(/*sync=*/true, cuts, keeps);
  EXPECT_EQ(tally.problem, "");
  EXPECT_GT(tally.acknowledged, tally.cuts * 10) << "too little load to say anything";
  EXPECT_GT(tally.logs, tally.cuts * 3) << "logs don't roll";
  EXPECT_GT(tally.tables, tally.cuts * 3) << "nothing is flushed";
  EXPECT_LT(tally.salvaged * 20, tally.cuts) << "most of it is mended without an operator";
}

// 1,000 cuts.
TEST(PowerCutTest, AtTheLastSync) { ExpectAllSurvive(500, {Keep::kNothing}); }
TEST(PowerCutTest, WithAPartOfWhatWasNotSynced) { ExpectAllSurvive(200, {Keep::kPrefix}); }
TEST(PowerCutTest, WithSectorsThatWereNotWritten) { ExpectAllSurvive(150, {Keep::kTorn}); }
TEST(PowerCutTest, WithGarbageThatWasNotSynced) { ExpectAllSurvive(150, {Keep::kGarbage}); }

// The proof that these tests can fail.
TEST(PowerCutTest, WithoutSyncAcknowledgedWritesAreLost) {
  const Tally tally = RunCuts(/*sync=*/false, /*cuts=*/30, {Keep::kNothing});
  EXPECT_NE(tally.problem.find("acknowledged and lost"), std::string::npos) << tally.problem;
}

}  // namespace
}  // namespace muster::test
