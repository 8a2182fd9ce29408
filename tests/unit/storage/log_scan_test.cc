// What is told from a log whose end was torn, and from one that was damaged. On logs that the
// database wrote.
#include "storage/rocksdb/log_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "base/errors.h"
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
using LogVerdict = LogScan::Verdict;

LogScan Scan(std::string_view log) {
  LogScanner scanner;
  for (; !log.empty(); log.remove_prefix(std::min(kLogBlock, log.size()))) {
    scanner.AddBlock(log.substr(0, kLogBlock));
  }
  return scanner.Finish();
}

class LogScanTest : public ::testing::Test {
 protected:
  // One record each, with instances of these sizes.
  void Fill(const std::vector<size_t>& sizes) {
    ASSERT_TRUE(harness_.Open().ok());
    for (size_t i = 0; i < sizes.size(); ++i) {
      const std::string payload(sizes[i], static_cast<char>('a' + i % 26));
      harness_.Run({.ops = {Put(Family::kInstances, "k" + std::to_string(i),
                                EncodeInstanceValue(InstanceWords{}, payload))}});
    }
    harness_.Close();
    fs::remove(LedgerFile(harness_.dir()));  // these are about what a log tells by itself
    log_ = Contents(LogFile());
    const LogScan scan = Scan(log_);
    ASSERT_EQ(scan.verdict, LogVerdict::kWhole) << scan.what;
    // The last one.
    begin_ = Scan(std::string_view(log_).substr(0, log_.size() - 1)).whole_bytes;
    ASSERT_GT(begin_, 0u);
  }
  fs::path LogFile() const {
    for (const auto& entry : fs::directory_iterator(harness_.dir())) {
      if (entry.path().extension() == ".log" && entry.file_size() > 0) return entry.path();
    }
    ADD_FAILURE() << "no log";
    return {};
  }
  // The sectors that hold nothing but the last record.
  std::vector<size_t> SectorsOfTheLast() const {
    std::vector<size_t> sectors;
    for (size_t at = (begin_ + 511) / 512 * 512; at + 512 <= log_.size(); at += 512) {
      sectors.push_back(at);
    }
    return sectors;
  }
  absl::Status Open() {
    const absl::Status status = harness_.Open();
    return status;
  }
  bool Has(int i) const {
    return harness_.engine().Get(Family::kInstances, "k" + std::to_string(i)).ok();
  }
  mutable RocksDbHarness harness_;
  std::string log_;
  size_t begin_ = 0;  // of the last record
};

TEST_F(LogScanTest, WholeLogsAreWhole) {
  Fill({10, 200, 40'000, 1, 100'000, 5});
  EXPECT_EQ(Scan(log_).records, 7u) << "the identity and the six";
  EXPECT_EQ(Scan(log_).whole_bytes, log_.size());
  EXPECT_EQ(Scan("").verdict, LogVerdict::kWhole);
}

