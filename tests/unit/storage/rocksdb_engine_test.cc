// What only the engine on disk has to do: survive SIGKILL, full disks, torn and damaged files, and
// say clearly what is wrong with a directory.
#include "storage/rocksdb/rocksdb_engine.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <map>

#include "base/errors.h"
#include "base/log.h"
#include "rocksdb_harness.h"
#include "storage/rocksdb/log_ledger.h"
#include "storage/rocksdb/salvage.h"

namespace muster::storage {
namespace {

namespace fs = std::filesystem;
using testing::Contents;
using testing::Overwrite;
using testing::RocksDbHarness;
using testing::Value;
using testing::Verdict;

std::vector<fs::path> FilesWith(const std::string& dir, std::string_view extension) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(dir)) {
    if (entry.path().extension() == extension && entry.file_size() > 0) {
      files.push_back(entry.path());
    }
  }
  return files;
}

// A program of its own, since threads don't survive a fork.
class Child {
 public:
  Child(const std::string& mode, const std::string& dir) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      ::close(ends[0]);
      ::close(ends[1]);
      ::execl(MUSTER_CRASH_CHILD, MUSTER_CRASH_CHILD, mode.c_str(), dir.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(ends[1]);
    out_ = ends[0];
  }
  ~Child() { ::close(out_); }

  // The next acknowledgement: index and seq. False at the end.
  bool Next(uint64_t& index, uint64_t& seq) {
    char bytes[16];
    size_t got = 0;
    while (got < sizeof(bytes)) {
      const ssize_t n = ::read(out_, bytes + got, sizeof(bytes) - got);
      if (n <= 0) return false;
      got += static_cast<size_t>(n);
    }
    std::memcpy(&index, bytes, 8);
    std::memcpy(&seq, bytes + 8, 8);
    return true;
  }
  void Kill() { ::kill(pid_, SIGKILL); }
  int Wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return status;
  }

 private:
  pid_t pid_ = -1;
  int out_ = -1;
};

class RocksDbEngineTest : public ::testing::Test {
 protected:
  // Reads acknowledgements until the pipe ends; kills after `kill_after` of them, if at all.
  void Collect(Child& child, int kill_after = -1) {
    uint64_t index = 0;
    uint64_t seq = 0;
    for (int count = 1; child.Next(index, seq); ++count) {
      acknowledged_[index] = seq;
      last_seq_ = std::max(last_seq_, seq);
      if (count == kill_after) child.Kill();
    }
  }

  void CheckNothingMissing() {
    ASSERT_TRUE(harness_.Open().ok());
    EXPECT_GE(harness_.sink().opened().seq, last_seq_);
    for (const auto& [index, seq] : acknowledged_) {
      const auto value = harness_.engine().Get(Family::kInstances, "k" + std::to_string(index));
      const bool deleted = index % 3 == 2 && acknowledged_.contains(index + 1);
      if (deleted) {
        ASSERT_EQ(value.status().code(), absl::StatusCode::kNotFound) << index;
      } else if (index % 3 != 2) {
        ASSERT_TRUE(value.ok()) << "acknowledged and missing: " << index;
        ASSERT_EQ(testing::PayloadOf(*value), "v" + std::to_string(index));
        ASSERT_EQ(ModSeqOf(*value), seq);
      }
    }
    harness_.Close();
  }

  absl::Status Reopen() {
    const absl::Status status = harness_.Open();
    harness_.Close();
    return status;
  }

  // Stores some records and closes.
  void Fill(int count = 20) {
    ASSERT_TRUE(harness_.Open().ok());
    for (int i = 0; i < count; ++i) {
      harness_.Run({.ops = {Put(Family::kInstances, "k" + std::to_string(i),
                                Value(std::string(200, 'x')))}});
    }
    harness_.Close();
  }

  RocksDbHarness harness_;
  std::map<uint64_t, uint64_t> acknowledged_;
  uint64_t last_seq_ = 0;
};

TEST_F(RocksDbEngineTest, NothingAcknowledgedIsLostBySigkill) {
  for (int round = 1; round <= 5; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Child child("write", harness_.dir());
    const size_t before = acknowledged_.size();
    Collect(child, /*kill_after=*/37 * round);
    EXPECT_TRUE(WIFSIGNALED(child.Wait()));
    ASSERT_GE(acknowledged_.size(), before + 37 * round);
    CheckNothingMissing();
    if (HasFatalFailure()) return;
  }
}

TEST_F(RocksDbEngineTest, AFailedWriteMakesItReadOnlyAndLosesNothingAcknowledged) {
  Child child("full", harness_.dir());
  Collect(child);
  const int status = child.Wait();
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0) << "see CheckFrozen in crash_child.cc";
  EXPECT_GT(acknowledged_.size(), 3u);
  CheckNothingMissing();
}

