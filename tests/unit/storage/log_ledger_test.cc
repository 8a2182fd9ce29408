// What a start notices of logs that somebody cut, emptied or deleted, and that it takes nothing
// else for it.
#include "storage/rocksdb/log_ledger.h"

#include <gtest/gtest.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
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
using testing::RocksDbHarness;
using testing::Value;
using testing::Verdict;

std::string Contents(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void Overwrite(const fs::path& file, const std::string& contents) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << contents;
}

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
  EXPECT_EQ(noted.at(Log().filename().string()), fs::file_size(Log()));
  EXPECT_EQ(noted.at(Manifest().filename().string()), fs::file_size(Manifest()));
  const auto note = [&](const std::string& log) {
    const std::string text = absl::StrCat("muster.logs 1\n", log, " 1000\n");
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
  const auto size = ReadNotedLogs(harness_.dir()).at(Log().filename().string());
  const std::string killed = harness_.temp() / "killed";
  KillInto(killed);
  Tend(absl::Seconds(9));
  EXPECT_EQ(ReadNotedLogs(harness_.dir()).at(Log().filename().string()), size) << "too early";
  Tend(absl::Seconds(1));
  EXPECT_EQ(ReadNotedLogs(harness_.dir()).at(Log().filename().string()), fs::file_size(Log()));

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
