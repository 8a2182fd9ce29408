// What a start notices of logs that somebody cut, emptied or deleted, and that it takes nothing
// else for it.
#include "storage/rocksdb/log_ledger.h"

#include <gtest/gtest.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "rocksdb_harness.h"
#include "storage/rocksdb/log_scan.h"
#include "storage/rocksdb/salvage.h"

namespace muster::storage {
namespace {

namespace fs = std::filesystem;
using testing::Contents;
using testing::Overwrite;
using testing::RocksDbHarness;
using testing::Value;
using testing::Verdict;

// Where the last record of a log begins.
size_t LastRecord(const std::string& log) {
  LogScanner scanner;
  const std::string_view cut = std::string_view(log).substr(0, log.size() - 1);
  for (size_t at = 0; at < cut.size(); at += kLogBlock) scanner.AddBlock(cut.substr(at, kLogBlock));
  return scanner.Finish().whole_bytes;
}

class LogLedgerTest : public ::testing::Test {
 protected:
  void Write(int from, int to) {
    for (int i = from; i < to; ++i) {
      const Unit unit{
          .ops = {Put(Family::kInstances, absl::StrCat("k", i), Value(std::string(200, 'x')))}};
      ASSERT_EQ(harness_.Run(unit).verdict, Verdict::kCommitted);
    }
  }
  // A store with tables and a log.
  void Fill() {
    ASSERT_TRUE(harness_.Open().ok());
    Write(0, 20);
    harness_.Close();
    ASSERT_TRUE(harness_.Open().ok());
    Write(20, 40);
    harness_.Close();
  }
  void Tend(absl::Duration after) {
    harness_.clock().Advance(after);
    harness_.engine().Tend();
  }
  absl::Status Open() { return harness_.Open(); }
  bool Has(int i) { return harness_.engine().Get(Family::kInstances, absl::StrCat("k", i)).ok(); }
  fs::path Newest(const std::function<bool(const fs::path& name)>& is_one) const {
    fs::path newest;
    for (const auto& entry : fs::directory_iterator(harness_.dir())) {
      if (is_one(entry.path().filename())) newest = std::max(newest, entry.path());
    }
    EXPECT_FALSE(newest.empty());
    return newest;
  }
  fs::path Log() const {
    return Newest([](const fs::path& name) { return name.extension() == ".log"; });
  }
  fs::path Manifest() const {
    return Newest([](const fs::path& name) { return name.string().starts_with("MANIFEST-"); });
  }
  // As the machine finds it after a SIGKILL.
  void KillInto(const std::string& dir) {
    fs::remove_all(dir);
    fs::copy(harness_.dir(), dir, fs::copy_options::recursive);
  }
  void Replace(const std::string& with) {
    harness_.Close();
    fs::remove_all(harness_.dir());
    fs::copy(with, harness_.dir(), fs::copy_options::recursive);
  }

