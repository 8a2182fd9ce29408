#include "storage/rocksdb/salvage.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "storage/rocksdb/data_dir.h"
#include "storage/rocksdb/database.h"
#include "storage/rocksdb/log_check.h"
#include "storage/rocksdb/log_ledger.h"
#include "storage/store_record.h"

namespace muster::storage {
namespace {

namespace fs = std::filesystem;

// What is dropped had seqs of its own, which are not used again.
constexpr uint64_t kSeqsDropped = 1 << 20;

// What is wrong with the logs. Nothing: there is none, or a salvage stopped behind the cut.
absl::StatusOr<std::optional<LogFault>> FindFault(const fs::path& dir) {
  std::error_code error;
  if (!fs::exists(dir / "CURRENT", error)) {
    return UnusableDirectory(dir, "holds no store");
  }
  auto fault = FindLogFault(dir);
  if (!fault.ok()) return fault.status();
  using Kind = LogFault::Kind;
  const auto is = [&fault](Kind kind) { return *fault && (*fault)->kind == kind; };
  if (is(Kind::kUnclear) || is(Kind::kLost)) return fault;
  if (is(Kind::kDamaged)) {
    return DamagedStore(dir, absl::StrCat((*fault)->what, "; that can't be salvaged"));
  }
  if (fs::exists(SalvageMark(dir), error)) return std::nullopt;
  const auto wholeness = LookAt(dir);
  if (!wholeness.ok()) return wholeness.status();
  if (*wholeness == Wholeness::kNoLog) return std::nullopt;
  return base::MakeError(
      absl::StatusCode::kFailedPrecondition, base::Reason::kPreconditionFailed,
      absl::StrCat("data directory ", dir.string(), " needs no salvage: start musterd on it"));
}

// Beside the log, under a name that nothing has.
absl::StatusOr<std::string> KeepCut(const LogFault& fault) {
  fs::path kept = fault.file.string() + ".cut";
  std::error_code error;
  for (int i = 2; fs::exists(fs::symlink_status(kept, error)); ++i) {
    kept = absl::StrCat(fault.file.string(), ".cut", i);
  }
  if (fs::copy_file(fault.file, kept, error); error) {
    const std::string why = error.message();
    fs::remove(kept, error);
    return UnusableDirectory(fault.file.parent_path(), why);
  }
  if (absl::Status s = SyncDirectory(fault.file.parent_path()); !s.ok()) return s;
  return kept.filename().string();
}

absl::Status Mark(const fs::path& dir) {
  const int fd =
      ::open(SalvageMark(dir).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return UnusableDirectory(dir, std::generic_category().message(errno));
  ::close(fd);
  return SyncDirectory(dir);
}

absl::Status Drop(const fs::path& file) {
  const fs::path dir = file.parent_path();
  std::error_code error;
  if (fs::remove(file, error); error) return UnusableDirectory(dir, error.message());
  return SyncDirectory(dir);
}

absl::StatusOr<Revision> BeginEpoch(const std::string& data_dir, const base::Clock& clock,
                                    base::Rng& rng) {
  auto database = Database::Open({.data_dir = data_dir, .salvaging = true});
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
  const auto lock = DataDirLock::Take(data_dir);
  if (!lock.ok()) return lock.status();
  const auto fault = FindFault(data_dir);
  if (!fault.ok()) return fault.status();
  if (!*fault) {
    std::error_code error;
    return Salvage{.why = fs::exists(SalvageMark(data_dir), error)
                              ? "a salvage was begun and not finished"
                              : "the store has tables but no .log"};
  }
  if (!(*fault)->has_rest()) return Salvage{.why = (*fault)->what};
  return Salvage{(*fault)->file.filename().string(), (*fault)->whole_bytes,
                 (*fault)->file_bytes - (*fault)->whole_bytes, (*fault)->what};
}

absl::StatusOr<Salvaged> RunSalvage(const std::string& data_dir, const base::Clock& clock,
                                    base::Rng& rng) {
  Salvaged out;
  {
    const auto lock = DataDirLock::Take(data_dir);
    if (!lock.ok()) return lock.status();
    const auto fault = FindFault(data_dir);
    if (!fault.ok()) return fault.status();
    const bool cuts = *fault && (*fault)->has_rest();
    if (cuts) {
      auto kept = KeepCut(**fault);
      if (!kept.ok()) return kept.status();
      out.kept = *std::move(kept);
    }
    // From here on the store has to get its new epoch before anybody may open it.
    if (absl::Status status = Mark(data_dir); !status.ok()) return status;
    if (cuts) {
      if (absl::Status status = CutLog(**fault); !status.ok()) return status;
    }
    // It tells of what is given up. Last: what is cut may be judged by it once more.
    if (absl::Status status = Drop(LedgerFile(data_dir)); !status.ok()) return status;
  }
  const auto revision = BeginEpoch(data_dir, clock, rng);
  if (!revision.ok()) return revision.status();
  if (absl::Status status = Drop(SalvageMark(data_dir)); !status.ok()) return status;
  out.revision = *revision;
  return out;
}

}  // namespace muster::storage