TEST_F(RocksDbEngineTest, TheDirectoryIsItsOwnersAlone) {
  Fill(1);
  struct stat stat;
  ASSERT_EQ(::stat(harness_.dir().c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 0777, 0700u);
}

TEST_F(RocksDbEngineTest, ParentsAreCreated) {
  testing::RecordingSink sink;
  auto engine = harness_.NewEngineAt(harness_.temp() / "a/b/c");
  EXPECT_TRUE(engine->Open({&sink}).ok());
}

// A lock that is a file would look forgotten.
TEST_F(RocksDbEngineTest, ADirectoryInUseIsRefusedWhoeverDeletedItsLock) {
  ASSERT_TRUE(harness_.Open().ok());
  EXPECT_TRUE(fs::remove(fs::path(harness_.dir()) / "LOCK"));
  testing::RecordingSink sink;
  auto second = harness_.NewEngine();
  EXPECT_EQ(std::string(second->Open({&sink}).message()),
            "data directory " + harness_.dir() + " is in use by another musterd");
}

TEST_F(RocksDbEngineTest, WhenItsFilesAreGoneItTakesNoMoreWrites) {
  struct Case {
    std::string what;
    std::function<void(const fs::path& dir)> remove;
  };
  for (const Case& c :
       {Case{"CURRENT was deleted", [](const fs::path& dir) { fs::remove(dir / "CURRENT"); }},
        Case{".log in use was deleted",
             [](const fs::path& dir) {
               for (const fs::path& log : FilesWith(dir, ".log")) fs::remove(log);
             }},
        Case{"was moved or deleted", [](const fs::path& dir) {
               fs::rename(dir, dir.string() + ".moved");
               fs::create_directory(dir);
             }}}) {
    SCOPED_TRACE(c.what);
    RocksDbHarness harness;
    ASSERT_TRUE(harness.Open().ok());
    const Unit unit{.ops = {Put(Family::kInstances, "k", Value(""))}};
    const auto look = [&] {
      harness.clock().Advance(absl::Seconds(1));
      harness.engine().Tend();
    };
    ASSERT_EQ(harness.Run(unit).verdict, Verdict::kCommitted);
    look();
    look();
    ASSERT_FALSE(harness.engine().Stats().frozen);
    c.remove(harness.dir());
    look();
    EXPECT_FALSE(harness.engine().Stats().frozen) << "it looks twice";
    look();
    const EngineStats stats = harness.engine().Stats();
    EXPECT_TRUE(stats.frozen);
    EXPECT_NE(stats.frozen_reason.find(c.what), std::string::npos) << stats.frozen_reason;
    const UnitResult refused = harness.Run(unit);
    EXPECT_EQ(refused.verdict, Verdict::kNotCommitted);
    EXPECT_EQ(base::ReasonOf(refused.status), base::Reason::kStorageReadOnly);
    EXPECT_TRUE(harness.engine().Get(Family::kInstances, "k").ok()) << "reads go on";
    harness.Close();
    fs::remove_all(harness.dir() + ".moved");
  }
}

TEST_F(RocksDbEngineTest, ADirectoryInUseIsRefused) {
  ASSERT_TRUE(harness_.Open().ok());
  std::vector<std::string> lines;
  base::SetLogSink([&](base::LogLevel, std::string_view message, absl::Span<const base::LogField>) {
    lines.emplace_back(message);
  });
  testing::RecordingSink sink;
  auto second = harness_.NewEngine();
  const absl::Status same_process = second->Open({&sink});
  base::SetLogSink(nullptr);
  EXPECT_TRUE(lines.empty()) << lines[0] << ": the error says it all";
  EXPECT_EQ(same_process.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::ReasonOf(same_process), base::Reason::kStorageUnusable);
  EXPECT_EQ(std::string(same_process.message()),
            "data directory " + harness_.dir() + " is in use by another musterd");
  harness_.Close();

  Child child("write", harness_.dir());
  uint64_t index = 0;
  uint64_t seq = 0;
  ASSERT_TRUE(child.Next(index, seq));
  const absl::Status other_process = second->Open({&sink});
  child.Kill();
  child.Wait();
  EXPECT_EQ(std::string(other_process.message()), std::string(same_process.message()));
  EXPECT_TRUE(Reopen().ok()) << "free again";
}

TEST_F(RocksDbEngineTest, ADirectoryThatCantBeUsedIsUnavailable) {
  Overwrite(harness_.dir(), "a file");
  const absl::Status status = Reopen();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(base::ReasonOf(status), base::Reason::kStorageUnusable);
  EXPECT_NE(std::string(status.message()).find(harness_.dir()), std::string::npos) << status;
}

TEST_F(RocksDbEngineTest, ATornTailIsDropped) {
  Fill();
  const auto logs = FilesWith(harness_.dir(), ".log");
  ASSERT_EQ(logs.size(), 1u);
  const std::string whole = Contents(logs[0]);
  Overwrite(logs[0], whole.substr(0, whole.size() - 5));
  fs::remove(LedgerFile(harness_.dir()));  // which wouldn't have noted the last record yet
  ASSERT_TRUE(harness_.Open().ok());
  EXPECT_TRUE(harness_.engine().Get(Family::kInstances, "k18").ok());
  EXPECT_FALSE(harness_.engine().Get(Family::kInstances, "k19").ok());
  EXPECT_EQ(harness_.Run({.ops = {Put(Family::kInstances, "new", Value(""))}}).verdict,
            Verdict::kCommitted);
}

// A store that lost commits gives nobody what somebody else was given.
TEST_F(RocksDbEngineTest, SeqsGoOnAboveTheTime) {
  Fill();
  ASSERT_TRUE(harness_.Open().ok());
  const uint64_t last = harness_.sink().opened().seq;
  harness_.clock().Advance(absl::Seconds(1));
  ASSERT_TRUE(harness_.Open().ok());
  EXPECT_EQ(harness_.sink().opened().seq, last) << "nothing was committed since";
  const auto now = static_cast<uint64_t>(harness_.clock().System().us);
  EXPECT_EQ(harness_.Run({.ops = {Put(Family::kInstances, "new", Value(""))}}).seq, now);
  EXPECT_EQ(harness_.Run({.ops = {Put(Family::kInstances, "new", Value(""))}}).seq, now + 1);
}

TEST_F(RocksDbEngineTest, ADamagedLogIsRefused) {
  Fill();
  const auto logs = FilesWith(harness_.dir(), ".log");
  ASSERT_EQ(logs.size(), 1u);
  std::string contents = Contents(logs[0]);
  contents[contents.size() / 2] ^= 0x40;
  Overwrite(logs[0], contents);
  const absl::Status status = Reopen();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_EQ(base::ReasonOf(status), base::Reason::kStorageDamaged);
}

TEST_F(RocksDbEngineTest, ADamagedTableIsRefused) {
  Fill(200);
  ASSERT_TRUE(Reopen().ok());  // recovery writes the log's records to tables
  const auto tables = FilesWith(harness_.dir(), ".sst");
  ASSERT_FALSE(tables.empty());
  for (const fs::path& table : tables) {
    std::string contents = Contents(table);
    contents[contents.size() / 4] ^= 0x40;
    Overwrite(table, contents);
  }
  const absl::Status status = Reopen();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_EQ(base::ReasonOf(status), base::Reason::kStorageDamaged);
}

TEST_F(RocksDbEngineTest, AMissingTableIsRefused) {
  Fill(200);
  ASSERT_TRUE(Reopen().ok());
  const auto tables = FilesWith(harness_.dir(), ".sst");
  ASSERT_FALSE(tables.empty());
  fs::remove(tables[0]);
  const absl::Status status = Reopen();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
}

TEST_F(RocksDbEngineTest, AStoreWithoutItsLogIsRefused) {
  Fill();
  ASSERT_TRUE(Reopen().ok());  // recovery writes the log's records to tables
  Fill();
  std::vector<fs::path> logs;
  for (const auto& entry : fs::directory_iterator(harness_.dir())) {
    if (entry.path().extension() == ".log") logs.push_back(entry.path());
  }
  for (const fs::path& log : logs) fs::remove(log);
  const absl::Status status = Reopen();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_NE(std::string(status.message()).find("no .log"), std::string::npos) << status;
  EXPECT_NE(std::string(status.message()).find("muster salvage"), std::string::npos) << status;
  const uint64_t epoch = harness_.sink().opened().epoch;
  const auto plan = PlanSalvage(harness_.dir());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->file, "");
  const auto salvaged = RunSalvage(harness_.dir(), harness_.clock(), harness_.rng());
  ASSERT_TRUE(salvaged.ok()) << salvaged.status();
  EXPECT_NE(salvaged->revision.epoch, epoch);
  EXPECT_TRUE(Reopen().ok());
}