TEST_F(LogScanTest, ACutAnywhereIsTornOrWhole) {
  Fill({10, 200, 33'000, 1, 70});
  for (size_t size = 0; size < log_.size(); ++size) {
    const LogScan scan = Scan(std::string_view(log_).substr(0, size));
    ASSERT_TRUE(scan.verdict == LogVerdict::kTorn || scan.whole_bytes == size) << size;
    ASSERT_TRUE(scan.verdict == LogVerdict::kTorn || scan.verdict == LogVerdict::kWhole) << size;
    ASSERT_LE(scan.whole_bytes, size);
  }
}

TEST_F(LogScanTest, NoFlippedBitIsTakenForATornRecord) {
  Fill({10, 200, 300, 1, 70, 2'000, 33'000, 3'000, 100});
  std::mt19937 random(11);
  std::string log = log_;
  for (size_t at = 0; at < log.size(); ++at) {
    // All bits of the last record's header, one of each other byte.
    const bool header = at >= begin_ && at < begin_ + 7;
    for (int bit = 0; bit < (header ? 8 : 1); ++bit) {
      const auto flip = static_cast<char>(1 << (header ? bit : static_cast<int>(random() % 8)));
      log[at] ^= flip;
      const LogScan scan = Scan(log);
      // What fills up a block is nobody's.
      const bool padding = scan.verdict == LogVerdict::kWhole && at % kLogBlock > kLogBlock - 7;
      ASSERT_TRUE(padding || scan.verdict == LogVerdict::kDamaged ||
                  (at >= begin_ && scan.verdict == LogVerdict::kUnclear))
          << "byte " << at << " of " << log.size() << ", the last record begins at " << begin_;
      log[at] ^= flip;
    }
  }
}

TEST_F(LogScanTest, NoFlippedByteOfTheLastRecordIsTakenForATornOne) {
  Fill({10, 200, 700});
  std::string log = log_;
  for (size_t at = begin_; at < log.size(); ++at) {
    for (int mask = 1; mask < 256; ++mask) {
      log[at] ^= static_cast<char>(mask);
      ASSERT_EQ(Scan(log).verdict, LogVerdict::kUnclear) << "byte " << at << " mask " << mask;
      log[at] ^= static_cast<char>(mask);
    }
  }
}

TEST_F(LogScanTest, SectorsThatWereNeverWrittenAreTorn) {
  Fill({10, 200, 300, 100'000});
  std::mt19937 random(5);
  const auto sectors = SectorsOfTheLast();
  for (int round = 0; round < 200; ++round) {
    std::string log = log_;
    size_t zeroed = 0;
    for (const size_t at : sectors) {
      if (random() % 8 != 0) continue;
      log.replace(at, 512, 512, '\0');
      ++zeroed;
    }
    if (zeroed == 0) continue;
    const LogScan scan = Scan(log);
    ASSERT_EQ(scan.verdict, LogVerdict::kTorn) << round << " " << scan.what;
    ASSERT_EQ(scan.whole_bytes, begin_);
  }
}

TEST_F(LogScanTest, ARecordOfZerosIsTorn) {
  Fill({10, 200, 20});
  std::string log = log_;
  std::fill(log.begin() + static_cast<long>(begin_), log.end(), '\0');
  EXPECT_EQ(Scan(log).verdict, LogVerdict::kTorn);
  EXPECT_EQ(Scan(log).whole_bytes, begin_);
  EXPECT_EQ(Scan(log_ + std::string(5000, '\0')).verdict, LogVerdict::kTorn);
  EXPECT_EQ(Scan(log_ + std::string(5000, '\0')).whole_bytes, log_.size());
}

// The sector that a record shares with the one before was not written again.
TEST_F(LogScanTest, AFirstPartThatWasNeverWrittenIsTorn) {
  Fill({10, 200, 300, 9'000});
  const size_t sector = (begin_ + 511) / 512 * 512;
  for (size_t size = 1; size <= sector - begin_; ++size) {
    std::string log = log_;
    log.replace(begin_, size, size, '\0');
    const LogScan scan = Scan(log);
    const bool whole_part = begin_ + size == sector;
    EXPECT_EQ(scan.verdict, whole_part ? LogVerdict::kTorn : LogVerdict::kUnclear) << size;
    EXPECT_EQ(scan.whole_bytes, begin_);
  }
}

TEST_F(LogScanTest, AGarbledEndIsUnclear) {
  Fill({10, 200, 300, 100'000});
  std::mt19937 random(5);
  for (const size_t at : SectorsOfTheLast()) {
    std::string log = log_;
    for (size_t i = at; i < at + 512; ++i) log[i] = static_cast<char>(random());
    const LogScan scan = Scan(log);
    ASSERT_TRUE(scan.verdict == LogVerdict::kUnclear || scan.verdict == LogVerdict::kTorn) << at;
    ASSERT_EQ(scan.whole_bytes, begin_);
  }
}

TEST_F(LogScanTest, ZerosBeforeAWholeRecordAreNotSteppedOver) {
  Fill({40'000, 40'000, 40'000, 100});
  std::string log = log_;
  log.replace(kLogBlock, kLogBlock, kLogBlock, '\0');
  EXPECT_EQ(Scan(log).verdict, LogVerdict::kDamaged) << "what others follow was acknowledged";
  Overwrite(LogFile(), log);
  EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss);
}

TEST_F(LogScanTest, ASectorOfZerosAmongManyRecordsIsDamage) {
  Fill(std::vector<size_t>(300, 200));
  for (size_t at = 512; at + 512 < begin_; at += 4096) {
    std::string log = log_;
    log.replace(at, 512, 512, '\0');
    EXPECT_EQ(Scan(log).verdict, LogVerdict::kDamaged) << at;
  }
}

// A value may hold the bytes of a record: they are no sign that what is torn was acknowledged.
TEST_F(LogScanTest, WhatLooksLikeARecordInATornOneIsNone) {
  Fill({10, 200});
  const std::string record = log_.substr(begin_);
  const std::string zeros(600, '\0');
  EXPECT_EQ(Scan(log_ + zeros + record + "more of the value").verdict, LogVerdict::kUnclear);
  EXPECT_EQ(Scan(log_ + zeros + record).verdict, LogVerdict::kDamaged);
  EXPECT_EQ(Scan(log_ + zeros + record + record).verdict, LogVerdict::kDamaged);
}

// kNeverWritten is safe: even values without anything have fewer zeros in a row.
TEST_F(LogScanTest, NoRecordLooksNeverWritten) {
  Fill({0, 0, 0});
  EXPECT_EQ(log_.find(std::string(kNeverWritten - 16, '\0')), std::string::npos);
}

TEST_F(LogScanTest, ATornRecordIsDroppedAtTheStart) {
  Fill({10, 200, 300, 9'000});
  const auto sectors = SectorsOfTheLast();
  std::string log = log_;
  log.replace(sectors[3], 512, 512, '\0');
  Overwrite(LogFile(), log);
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(Has(2));
  EXPECT_FALSE(Has(3));
  EXPECT_EQ(harness_.Run({.ops = {Put(Family::kInstances, "new", Value(""))}}).verdict,
            testing::Verdict::kCommitted);
}

TEST_F(LogScanTest, AnUnclearEndIsRefusedWithWhatToDoAndSalvaged) {
  Fill({10, 200, 300});
  const Revision before = harness_.sink().opened();
  std::string log = log_;
  log[begin_ + 40] ^= 0x10;
  const std::string name = LogFile().filename().string();
  Overwrite(LogFile(), log);
  const absl::Status refused = Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(base::ReasonOf(refused), base::Reason::kStorageDamaged);
  EXPECT_NE(std::string(refused.message()).find("muster salvage --data-dir " + harness_.dir()),
            std::string::npos)
      << refused;
  harness_.Close();

  const auto plan = PlanSalvage(harness_.dir());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->file, name);
  EXPECT_EQ(plan->at, begin_);
  EXPECT_EQ(plan->bytes, log_.size() - begin_);
  const auto salvaged = RunSalvage(harness_.dir(), harness_.clock(), harness_.rng());
  ASSERT_TRUE(salvaged.ok()) << salvaged.status();
  EXPECT_EQ(salvaged->kept, name + ".cut");
  EXPECT_EQ(Contents(fs::path(harness_.dir()) / (name + ".cut")), log);
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(Has(1));
  EXPECT_FALSE(Has(2));
  EXPECT_EQ(harness_.sink().opened(), salvaged->revision);
  EXPECT_NE(salvaged->revision.epoch, before.epoch)
      << "who was told of the lost record starts over";
  EXPECT_GT(salvaged->revision.seq, before.seq + 3);
}

// What was cut off may have been acknowledged: without a new epoch nobody may open the store.
TEST_F(LogScanTest, ASalvageThatStoppedHalfwayIsFinished) {
  Fill({10, 200});
  Fill({10, 200, 300});
  const Revision before = harness_.sink().opened();
  std::string log = log_;
  log[begin_ + 40] ^= 0x10;
  Overwrite(LogFile(), log);
  fs::path table;
  for (const auto& entry : fs::directory_iterator(harness_.dir())) {
    if (entry.path().extension() == ".sst") table = entry.path();
  }
  ASSERT_FALSE(table.empty());
  const fs::path hidden = table.string() + ".hidden";
  fs::rename(table, hidden);
  EXPECT_FALSE(RunSalvage(harness_.dir(), harness_.clock(), harness_.rng()).ok());
  fs::rename(hidden, table);

  const absl::Status refused = Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
  EXPECT_NE(
      std::string(refused.message()).find("begun and not finished; finish it: muster salvage"),
      std::string::npos)
      << refused;
  harness_.Close();
  const auto plan = PlanSalvage(harness_.dir());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->file, "");
  const auto salvaged = RunSalvage(harness_.dir(), harness_.clock(), harness_.rng());
  ASSERT_TRUE(salvaged.ok()) << salvaged.status();
  EXPECT_NE(salvaged->revision.epoch, before.epoch);
  ASSERT_TRUE(Open().ok());
  harness_.Close();
  EXPECT_EQ(PlanSalvage(harness_.dir()).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(LogScanTest, TheCopyOfASalvageTakesNobodysPlace) {
  Fill({10, 200, 300});
  std::string log = log_;
  log[begin_ + 40] ^= 0x10;
  const fs::path file = LogFile();
  Overwrite(file, log);
  const fs::path outside = harness_.dir() + ".outside";
  Overwrite(outside, "mine");
  fs::create_symlink(outside, file.string() + ".cut");
  const auto salvaged = RunSalvage(harness_.dir(), harness_.clock(), harness_.rng());
  ASSERT_TRUE(salvaged.ok()) << salvaged.status();
  EXPECT_EQ(salvaged->kept, file.filename().string() + ".cut2");
  EXPECT_EQ(Contents(outside), "mine");
  fs::remove(outside);
}

TEST_F(LogScanTest, ALengthThatPointsBeyondTheEndIsRefused) {
  Fill({10, 200, 300});
  std::string log = log_;
  log[begin_ + 5] ^= 0x20;
  Overwrite(LogFile(), log);
  EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss) << "the database would drop the record";
}

TEST_F(LogScanTest, DamageBeforeAWholeRecordIsNotSalvaged) {
  Fill({10, 200, 300});
  std::string log = log_;
  log[begin_ - 20] ^= 1;
  Overwrite(LogFile(), log);
  const absl::Status refused = Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(std::string(refused.message()).find("muster restore"), std::string::npos) << refused;
  EXPECT_EQ(RunSalvage(harness_.dir(), harness_.clock(), harness_.rng()).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(Contents(LogFile()), log) << "nothing is changed";
}

TEST_F(LogScanTest, ASoundStoreIsNotSalvaged) {
  Fill({10, 200});
  EXPECT_EQ(PlanSalvage(harness_.dir()).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(PlanSalvage(harness_.dir() + "/none").status().code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(PlanSalvage(harness_.dir()).status().code(), absl::StatusCode::kUnavailable)
      << "a server has it open";
}

TEST_F(LogScanTest, ATornManifestIsMended) {
  Fill({10, 200});
  for (const auto& entry : fs::directory_iterator(harness_.dir())) {
    if (!entry.path().filename().string().starts_with("MANIFEST-")) continue;
    Overwrite(entry.path(), Contents(entry.path()) + std::string(300, '\0'));
  }
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(Has(1));
}

TEST_F(LogScanTest, ADamagedManifestOrCurrentIsRefused) {
  Fill({10, 200});
  for (const std::string& name : {std::string("MANIFEST"), std::string("CURRENT")}) {
    for (const auto& entry : fs::directory_iterator(harness_.dir())) {
      if (!entry.path().filename().string().starts_with(name)) continue;
      const std::string whole = Contents(entry.path());
      for (const size_t at : {whole.size() / 3, whole.size() / 2, whole.size() - 1}) {
        std::string damaged = whole;
        damaged[at] ^= 4;
        Overwrite(entry.path(), damaged);
        const absl::Status status = Open();
        EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << name << " " << at << status;
        EXPECT_NE(std::string(status.message()).find("muster"), std::string::npos) << status;
        harness_.Close();
      }
      Overwrite(entry.path(), whole);
    }
  }
  EXPECT_TRUE(Open().ok());
}

}  // namespace
}  // namespace muster::storage