  RocksDbHarness harness_;
};

TEST_F(LogLedgerTest, ALogThatLostItsEndIsRefusedAndSalvaged) {
  struct Case {
    std::string says;
    std::function<void(const fs::path& log)> lose;
  };
  const std::vector<Case> cases = {
      {" ends at byte 0, but muster.logs says that its first ",
       [](const fs::path& log) { Overwrite(log, ""); }},
      {" ends at byte ",
       [](const fs::path& log) {
         const std::string whole = Contents(log);
         Overwrite(log, whole.substr(0, LastRecord(whole)));
       }},
      {" can't be read beyond byte ",
       [](const fs::path& log) {
         std::string whole = Contents(log);
         const size_t at = LastRecord(whole);
         Overwrite(log, whole.replace(at, std::string::npos, whole.size() - at, '\0'));
       }},
      {" can't be read beyond byte 0",
       [](const fs::path& log) { Overwrite(log, std::string(fs::file_size(log), '\0')); }}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.says);
    fs::remove_all(harness_.dir());
    Fill();
    const Revision before = harness_.sink().opened();
    const fs::path log = Log();
    c.lose(log);
    const std::string left = Contents(log);
    const absl::Status refused = Open();
    EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
    EXPECT_EQ(base::ReasonOf(refused), base::Reason::kStorageDamaged);
    const std::string text(refused.message());
    EXPECT_TRUE(absl::StrContains(text, log.filename().string() + c.says)) << text;
    EXPECT_TRUE(absl::StrContains(text, "muster salvage --data-dir")) << text;
    EXPECT_EQ(Contents(log), left) << "nothing is cut before somebody says so";
    harness_.Close();

    ASSERT_TRUE(PlanSalvage(harness_.dir()).ok());
    const auto salvaged = RunSalvage(harness_.dir(), harness_.clock(), harness_.rng());
    ASSERT_TRUE(salvaged.ok()) << salvaged.status();
    EXPECT_NE(salvaged->revision.epoch, before.epoch);
    ASSERT_TRUE(Open().ok());
    EXPECT_TRUE(Has(19));
    EXPECT_FALSE(Has(39));
    Write(40, 41);
    harness_.Close();
    EXPECT_TRUE(Open().ok());
    harness_.Close();
  }
}

TEST_F(LogLedgerTest, AManifestThatLostItsEndIsRefused) {
  Fill();
  const fs::path manifest = Manifest();
  const std::string whole = Contents(manifest);
  for (const std::string& left : {whole.substr(0, LastRecord(whole)), std::string()}) {
    Overwrite(manifest, left);
    const absl::Status refused = Open();
    EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
    EXPECT_TRUE(absl::StrContains(std::string(refused.message()), "muster restore")) << refused;
    harness_.Close();
    EXPECT_EQ(RunSalvage(harness_.dir(), harness_.clock(), harness_.rng()).status().code(),
              absl::StatusCode::kDataLoss)
        << "logs and tables that it named are unknown";
  }
  Overwrite(manifest, whole);
  EXPECT_TRUE(Open().ok());
}

TEST_F(LogLedgerTest, AnOlderManifestIsRefused) {
  Fill();
  const fs::path old = Manifest();
  const std::string old_contents = Contents(old);
  const fs::path current = fs::path(harness_.dir()) / "CURRENT";
  const std::string old_current = Contents(current);
  ASSERT_TRUE(Open().ok());
  harness_.Close();
  Overwrite(old, old_contents);
  Overwrite(current, old_current);
  const absl::Status refused = Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
  EXPECT_TRUE(absl::StrContains(std::string(refused.message()),
                                absl::StrCat("CURRENT names ", old.filename().string())))
      << refused;
}

TEST_F(LogLedgerTest, AMissingLogIsSalvagedUnlessAnotherOneGoesOnAfterIt) {
  Fill();
  const NotedLogs noted = ReadNotedLogs(harness_.dir());
  ASSERT_EQ(noted.size(), 2u) << "one log and the MANIFEST";
  for (const fs::path& file : {Log(), Manifest()}) {
    const NotedLog& note = noted.at(file.filename().string());
    EXPECT_EQ(note.bytes, fs::file_size(file));
    EXPECT_EQ(note.head, Contents(file).substr(0, kLogHead));
  }
  const auto note = [&](const std::string& log) {
    const std::string text = absl::StrCat("muster.logs 2\n", log, " 1000 00ff\n");
    Overwrite(LedgerFile(harness_.dir()),
              absl::StrCat(text, "crc32c ", absl::Hex(Crc32c(text), absl::kZeroPad8), "\n"));
  };
  note("000001.log");
  absl::Status refused = Open();
  EXPECT_TRUE(absl::StrContains(std::string(refused.message()), "000001.log is gone")) << refused;
  harness_.Close();
  EXPECT_EQ(RunSalvage(harness_.dir(), harness_.clock(), harness_.rng()).status().code(),
            absl::StatusCode::kDataLoss);
  note("000099.log");
  refused = Open();
  EXPECT_TRUE(absl::StrContains(std::string(refused.message()), "000099.log is gone")) << refused;
  harness_.Close();
  EXPECT_TRUE(RunSalvage(harness_.dir(), harness_.clock(), harness_.rng()).ok());
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(Has(39));
}

TEST_F(LogLedgerTest, WhatIsNotedEveryTenSecondsProtectsARunningServersStore) {
  ASSERT_TRUE(Open().ok());
  Write(0, 20);
  Tend(absl::Seconds(10));
  Write(20, 30);
  const auto size = ReadNotedLogs(harness_.dir()).at(Log().filename().string()).bytes;
  const std::string killed = harness_.temp() / "killed";
  KillInto(killed);
  Tend(absl::Seconds(9));
  EXPECT_EQ(ReadNotedLogs(harness_.dir()).at(Log().filename().string()).bytes, size) << "too early";
  Tend(absl::Seconds(1));
  EXPECT_EQ(ReadNotedLogs(harness_.dir()).at(Log().filename().string()).bytes,
            fs::file_size(Log()));

  // What was written since may be gone: a power cut leaves no more.
  Replace(killed);
  fs::resize_file(Log(), size);
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(Has(19));
  EXPECT_FALSE(Has(20));
  Replace(killed);
  fs::resize_file(Log(), size - 1);
  EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss);
}

