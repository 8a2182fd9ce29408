// From a running engine to a backup file to a new data directory.
#include "storage/rocksdb/restore.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/errors.h"
#include "rocksdb_harness.h"
#include "storage/backup_file.h"
#include "storage/memory_engine.h"
#include "storage/rocksdb/data_dir.h"

namespace muster::storage {
namespace {

namespace fs = std::filesystem;
using testing::RecordingSink;
using testing::RocksDbHarness;
using testing::Tables;
using testing::Value;

std::string BackupOf(const Engine& engine, const base::Clock& clock) {
  std::string file;
  auto snapshot = engine.GetSnapshot();
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  const absl::Status written = WriteBackup(**snapshot, clock, "test", [&](std::string_view chunk) {
    file.append(chunk);
    return absl::OkStatus();
  });
  EXPECT_TRUE(written.ok()) << written;
  return file;
}

uint64_t SeqOf(const std::string& file) {
  std::istringstream in(file);
  BackupReader reader(in);
  auto header = reader.ReadHeader();
  EXPECT_TRUE(header.ok()) << header.status();
  return header.ok() ? header->seq() : 0;
}

Tables WithoutStoreRecord(Tables tables) {
  tables[0].erase(std::string(kStoreKey));
  return tables;
}

class RestoreTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(harness_.Open().ok()); }

  void Write(int count) {
    for (int i = 0; i < count; ++i) {
      const std::string key = "k" + std::to_string(written_++);
      harness_.Run({.ops = {Put(Family::kInstances, key, Value(std::string(300, 'x'))),
                            Put(Family::kTransitions, key, Value("t"))}});
    }
  }

  absl::Status Restore(const std::string& file, const std::string& dir) {
    std::istringstream in(file);
    return RestoreBackup(in, dir, harness_.clock(), harness_.rng());
  }

  // What stands in the temp dir; a failed restore must leave nothing there.
  int EntriesInTemp() {
    int count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(harness_.temp().path())) {
      ++count;
    }
    return count;
  }

  RocksDbHarness harness_;
  const std::string target_ = harness_.temp() / "restored";
  int written_ = 0;
};

TEST_F(RestoreTest, BackupUnderLoadHoldsTheStateOfItsRevision) {
  Write(50);
  std::atomic<bool> stop{false};
  std::atomic<int> written{0};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      const std::string key = "k" + std::to_string(i % 97);
      harness_.Run(i % 5 == 4 ? Unit{.ops = {Delete(Family::kInstances, key)}}
                              : Unit{.ops = {Put(Family::kInstances, key, Value("new")),
                                             Put(Family::kChecks, key, Value("new"))}});
      ++written;
    }
  });
  std::vector<std::string> files;
  for (int i = 0; i < 5; ++i) {
    const int before = written;
    files.push_back(BackupOf(harness_.engine(), harness_.clock()));
    while (written < before + 20) std::this_thread::yield();
  }
  stop = true;
  writer.join();

  for (size_t i = 0; i < files.size(); ++i) {
    const uint64_t seq = SeqOf(files[i]);
    Tables expected = {};
    expected[0][std::string(kStoreKey)] =
        *harness_.engine().Get(Family::kMeta, std::string(kStoreKey));
    for (const auto& commit : harness_.sink().log()) {
      if (commit.seq > seq) break;
      for (const Op& op : commit.ops) testing::Apply(op, expected);
    }
    const std::string dir = target_ + std::to_string(i);
    ASSERT_TRUE(Restore(files[i], dir).ok());
    RecordingSink sink;
    auto engine = harness_.NewEngineAt(dir);
    ASSERT_TRUE(engine->Open({&sink}).ok());
    EXPECT_EQ(WithoutStoreRecord(testing::TablesOf(**engine->GetSnapshot())),
              WithoutStoreRecord(expected));
  }
}

