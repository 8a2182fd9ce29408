#include "tests/bench/yardstick/bare_store.h"

#include <rocksdb/cache.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <cstdlib>
#include <iostream>
#include <utility>

namespace muster::bench {
namespace {

constexpr size_t kWriteBuffer = 64 << 20;
constexpr size_t kBlockCache = 64 << 20;

// As storage/rocksdb/database.cc with musterd's defaults.
rocksdb::Options MakeOptions() {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(kBlockCache);
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.cache_index_and_filter_blocks = true;
  rocksdb::Options options;
  options.create_if_missing = true;
  options.paranoid_checks = true;
  options.db_write_buffer_size = kWriteBuffer;
  options.write_buffer_size = kWriteBuffer / 2;
  options.level0_file_num_compaction_trigger = 8;
  options.max_total_wal_size = 2 * kWriteBuffer;
  options.max_open_files = 512;
  options.max_background_jobs = 2;
  options.bytes_per_sync = 1 << 20;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace

BareStore::BareStore(const std::string& dir) {
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(MakeOptions(), dir, &db);
  if (!status.ok()) {
    std::cerr << "muster_yardstick: " << status.ToString() << "\n";
    std::exit(1);
  }
  db_.reset(db);
  thread_ = base::NamedThread("bare-commit", [this] { Loop(); });
}

BareStore::~BareStore() {
  {
    base::MutexLock lock(mu_);
    stopped_ = true;
    wake_.NotifyAll();
  }
  thread_.Join();
}

void BareStore::Put(std::string key, std::string value, std::function<void(bool)> done) {
  base::MutexLock lock(mu_);
  queue_.push_back({std::move(key), std::move(value), std::move(done)});
  wake_.NotifyOne();
}

void BareStore::Loop() {
  for (;;) {
    std::vector<Waiting> group;
    {
      base::MutexLock lock(mu_);
      while (queue_.empty() && !stopped_) wake_.Wait(mu_);
      if (queue_.empty()) return;
      group.swap(queue_);
    }
    const bool written = Write(group);
    completions_.Post([group = std::move(group), written] {
      for (const Waiting& waiting : group) waiting.done(written);
    });
  }
}

bool BareStore::Write(const std::vector<Waiting>& group) {
  rocksdb::WriteBatch batch;
  bool ok = true;
  for (const Waiting& waiting : group) ok = ok && batch.Put(waiting.key, waiting.value).ok();
  rocksdb::WriteOptions options;
  options.sync = true;
  return ok && db_->Write(options, &batch).ok();
}

}  // namespace muster::bench
