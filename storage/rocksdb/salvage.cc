#include "storage/rocksdb/salvage.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "storage/rocksdb/data_dir.h"
#include "storage/rocksdb/database.h"
#include "storage/rocksdb/log_check.h"
#include "storage/store_record.h"

namespace muster::storage {
namespace {

namespace fs = std::filesystem;

// What is dropped had seqs of its own, which are not used again.
constexpr uint64_t kSeqsDropped = 1 << 20;

absl::StatusOr<LogFault> FindUnclear(const fs::path& dir) {
  std::error_code error;
  if (!fs::exists(dir / "CURRENT", error)) {
    return UnusableDirectory(dir, "holds no store");
  }
  auto fault = FindLogFault(dir);
  if (!fault.ok()) return fault.status();
  if (!*fault || (*fault)->scan.verdict == LogScan::Verdict::kTorn) {
    return base::MakeError(
        absl::StatusCode::kFailedPrecondition, base::Reason::kPreconditionFailed,
        absl::StrCat("data directory ", dir.string(), " needs no salvage: start musterd on it"));
  }
  if ((*fault)->scan.verdict == LogScan::Verdict::kUnclear) return **std::move(fault);
  return DamagedStore(dir, absl::StrCat((*fault)->file.filename().string(), " (",
                                        (*fault)->scan.what, ") can't be salvaged"));
}

absl::Status KeepCut(const LogFault& fault) {
  const fs::path kept = fault.file.string() + ".cut";
  std::error_code error;
  fs::copy_file(fault.file, kept, fs::copy_options::overwrite_existing, error);
  if (error) return UnusableDirectory(fault.file.parent_path(), error.message());
  return SyncDirectory(fault.file.parent_path());
}

absl::StatusOr<Revision> BeginEpoch(const std::string& data_dir, const base::Clock& clock,
                                    base::Rng& rng) {
  auto database = Database::Open({.data_dir = data_dir});
  if (!database.ok()) return database.status();
  auto identity = (*database)->Load();
  if (!identity.ok()) return identity.status();
  const uint64_t last_seq = (*identity ? (*identity)->seq : 0) + kSeqsDropped;
  const StoreRecordView record = NewStoreRecord(clock, rng, last_seq);
  if (absl::Status status = (*database)->WriteIdentity(record); !status.ok()) return status;
  return Revision{record.epoch, record.base_seq};
}

}  // namespace

absl::StatusOr<Salvage> PlanSalvage(const std::string& data_dir) {
  const auto lock = DataDirLock::Take(data_dir, nullptr);
  if (!lock.ok()) return lock.status();
  const auto fault = FindUnclear(data_dir);
  if (!fault.ok()) return fault.status();
  return Salvage{fault->file.filename().string(), fault->scan.whole_bytes,
                 fault->file_bytes - fault->scan.whole_bytes, fault->scan.what};
}

absl::StatusOr<Revision> RunSalvage(const std::string& data_dir, const base::Clock& clock,
                                    base::Rng& rng) {
  {
    const auto lock = DataDirLock::Take(data_dir, nullptr);
    if (!lock.ok()) return lock.status();
    const auto fault = FindUnclear(data_dir);
    if (!fault.ok()) return fault.status();
    if (absl::Status status = KeepCut(*fault); !status.ok()) return status;
    if (absl::Status status = CutLog(*fault); !status.ok()) return status;
  }
  return BeginEpoch(data_dir, clock, rng);
}

}  // namespace muster::storage
