// The disk has room for the log and none for tables: flushes fail in the background. No write is of
// unknown outcome then, and it ends by itself.
#include <gtest/gtest.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <atomic>
#include <memory>

#include "absl/strings/match.h"
#include "base/errors.h"
#include "engine_harness.h"
#include "storage/rocksdb/rocksdb_engine.h"

namespace muster::test {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOStatus;
using storage::Family;
using storage::UnitResult;
using storage::WriteClass;
using Verdict = UnitResult::Verdict;

class NoTables : public rocksdb::FileSystemWrapper {
 public:
  NoTables() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "NoTables"; }
  IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                           IODebugContext* debug) override {
    if (full && absl::EndsWith(name, ".sst")) return IOStatus::NoSpace(name);
    return FileSystemWrapper::NewWritableFile(name, options, result, debug);
  }
  std::atomic<bool> full{false};
};

class NoSpaceTest : public testing::Test {
 protected:
  std::unique_ptr<storage::Engine> Open(storage::testing::RecordingSink& sink) {
    auto engine = std::make_unique<storage::RocksDbEngine>(
        storage::RocksDbOptions{.data_dir = dir_ / "data",
                                .clock = clock_,
                                .rng = rng_,
                                .write_buffer_bytes = 64 << 10,
                                .block_cache_bytes = 1 << 20,
                                .env = env_.get()});
    EXPECT_TRUE(engine->Open({&sink}).ok());
    return engine;
  }
  UnitResult Write(storage::Engine& engine, int i, WriteClass write_class = WriteClass::kUser) {
    auto outcome = std::make_shared<storage::testing::Outcome>();
    engine.Propose(
        {{storage::Unit{.ops = {Put(Family::kInstances, "k" + std::to_string(i),
                                    storage::testing::Value(std::string(2'000, 'x')))}}}},
        write_class, [outcome](auto results) { outcome->Set(std::move(results)); });
    return outcome->Wait()[0];
  }

  const storage::testing::TempDir dir_;
  base::FakeClock clock_;
  base::SeededRng rng_{3};
  std::shared_ptr<NoTables> fs_ = std::make_shared<NoTables>();
  std::unique_ptr<rocksdb::Env> env_ = rocksdb::NewCompositeEnv(fs_);
};

TEST_F(NoSpaceTest, WritesAreRefusedWithKnownOutcomeUntilThereIsSpace) {
  storage::testing::RecordingSink sink;
  auto engine = Open(sink);
  fs_->full = true;
  int written = 0;
  UnitResult result;
  while (written < 10'000 && (result = Write(*engine, written)).verdict == Verdict::kCommitted) {
    ++written;
  }
  ASSERT_LT(written, 10'000) << "nothing was flushed";
  EXPECT_EQ(result.verdict, Verdict::kNotCommitted);
  EXPECT_EQ(result.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::ReasonOf(result.status), base::Reason::kStorageFull) << result.status;
  EXPECT_TRUE(base::RetryAfterOf(result.status).has_value());
  EXPECT_FALSE(engine->Stats().frozen);
  EXPECT_TRUE(engine->Get(Family::kInstances, "k0").ok()) << "reads go on";
  engine->Tend();
  EXPECT_TRUE(engine->Stats().low_space);
  EXPECT_EQ(base::ReasonOf(Write(*engine, 0, WriteClass::kInternal).status),
            base::Reason::kStorageFull);

  fs_->full = false;
  clock_.Advance(absl::Seconds(2));
  engine->Tend();
  EXPECT_FALSE(engine->Stats().low_space);
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(Write(*engine, written + i).verdict, Verdict::kCommitted) << i;
  }
  engine.reset();
  storage::testing::RecordingSink again;
  engine = Open(again);
  EXPECT_EQ(again.tables()[static_cast<int>(Family::kInstances)].size(), written + 200u);
}

}  // namespace
}  // namespace muster::test