TEST_F(RestoreTest, ARestoredStoreHasANewEpochAndSeqGoesOn) {
  Write(30);
  const Revision old = harness_.engine().revision();
  const std::string file = BackupOf(harness_.engine(), harness_.clock());
  // The clock stands: the seqs have overtaken the time at which the epoch began.
  ASSERT_GT(old.seq, static_cast<uint64_t>(harness_.clock().System().us));
  ASSERT_TRUE(Restore(file, target_).ok());

  RecordingSink sink;
  auto engine = harness_.NewEngineAt(target_);
  ASSERT_TRUE(engine->Open({&sink}).ok());
  EXPECT_NE(sink.opened().epoch, old.epoch);
  EXPECT_EQ(sink.opened().seq, old.seq + 1);
  EXPECT_EQ(sink.record().base_seq, old.seq + 1);
  EXPECT_EQ(*engine->Get(Family::kInstances, "k7"),
            *harness_.engine().Get(Family::kInstances, "k7"))
      << "records keep their seqs";
  struct stat stat;
  ASSERT_EQ(::stat(target_.c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 0777, 0700u);
}

TEST_F(RestoreTest, SeqBeginsAtTheTimeWhenThatIsLater) {
  Write(3);
  const std::string file = BackupOf(harness_.engine(), harness_.clock());
  harness_.clock().Advance(absl::Hours(1));
  ASSERT_TRUE(Restore(file, target_).ok());
  RecordingSink sink;
  auto engine = harness_.NewEngineAt(target_);
  ASSERT_TRUE(engine->Open({&sink}).ok());
  EXPECT_EQ(sink.opened().seq, static_cast<uint64_t>(harness_.clock().System().us));
}

TEST_F(RestoreTest, TheMemoryEnginesBackupRestoresToo) {
  base::SeededRng rng(3);
  MemoryEngine memory({.clock = harness_.clock(), .rng = rng, .threaded = false});
  RecordingSink sink;
  ASSERT_TRUE(memory.Open({&sink}).ok());
  memory.Propose({{Unit{.ops = {Put(Family::kNodes, "n", Value("v"))}}}}, WriteClass::kUser,
                 [](std::vector<UnitResult>) {});
  memory.RunPending();
  ASSERT_TRUE(Restore(BackupOf(memory, harness_.clock()), target_ + "/").ok());
  RecordingSink restored;
  auto engine = harness_.NewEngineAt(target_);
  ASSERT_TRUE(engine->Open({&restored}).ok());
  EXPECT_EQ(WithoutStoreRecord(restored.tables()), WithoutStoreRecord(sink.tables()));
}

TEST_F(RestoreTest, OnlyIntoADirectoryThatIsEmptyOrNotThere) {
  Write(3);
  const std::string file = BackupOf(harness_.engine(), harness_.clock());
  fs::create_directory(target_);
  EXPECT_TRUE(Restore(file, target_).ok()) << "empty";
  const absl::Status again = Restore(file, target_);
  EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists) << again;
  EXPECT_EQ(Restore(file, harness_.dir()).code(), absl::StatusCode::kAlreadyExists) << "in use";
  EXPECT_EQ(EntriesInTemp(), 2) << "the store, the restored store, nothing else";
}

TEST_F(RestoreTest, ADamagedBackupLeavesNothingBehind) {
  Write(2000);
  const std::string file = BackupOf(harness_.engine(), harness_.clock());
  ASSERT_GT(file.size(), 600'000u) << "several frames";
  for (const size_t at : {size_t{3}, size_t{30}, file.size() / 2, file.size() - 3}) {
    std::string damaged = file;
    damaged[at] ^= 0x10;
    const absl::Status status = Restore(damaged, target_);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << at << ": " << status;
    const absl::Status cut = Restore(file.substr(0, at), target_);
    EXPECT_EQ(cut.code(), absl::StatusCode::kDataLoss) << at << ": " << cut;
  }
  EXPECT_EQ(EntriesInTemp(), 1);
  EXPECT_TRUE(Restore(file, target_).ok());
}

// A mount point can't be replaced, nor may its owner lose it.
TEST_F(RestoreTest, ADirectoryThatIsThereStaysWhatItIs) {
  Write(20);
  const std::string file = BackupOf(harness_.engine(), harness_.clock());
  const std::string dir = harness_.temp() / "own";
  fs::create_directory(dir);
  ASSERT_EQ(::chmod(dir.c_str(), 0750), 0);
  struct stat before {};
  ASSERT_EQ(::stat(dir.c_str(), &before), 0);
  EXPECT_FALSE(Restore(file.substr(0, file.size() / 2), dir).ok());
  EXPECT_TRUE(fs::is_empty(dir)) << "a restore that failed leaves nothing";
  fs::create_directory(dir + "/.restore-0123");  // as one that was killed does
  std::ofstream(dir + "/.restore-0123/000004.log") << "part of it";
  std::ofstream(dir + "/.restore-0123/CURRENT") << "MANIFEST-000005\n";
  std::ofstream(dir + "/MANIFEST-000005") << "what it had moved";
  testing::RecordingSink none;
  EXPECT_EQ(harness_.NewEngineAt(dir)->Open({&none}).code(), absl::StatusCode::kDataLoss)
      << "no empty store is begun beside it";
  ASSERT_TRUE(Restore(file, dir).ok());
  struct stat after {};
  ASSERT_EQ(::stat(dir.c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_EQ(after.st_mode, before.st_mode);
  for (const auto& entry : fs::directory_iterator(dir)) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".restore")) << entry.path();
  }
  RecordingSink sink;
  auto engine = harness_.NewEngineAt(dir);
  ASSERT_TRUE(engine->Open({&sink}).ok());
  EXPECT_EQ(WithoutStoreRecord(testing::TablesOf(**engine->GetSnapshot())),
            WithoutStoreRecord(testing::TablesOf(**harness_.engine().GetSnapshot())));
}

TEST_F(RestoreTest, ADirectoryThatSomebodyHoldsIsLeftAlone) {
  const std::string file = BackupOf(harness_.engine(), harness_.clock());
  const std::string dir = harness_.temp() / "held";
  fs::create_directory(dir);
  const auto lock = DataDirLock::Take(dir);
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(std::string(Restore(file, dir).message()),
            "data directory " + dir + " is in use by another musterd");
  EXPECT_TRUE(fs::is_empty(dir));
}

TEST_F(RestoreTest, AFileIsNoDirectory) {
  const std::string path = harness_.temp() / "file";
  std::ofstream(path) << "text";
  const absl::Status status = Restore(BackupOf(harness_.engine(), harness_.clock()), path);
  EXPECT_EQ(std::string(status.message()), "data directory " + path + ": is no directory");
}

}  // namespace
}  // namespace muster::storage