TEST_F(RocksDbEngineTest, AMissingCurrentDoesntBeginAnEmptyStore) {
  Fill();
  fs::remove(fs::path(harness_.dir()) / "CURRENT");
  const absl::Status status = Reopen();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_NE(std::string(status.message()).find("CURRENT"), std::string::npos) << status;
}

// Changes the closed store behind the engine's back, which would be noticed by its ledger.
class BareStore {
 public:
  explicit BareStore(const std::string& dir) {
    fs::remove(LedgerFile(dir));
    std::vector<std::string> names;
    EXPECT_TRUE(rocksdb::DB::ListColumnFamilies({}, dir, &names).ok());
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const std::string& name : names)
      families.emplace_back(name, rocksdb::ColumnFamilyOptions());
    rocksdb::DB* db = nullptr;
    EXPECT_TRUE(rocksdb::DB::Open({}, dir, families, &handles_, &db).ok());
    db_.reset(db);
  }
  ~BareStore() {
    for (rocksdb::ColumnFamilyHandle* handle : handles_) db_->DestroyColumnFamilyHandle(handle);
  }
  void Put(const std::string& family, const std::string& key, const std::string& value) {
    EXPECT_TRUE(db_->Put({}, Handle(family), key, value).ok());
  }
  void Delete(const std::string& family, const std::string& key) {
    EXPECT_TRUE(db_->Delete({}, Handle(family), key).ok());
  }
  void AddFamily(const std::string& name) {
    rocksdb::ColumnFamilyHandle* handle = nullptr;
    EXPECT_TRUE(db_->CreateColumnFamily({}, name, &handle).ok());
    handles_.push_back(handle);
  }

 private:
  rocksdb::ColumnFamilyHandle* Handle(const std::string& family) {
    for (rocksdb::ColumnFamilyHandle* handle : handles_) {
      if (handle->GetName() == family) return handle;
    }
    ADD_FAILURE() << "no family " << family;
    return handles_[0];
  }
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;
};