TEST_F(LogLedgerTest, NothingIsWrittenWhenNothingChanged) {
  ASSERT_TRUE(Open().ok());
  Write(0, 1);
  Tend(absl::Seconds(10));
  const auto written = fs::last_write_time(LedgerFile(harness_.dir()));
  struct stat before {};
  ASSERT_EQ(stat(LedgerFile(harness_.dir()).c_str(), &before), 0);
  Tend(absl::Seconds(10));
  struct stat after {};
  ASSERT_EQ(stat(LedgerFile(harness_.dir()).c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_EQ(fs::last_write_time(LedgerFile(harness_.dir())), written);
}

TEST_F(LogLedgerTest, ALedgerThatCantBeReadHindersNobody) {
  Fill();
  const std::string whole = Contents(LedgerFile(harness_.dir()));
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] ^= 1;
    Overwrite(LedgerFile(harness_.dir()), damaged);
    EXPECT_TRUE(ReadNotedLogs(harness_.dir()).empty()) << at;
  }
  Overwrite(LedgerFile(harness_.dir()), "");
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(Has(39));
  harness_.Close();
  EXPECT_FALSE(ReadNotedLogs(harness_.dir()).empty()) << "written anew";
}

TEST_F(LogLedgerTest, ALogInThePlaceOfAnotherIsRefused) {
  Fill();
  const fs::path log = Log();
  const std::string first = Contents(log);
  ASSERT_TRUE(Open().ok());
  Write(40, 41);
  harness_.Close();
  ASSERT_NE(Log(), log);
  Overwrite(Log(), first);
  ASSERT_GE(first.size(), ReadNotedLogs(harness_.dir()).at(Log().filename().string()).bytes);
  const absl::Status refused = Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
  EXPECT_TRUE(absl::StrContains(std::string(refused.message()), "is another file")) << refused;
}

TEST_F(LogLedgerTest, ALedgerThatIsNoFileHindersNobody) {
  Fill();
  const fs::path ledger = LedgerFile(harness_.dir());
  const auto size = [] { return static_cast<off_t>(50) << 30; };
  const std::vector<std::function<void()>> cases = {
      [&] { fs::create_directory(ledger); }, [&] { mkfifo(ledger.c_str(), 0600); },
      [&] { fs::create_symlink("/dev/zero", ledger); },
      [&] {
        Overwrite(ledger, "x");
        ASSERT_EQ(truncate(ledger.c_str(), size()), 0);
      }};
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    fs::remove_all(ledger);
    cases[i]();
    ASSERT_TRUE(Open().ok());
    EXPECT_TRUE(Has(39));
    harness_.Close();
  }
}

TEST_F(LogLedgerTest, WhatStandsInItsWayIsNotWrittenThrough) {
  const fs::path fresh = LedgerFile(harness_.dir()).string() + ".new";
  const fs::path mine = harness_.temp() / "mine";
  Overwrite(mine, "mine");
  const std::vector<std::function<void()>> cases = {[&] { fs::create_symlink(mine, fresh); },
                                                    [&] { mkfifo(fresh.c_str(), 0600); },
                                                    [&] { fs::create_directory(fresh); }};
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    fs::remove_all(harness_.dir());
    Fill();
    cases[i]();
    ASSERT_TRUE(Open().ok());
    Write(40, 41);
    harness_.Close();
    EXPECT_EQ(Contents(mine), "mine");
    ASSERT_TRUE(Open().ok());
    EXPECT_TRUE(Has(40));
    harness_.Close();
  }
}

