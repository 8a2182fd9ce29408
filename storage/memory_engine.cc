#include "storage/memory_engine.h"

#include <utility>

#include "base/errors.h"
#include "storage/replay.h"
#include "storage/store_record.h"

namespace muster::storage {
namespace {

using base::MutexLock;

int IndexOf(Family family) { return static_cast<int>(family); }

class MemorySnapshot : public Snapshot {
 public:
  MemorySnapshot(Revision revision, std::array<MemoryStore::Table, kFamilyCount> tables)
      : revision_(revision), tables_(std::move(tables)) {}

  Revision revision() const override { return revision_; }

  absl::Status Scan(
      Family family, std::string_view prefix,
      const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    const MemoryStore::Table& table = tables_[IndexOf(family)];
    for (auto it = table.lower_bound(prefix); it != table.end() && it->first.starts_with(prefix);
         ++it) {
      if (!visit(it->first, it->second)) break;
    }
    return absl::OkStatus();
  }

 private:
  const Revision revision_;
  const std::array<MemoryStore::Table, kFamilyCount> tables_;
};

}  // namespace

void MemoryStore::FailWrites(absl::Status status) {
  MutexLock lock(mu_);
  fail_ = std::move(status);
}

absl::StatusOr<StoreRecordView> MemoryStore::OpenStore(const base::Clock& clock, base::Rng& rng) {
  MutexLock lock(mu_);
  Table& meta = tables_[IndexOf(Family::kMeta)];
  if (const auto found = meta.find(kStoreKey); found != meta.end()) {
    return DecodeStoreRecord(found->second);
  }
  const StoreRecordView record = NewStoreRecord(clock, rng, seq_);
  meta.emplace(kStoreKey, EncodeStoreRecord(record));
  seq_ = record.base_seq;
  return record;
}

uint64_t MemoryStore::seq() const {
  MutexLock lock(mu_);
  return seq_;
}

std::array<MemoryStore::Table, kFamilyCount> MemoryStore::Copy(uint64_t* seq) const {
  MutexLock lock(mu_);
  *seq = seq_;
  return tables_;
}

absl::StatusOr<std::optional<std::string>> MemoryStore::Read(Family family,
                                                             std::string_view key) const {
  MutexLock lock(mu_);
  const Table& table = tables_[IndexOf(family)];
  const auto found = table.find(key);
  if (found == table.end()) return std::nullopt;
  return found->second;
}

absl::Status MemoryStore::Write(absl::Span<const Commit> commits) {
  MutexLock lock(mu_);
  if (!fail_.ok()) return fail_;
  for (const Commit& commit : commits) {
    for (const Op& op : commit.ops) {
      Table& table = tables_[IndexOf(op.family)];
      if (op.kind == Op::Kind::kPut) {
        table[op.key] = op.value;
      } else {
        table.erase(op.key);
      }
    }
  }
  seq_ = commits.back().seq;
  return absl::OkStatus();
}

MemoryEngine::MemoryEngine(const MemoryEngineOptions& options, std::shared_ptr<MemoryStore> store)
    : options_(options),
      store_(std::move(store)),
      strand_(options.limits, options.threaded ? Strand::Mode::kThreaded : Strand::Mode::kManual,
              *store_, options.clock) {}

MemoryEngine::~MemoryEngine() { Close(); }

absl::Status MemoryEngine::Open(std::vector<CommitSink*> sinks) {
  const auto record = store_->OpenStore(options_.clock, options_.rng);
  if (!record.ok()) return record.status();
  uint64_t seq = 0;
  auto tables = store_->Copy(&seq);
  const Revision revision{record->epoch, seq};
  const absl::Status replayed =
      ReplayStore(MemorySnapshot(revision, std::move(tables)), *record, sinks);
  if (!replayed.ok()) return replayed;
  strand_.Start(revision, std::move(sinks));
  return absl::OkStatus();
}

void MemoryEngine::Propose(Batch batch, WriteClass write_class, Done done) {
  strand_.Propose(std::move(batch), write_class, std::move(done));
}

absl::StatusOr<std::string> MemoryEngine::Get(Family family, std::string_view key) const {
  auto value = store_->Read(family, key);
  if (!value.ok()) return value.status();
  if (!*value) return absl::NotFoundError("no such key");
  return **std::move(value);
}

absl::StatusOr<std::unique_ptr<Snapshot>> MemoryEngine::GetSnapshot() const {
  uint64_t seq = 0;
  auto tables = store_->Copy(&seq);
  return std::make_unique<MemorySnapshot>(Revision{strand_.revision().epoch, seq},
                                          std::move(tables));
}

}  // namespace muster::storage