TEST_F(RocksDbEngineTest, ARecordOfANewerFormatIsRefused) {
  Fill();
  BareStore(harness_.dir()).Put("nodes", "n", "\x02newer and longer than a header");
  const absl::Status status = Reopen();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_EQ(base::ReasonOf(status), base::Reason::kFormatNewer);
}

TEST_F(RocksDbEngineTest, AFamilyOfANewerVersionIsRefused) {
  Fill();
  BareStore(harness_.dir()).AddFamily("votes");
  const absl::Status status = Reopen();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_EQ(base::ReasonOf(status), base::Reason::kFormatNewer);
  EXPECT_NE(std::string(status.message()).find("votes"), std::string::npos) << status;
}

TEST_F(RocksDbEngineTest, AStoreWithoutIdentityIsDamaged) {
  Fill();
  BareStore(harness_.dir()).Delete("meta", "store");
  EXPECT_EQ(Reopen().code(), absl::StatusCode::kDataLoss);
  BareStore(harness_.dir()).Delete("meta", "seq");
  EXPECT_EQ(Reopen().code(), absl::StatusCode::kDataLoss) << "it has records: not a new store";
}

TEST_F(RocksDbEngineTest, ADirectoryWhoseCreationWasCutShortIsANewStore) {
  { ASSERT_TRUE(harness_.Open().ok()); }
  harness_.Close();
  {
    BareStore bare(harness_.dir());
    bare.Delete("meta", "store");
    bare.Delete("meta", "seq");
  }
  EXPECT_TRUE(Reopen().ok());
}

TEST_F(RocksDbEngineTest, TheBookkeepingKeyIsNeverSeen) {
  Fill();
  ASSERT_TRUE(harness_.Open().ok());
  const std::string seq_key(kSeqKey);
  EXPECT_FALSE(harness_.sink().tables()[0].contains(seq_key));
  EXPECT_FALSE(testing::TablesOf(**harness_.engine().GetSnapshot())[0].contains(seq_key));
}

TEST_F(RocksDbEngineTest, ASnapshotOutlivesTheEngine) {
  Fill();
  ASSERT_TRUE(harness_.Open().ok());
  auto snapshot = harness_.engine().GetSnapshot();
  ASSERT_TRUE(snapshot.ok());
  harness_.Close();
  EXPECT_EQ(testing::TablesOf(**snapshot)[static_cast<int>(Family::kInstances)].size(), 20u);
  EXPECT_EQ(harness_.engine().GetSnapshot().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(harness_.engine().Get(Family::kInstances, "k1").status().code(),
            absl::StatusCode::kUnavailable);
}

// On a full disk its failing would end the process: see LogForwarder.
TEST_F(RocksDbEngineTest, TheDatabaseKeepsNoLogOfItsOwnInTheDirectory) {
  Fill();
  ASSERT_TRUE(fs::exists(fs::path(harness_.dir()) / "CURRENT"));
  EXPECT_FALSE(fs::exists(fs::path(harness_.dir()) / "LOG"));
}

}  // namespace
}  // namespace muster::storage