TEST_F(LogLedgerTest, AStoreWithoutCurrentIsNotBegunAnew) {
  Fill();
  for (const auto& entry : fs::directory_iterator(harness_.dir())) {
    if (entry.path() != LedgerFile(harness_.dir())) fs::remove(entry.path());
  }
  const absl::Status refused = Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
  EXPECT_TRUE(absl::StrContains(std::string(refused.message()), "no CURRENT")) << refused;
  harness_.Close();
  fs::remove(LedgerFile(harness_.dir()));
  EXPECT_TRUE(Open().ok());
}

TEST_F(LogLedgerTest, AStoreThatTookThePlaceOfItsOwnIsLeftAlone) {
  Fill();
  const std::string other = harness_.temp() / "other";
  const auto files_of = [](const std::string& dir) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(dir)) {
      files[entry.path().filename()] = Contents(entry.path());
    }
    return files;
  };
  fs::copy(harness_.dir(), other, fs::copy_options::recursive);
  const auto before = files_of(other);
  ASSERT_TRUE(Open().ok());
  Write(40, 60);
  const std::string moved = harness_.dir() + ".moved";
  fs::rename(harness_.dir(), moved);
  fs::rename(other, harness_.dir());
  Tend(absl::Seconds(10));
  Tend(absl::Seconds(10));
  EXPECT_TRUE(harness_.engine().Stats().frozen);
  harness_.Close();
  EXPECT_EQ(files_of(harness_.dir()), before);
  fs::remove_all(harness_.dir());
  fs::rename(moved, harness_.dir());
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(Has(59)) << "what it had acknowledged is in its own";
}

TEST_F(LogLedgerTest, ASalvageThatStoppedAnywhereIsFinished) {
  Fill();
  const fs::path log = Log();
  fs::resize_file(log, fs::file_size(log) - 5);
  Overwrite(fs::path(harness_.dir()) / "000099.log", "");  // as one that was just begun
  const std::string cut = harness_.temp() / "cut";
  fs::copy(harness_.dir(), cut, fs::copy_options::recursive);
  const auto mark = [&] { Overwrite(fs::path(harness_.dir()) / "muster.salvage", ""); };
  const std::vector<std::function<void()>> stopped = {
      mark,
      [&] {
        mark();
        fs::resize_file(log, LastRecord(Contents(log)));
      },
      [&] {
        mark();
        fs::resize_file(log, LastRecord(Contents(log)));
        fs::remove(LedgerFile(harness_.dir()));
      }};
  for (size_t i = 0; i < stopped.size(); ++i) {
    SCOPED_TRACE(i);
    Replace(cut);
    EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss);
    harness_.Close();
    stopped[i]();
    const auto salvaged = RunSalvage(harness_.dir(), harness_.clock(), harness_.rng());
    ASSERT_TRUE(salvaged.ok()) << salvaged.status();
    ASSERT_TRUE(Open().ok());
    EXPECT_TRUE(Has(38));
    EXPECT_FALSE(Has(39));
  }
}

TEST_F(LogLedgerTest, ALogThatIsNoFileIsRefused) {
  Fill();
  ASSERT_EQ(mkfifo((fs::path(harness_.dir()) / "000099.log").c_str(), 0600), 0);
  const absl::Status refused = Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
  EXPECT_TRUE(absl::StrContains(std::string(refused.message()), "000099.log is no file"))
      << refused;
}

// The files of a disk that has no room for the ledger.
class NoLedgers : public rocksdb::FileSystemWrapper {
 public:
  NoLedgers() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "NoLedgers"; }
  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override {
    if (absl::StrContains(name, "muster.logs")) return rocksdb::IOStatus::NoSpace("full");
    return FileSystemWrapper::NewWritableFile(name, options, result, debug);
  }
};

// A log that was noted goes, and the ledger with it.
TEST_F(LogLedgerTest, ALedgerThatCantBeWrittenIsNoneRatherThanAWrongOne) {
  Fill();
  ASSERT_TRUE(ReadNotedLogs(harness_.dir()).contains(Log().filename().string()));
  const auto env = rocksdb::NewCompositeEnv(std::make_shared<NoLedgers>());
  {
    testing::RecordingSink sink;
    RocksDbEngine engine({.data_dir = harness_.dir(),
                          .clock = harness_.clock(),
                          .rng = harness_.rng(),
                          .env = env.get()});
    ASSERT_TRUE(engine.Open({&sink}).ok());
  }
  EXPECT_FALSE(fs::exists(LedgerFile(harness_.dir())));
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(Has(39));
}

}  // namespace
}  // namespace muster::storage
