#include "storage/rocksdb/restore.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "storage/backup_file.h"
#include "storage/rocksdb/data_dir.h"
#include "storage/rocksdb/database.h"
#include "storage/store_record.h"

namespace muster::storage {
namespace {

namespace fs = std::filesystem;

constexpr size_t kWriteBytes = 4 << 20;

// Collects entries and writes them in large batches, unsynced: WriteIdentity syncs them all.
class EntryWriter {
 public:
  EntryWriter(Database& database, uint64_t seq) : database_(database), seq_(seq) {}

  absl::Status Add(BackupEntry entry) {
    bytes_ += entry.key.size() + entry.value.size();
    ops_.push_back(Put(entry.family, std::move(entry.key), std::move(entry.value)));
    return bytes_ >= kWriteBytes ? Flush() : absl::OkStatus();
  }

  absl::Status Flush() {
    if (ops_.empty()) return absl::OkStatus();
    const Commit commit{seq_, ops_};
    absl::Status status = database_.Write({&commit, 1});
    ops_.clear();
    bytes_ = 0;
    return status;
  }

 private:
  Database& database_;
  const uint64_t seq_;
  std::vector<Op> ops_;
  size_t bytes_ = 0;
};

absl::Status CheckSeq(const BackupEntry& entry, uint64_t backup_seq) {
  if (ModSeqOf(entry.value) <= backup_seq) return absl::OkStatus();
  return base::MakeError(absl::StatusCode::kDataLoss, base::Reason::kStorageDamaged,
                         absl::StrCat("the backup is damaged: a record of seq ",
                                      ModSeqOf(entry.value), " in a backup of seq ", backup_seq));
}

absl::Status Fill(BackupReader& reader, const v1::BackupHeader& header,
                  const StoreRecordView& record, Database& database) {
  EntryWriter writer(database, record.base_seq);
  bool has_record = false;
  while (true) {
    auto entry = reader.Next();
    if (!entry.ok()) return entry.status();
    if (!*entry) break;
    if (absl::Status status = CheckSeq(**entry, header.seq()); !status.ok()) return status;
    if ((*entry)->family == Family::kMeta && (*entry)->key == kStoreKey) {
      has_record = true;
      continue;
    }
    if (absl::Status status = writer.Add(**std::move(entry)); !status.ok()) return status;
  }
  if (!has_record) {
    return base::MakeError(absl::StatusCode::kDataLoss, base::Reason::kStorageDamaged,
                           "the backup is damaged: it holds no store record");
  }
  if (absl::Status status = writer.Flush(); !status.ok()) return status;
  return database.WriteIdentity(record);
}

absl::Status BuildStore(std::istream& backup, const fs::path& dir, const base::Clock& clock,
                        base::Rng& rng) {
  BackupReader reader(backup);
  auto header = reader.ReadHeader();
  if (!header.ok()) return header.status();
  auto database = Database::Open({.data_dir = dir.string(), .sync = false});
  if (!database.ok()) return database.status();
  return Fill(reader, *header, NewStoreRecord(clock, rng, header->seq()), **database);
}

// What a restore builds its store in.
bool IsBuilding(const fs::directory_entry& entry) {
  std::error_code error;
  return entry.path().filename().string().starts_with(kRestorePrefix) && !entry.is_symlink(error) &&
         entry.is_directory(error);
}

// What it moves from there, before it moves CURRENT.
bool IsStoreFile(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  const std::string extension = entry.path().extension().string();
  std::error_code error;
  return entry.is_regular_file(error) &&
         (extension == ".sst" || extension == ".log" || extension == ".dbtmp" ||
          name.starts_with("MANIFEST-") || name.starts_with("OPTIONS-") || name == "IDENTITY" ||
          name == "LOCK" || name == "muster.logs");
}

// A mount point's, or what a server that had the directory's name before left in it.
bool IsNobodys(const fs::path& name) { return name == "lost+found" || name == "muster.reserve"; }

// What a restore that was killed left in the directory. nullopt: there is more, or it has a store.
absl::StatusOr<std::optional<std::vector<fs::path>>> LeftoversIn(const fs::path& dir) {
  std::vector<fs::path> building;
  std::vector<fs::path> moved;
  std::error_code error;
  bool cut_off = false;
  bool other = fs::exists(dir / "CURRENT", error);
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    if (IsNobodys(it->path().filename())) continue;
    if (IsBuilding(*it)) {
      building.push_back(it->path());
      cut_off = cut_off || fs::exists(it->path() / "CURRENT", error);
    } else if (IsStoreFile(*it)) {
      moved.push_back(it->path());
    } else {
      other = true;
    }
  }
  if (error) return UnusableDirectory(dir, error.message());
  if (other || (!moved.empty() && !cut_off)) return std::nullopt;
  building.insert(building.begin(), moved.begin(), moved.end());
  return building;
}

absl::Status CheckVacant(const fs::path& dir) {
  std::error_code error;
  if (fs::is_symlink(dir, error)) {
    return base::MakeError(
        absl::StatusCode::kFailedPrecondition, base::Reason::kStorageUnusable,
        absl::StrCat(
            "data directory ", dir.string(),
            " is a symbolic link: name the directory itself, which is replaced as a whole"));
  }
  if (!fs::exists(dir, error))
    return error ? UnusableDirectory(dir, error.message()) : absl::OkStatus();
  if (!fs::is_directory(dir, error)) return UnusableDirectory(dir, "is no directory");
  const auto leftovers = LeftoversIn(dir);
  if (!leftovers.ok()) return leftovers.status();
  if (*leftovers) return absl::OkStatus();
  return base::MakeError(
      absl::StatusCode::kAlreadyExists, base::Reason::kAlreadyExists,
      absl::StrCat("data directory ", dir.string(), " isn't empty: restore into a new one"));
}

// Where nothing stands yet: all at once.
absl::Status PutInPlace(const fs::path& built, const fs::path& dir) {
  std::error_code error;
  if (fs::rename(built, dir, error); error) return UnusableDirectory(dir, error.message());
  return SyncDirectory(dir.parent_path());
}

// Into a directory that is there, and stays what it is: its owner's, and perhaps a mount point.
// CURRENT comes last: until then it is no store. `moved` tells what stands there, also on errors.
absl::Status MoveInto(const fs::path& built, const fs::path& dir, std::vector<fs::path>& moved) {
  const auto failed = [&dir] {
    return UnusableDirectory(dir, std::generic_category().message(errno));
  };
  struct stat own {};
  if (::stat(dir.c_str(), &own) != 0) return failed();
  // Who restores as root does it for whom the directory belongs to.
  const auto move = [&](const fs::path& name) {
    if (::geteuid() == 0 && ::lchown((built / name).c_str(), own.st_uid, own.st_gid) != 0) {
      return failed();
    }
    if (::rename((built / name).c_str(), (dir / name).c_str()) != 0) return failed();
    moved.push_back(dir / name);
    return absl::OkStatus();
  };
  std::vector<fs::path> names;
  std::error_code error;
  for (fs::directory_iterator it(built, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename() != "CURRENT") names.push_back(it->path().filename());
  }
  if (error) return UnusableDirectory(dir, error.message());
  for (const fs::path& name : names) {
    if (absl::Status status = move(name); !status.ok()) return status;
  }
  if (absl::Status status = SyncDirectory(dir); !status.ok()) return status;
  if (absl::Status status = move("CURRENT"); !status.ok()) return status;
  fs::remove(built, error);
  return SyncDirectory(dir);
}

// No server opens the directory meanwhile.
absl::Status RestoreInto(std::istream& backup, const fs::path& dir, const fs::path& built,
                         const base::Clock& clock, base::Rng& rng) {
  const auto lock = DataDirLock::Take(dir.string());
  if (!lock.ok()) return lock.status();
  // Once more, now that nobody else can make a store of it.
  if (absl::Status status = CheckVacant(dir); !status.ok()) return status;
  const auto leftovers = LeftoversIn(dir);
  if (!leftovers.ok()) return leftovers.status();
  std::error_code error;
  for (const fs::path& leftover : leftovers->value_or(std::vector<fs::path>())) {
    fs::remove_all(leftover, error);
  }
  std::vector<fs::path> moved;
  absl::Status status = BuildStore(backup, built, clock, rng);
  if (status.ok()) status = MoveInto(built, dir, moved);
  if (status.ok()) return status;
  fs::remove_all(built, error);
  for (const fs::path& file : moved) fs::remove(file, error);
  return status;
}

}  // namespace

absl::Status RestoreBackup(std::istream& backup, const std::string& data_dir,
                           const base::Clock& clock, base::Rng& rng) {
  std::error_code error;
  fs::path dir = fs::absolute(data_dir, error).lexically_normal();
  if (!dir.has_filename()) dir = dir.parent_path();
  if (absl::Status status = CheckVacant(dir); !status.ok()) return status;
  const std::string name = std::string(kRestorePrefix) + absl::StrCat(absl::Hex(rng.Next()));
  if (fs::exists(dir, error)) return RestoreInto(backup, dir, dir / name, clock, rng);
  const fs::path built = dir.string() + name;
  absl::Status status = BuildStore(backup, built, clock, rng);
  if (status.ok()) status = PutInPlace(built, dir);
  if (!status.ok()) fs::remove_all(built, error);
  return status;
}

}  // namespace muster::storage
