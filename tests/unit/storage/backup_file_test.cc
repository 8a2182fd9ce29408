#include "storage/backup_file.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "base/errors.h"
#include "base/fake_clock.h"
#include "engine_harness.h"

namespace muster::storage {
namespace {

using testing::Tables;

class BackupFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    harness_ = testing::PumpedMemory().make({});
    ASSERT_TRUE(harness_->Open().ok());
    for (int i = 0; i < 20; ++i) {
      const std::string key = "key" + std::to_string(i);
      harness_->Run(Unit{.ops = {Put(Family::kInstances, key, testing::Value("value")),
                                 Put(Family::kTransitions, key, testing::Value("was"))}});
    }
    harness_->Run(Unit{.ops = {Delete(Family::kInstances, "key3")}});
  }

  std::string Backup() {
    std::string file;
    auto snapshot = harness_->engine().GetSnapshot();
    EXPECT_TRUE(snapshot.ok());
    const absl::Status written =
        WriteBackup(**snapshot, harness_->clock(), "1.2.3", [&](std::string_view chunk) {
          file.append(chunk);
          return absl::OkStatus();
        });
    EXPECT_TRUE(written.ok()) << written;
    return file;
  }

  static absl::Status ReadAll(const std::string& file, Tables* tables = nullptr) {
    std::istringstream in(file);
    BackupReader reader(in);
    auto header = reader.ReadHeader();
    if (!header.ok()) return header.status();
    while (true) {
      auto entry = reader.Next();
      if (!entry.ok()) return entry.status();
      if (!*entry) return absl::OkStatus();
      if (tables == nullptr) continue;
      (*tables)[static_cast<int>((*entry)->family)][(*entry)->key] = (*entry)->value;
    }
  }

  std::unique_ptr<testing::EngineHarness> harness_;
};

TEST_F(BackupFileTest, ReadsWhatItWrote) {
  const std::string file = Backup();
  std::istringstream in(file);
  BackupReader reader(in);
  const auto header = reader.ReadHeader();
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->epoch(), harness_->engine().revision().epoch);
  EXPECT_EQ(header->seq(), harness_->engine().revision().seq);
  EXPECT_EQ(header->taken_at_ms(), harness_->clock().System().us / 1000);
  EXPECT_EQ(header->version(), "1.2.3");

  Tables tables;
  ASSERT_TRUE(ReadAll(file, &tables).ok());
  EXPECT_EQ(tables, testing::TablesOf(**harness_->engine().GetSnapshot()));
  EXPECT_EQ(tables[static_cast<int>(Family::kTransitions)].size(), 20u);
}

class EmptySnapshot : public Snapshot {
 public:
  Revision revision() const override { return {5, 300}; }
  absl::Status Scan(Family, std::string_view,
                    const std::function<bool(std::string_view, std::string_view)>&) const override {
    return absl::OkStatus();
  }
};

TEST(BackupBytesTest, ArePinned) {
  std::string file;
  const base::FakeClock clock;
  ASSERT_TRUE(WriteBackup(EmptySnapshot(), clock, "v", [&](std::string_view chunk) {
                file.append(chunk);
                return absl::OkStatus();
              }).ok());
  EXPECT_EQ(absl::BytesToHexString(file),
            "4d5553544552424b01"              // MUSTERBK, format
            "0f000000f24c9c2197e3e182"        // length, XXH3-64
            "080510ac021880d0eab6b733220176"  // BackupHeader
            "02000000217263721fdfdf471001");
}

TEST_F(BackupFileTest, LargeStoresTakeManyFrames) {
  for (int i = 0; i < 40; ++i) {
    harness_->Run(Unit{.ops = {Put(Family::kNodes, "big" + std::to_string(i),
                                   testing::Value(std::string(50'000, 'x')))}});
  }
  int chunks = 0;
  auto snapshot = harness_->engine().GetSnapshot();
  std::string file;
  const absl::Status written =
      WriteBackup(**snapshot, harness_->clock(), "", [&](std::string_view chunk) {
        ++chunks;
        EXPECT_LT(chunk.size(), 512u << 10);
        file.append(chunk);
        return absl::OkStatus();
      });
  ASSERT_TRUE(written.ok());
  EXPECT_GT(chunks, 6);
  Tables tables;
  ASSERT_TRUE(ReadAll(file, &tables).ok());
  EXPECT_EQ(tables, testing::TablesOf(**snapshot));
}

TEST_F(BackupFileTest, StopsWhenAChunkCantBeWritten) {
  auto snapshot = harness_->engine().GetSnapshot();
  int chunks = 0;
  const absl::Status written =
      WriteBackup(**snapshot, harness_->clock(), "", [&](std::string_view) {
        return ++chunks == 2 ? absl::ResourceExhaustedError("disk full") : absl::OkStatus();
      });
  EXPECT_EQ(written.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(chunks, 2);
}

TEST_F(BackupFileTest, EveryFlippedByteIsFound) {
  const std::string file = Backup();
  ASSERT_TRUE(ReadAll(file).ok());
  for (size_t i = 0; i < file.size(); ++i) {
    std::string damaged = file;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x41);
    const absl::Status status = ReadAll(damaged);
    ASSERT_FALSE(status.ok()) << "byte " << i;
    if (i == 8) {
      EXPECT_EQ(base::ReasonOf(status), base::Reason::kFormatNewer) << status;
      continue;
    }
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << "byte " << i << ": " << status;
    ASSERT_NE(std::string(status.message()).find("offset"), std::string::npos) << status;
  }
}

TEST_F(BackupFileTest, EveryCutIsFound) {
  const std::string file = Backup();
  for (size_t size = 0; size < file.size(); ++size) {
    const absl::Status status = ReadAll(file.substr(0, size));
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << size << ": " << status;
    ASSERT_NE(std::string(status.message()).find("offset " + std::to_string(size)),
              std::string::npos)
        << status;
  }
  EXPECT_EQ(ReadAll(file + "x").code(), absl::StatusCode::kDataLoss) << "bytes after the end";
}

}  // namespace
}  // namespace muster::storage
