#include "storage/rocksdb/log_check.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/errors.h"
#include "base/log.h"
#include "base/text.h"
#include "storage/rocksdb/data_dir.h"
#include "storage/rocksdb/log_ledger.h"
#include "storage/rocksdb/log_scan.h"

namespace muster::storage {
namespace {

namespace fs = std::filesystem;
using Kind = LogFault::Kind;

constexpr char kManifest[] = "MANIFEST-";
constexpr size_t kMaxCurrentBytes = 256;

std::string ErrnoText() { return std::generic_category().message(errno); }

absl::Status CantRead(const fs::path& file, std::string_view why) {
  return UnusableDirectory(file.parent_path(), absl::StrCat("can't read ", file.filename().string(),
                                                            ": ", std::string(why)));
}

struct Scanned {
  uint64_t file_bytes = 0;
  std::string head;
  LogScan scan;
};

absl::StatusOr<Scanned> ScanFile(const fs::path& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return CantRead(file, ErrnoText());
  Scanned found;
  LogScanner scanner;
  std::string block;
  ssize_t got = 0;
  do {
    block.resize(kLogBlock);
    size_t filled = 0;
    while (filled < kLogBlock &&
           (got = ::read(fd, block.data() + filled, kLogBlock - filled)) > 0) {
      filled += static_cast<size_t>(got);
    }
    block.resize(filled);
    found.file_bytes += filled;
    if (found.head.empty()) found.head = block.substr(0, kLogHead);
    if (filled > 0) scanner.AddBlock(block);
  } while (got > 0);
  const std::string error = got < 0 ? ErrnoText() : "";
  ::close(fd);
  if (!error.empty()) return CantRead(file, error);
  found.scan = scanner.Finish();
  return found;
}

// What is wrong with a file by itself, of which this was noted; null: nothing was.
std::optional<LogFault> Judge(const fs::path& file, const Scanned& found, const NotedLog* noted) {
  const LogScan& scan = found.scan;
  LogFault fault{.file = file, .file_bytes = found.file_bytes, .whole_bytes = scan.whole_bytes};
  const std::string name = file.filename().string();
  fault.what = fault.has_rest() ? absl::StrCat(name, " can't be read beyond byte ",
                                               scan.whole_bytes, " (", scan.what, ")")
                                : absl::StrCat(name, " ends at byte ", scan.whole_bytes);
  if (noted != nullptr && scan.records > 0 && found.head != noted->head) {
    fault.kind = Kind::kDamaged;
    fault.what = absl::StrCat(name, " is another file than the one that muster.logs notes");
    return fault;
  }
  // Of a damaged one more is left than its beginning.
  if (noted != nullptr && scan.whole_bytes < noted->bytes &&
      scan.verdict != LogScan::Verdict::kDamaged) {
    fault.kind = Kind::kLost;
    absl::StrAppend(&fault.what, ", but muster.logs says that its first ", noted->bytes,
                    " bytes were on the disk");
    return fault;
  }
  switch (scan.verdict) {
    case LogScan::Verdict::kWhole:
      return std::nullopt;
    case LogScan::Verdict::kTorn:
      fault.kind = Kind::kTorn;
      break;
    case LogScan::Verdict::kUnclear:
      fault.kind = Kind::kUnclear;
      break;
    case LogScan::Verdict::kDamaged:
      fault.kind = Kind::kDamaged;
      break;
  }
  return fault;
}

bool IsManifest(const std::string& name) { return absl::StartsWith(name, kManifest); }
uint64_t ManifestNumber(const std::string& name) {
  uint64_t number = 0;
  return absl::SimpleAtoi(absl::StripPrefix(name, kManifest), &number) ? number : 0;
}

// The file that CURRENT names.
absl::StatusOr<fs::path> CurrentManifest(const fs::path& dir, const NotedLogs& noted) {
  const auto current = ReadSmallFile(dir / "CURRENT", kMaxCurrentBytes);
  if (!current.ok()) return UnusableDirectory(dir, base::Sv(current.status().message()));
  std::string name = current->value_or("");
  std::error_code error;
  if (!IsManifest(name) || name.back() != '\n' ||
      !fs::is_regular_file(dir / name.substr(0, name.size() - 1), error)) {
    return DamagedStore(dir, "CURRENT doesn't name a MANIFEST that is there");
  }
  name.pop_back();
  for (const auto& [other, log] : noted) {
    if (IsManifest(other) && ManifestNumber(other) > ManifestNumber(name)) {
      return DamagedStore(dir, absl::StrCat("CURRENT names ", name,
                                            ", but muster.logs says that it named ", other));
    }
  }
  return dir / name;
}

std::optional<uint64_t> LogNumber(const fs::path& name) {
  uint64_t number = 0;
  if (name.extension() != ".log" || !absl::SimpleAtoi(name.stem().string(), &number)) {
    return std::nullopt;
  }
  return number;
}

// The write-ahead logs that are there or were noted, by number.
absl::StatusOr<std::map<uint64_t, fs::path>> LogsOf(const fs::path& dir, const NotedLogs& noted) {
  std::map<uint64_t, fs::path> logs;
  for (const auto& [name, log] : noted) {
    if (const auto number = LogNumber(name)) logs[*number] = dir / name;
  }
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    const auto number = LogNumber(it->path().filename());
    if (!number) continue;
    // Reading it might never end.
    if (!it->is_regular_file(error)) {
      return DamagedStore(dir, it->path().filename().string() + " is no file");
    }
    logs[*number] = it->path();
  }
  if (error) return UnusableDirectory(dir, error.message());
  return logs;
}

const NotedLog* Find(const NotedLogs& noted, const fs::path& file) {
  const auto found = noted.find(file.filename().string());
  return found == noted.end() ? nullptr : &found->second;
}

// Of the write-ahead logs.
absl::StatusOr<std::optional<LogFault>> FindInLogs(const fs::path& dir, const NotedLogs& noted) {
  auto logs = LogsOf(dir, noted);
  if (!logs.ok()) return logs.status();
  std::optional<LogFault> fault;
  for (const auto& [number, file] : *logs) {
    const NotedLog* log = Find(noted, file);
    std::error_code error;
    if (log != nullptr && !fs::exists(file, error)) {
      if (!fault) {
        fault = {.kind = Kind::kLost,
                 .file = file,
                 .what = absl::StrCat(file.filename().string(), " is gone, of which muster.logs ",
                                      "says that ", log->bytes, " bytes were on the disk")};
      }
      continue;
    }
    auto found = ScanFile(file);
    if (!found.ok()) return found.status();
    if (fault) {
      if (found->scan.records > 0) fault->kind = Kind::kDamaged;
      continue;
    }
    fault = Judge(file, *found, log);
    // An older log was synced before the newer one was begun.
    const bool last = number == logs->rbegin()->first;
    if (fault && fault->kind != Kind::kLost && !last) fault->kind = Kind::kDamaged;
  }
  return fault;
}

absl::Status Explain(const LogFault& fault) {
  const fs::path dir = fault.file.parent_path();
  switch (fault.kind) {
    case Kind::kUnclear:
      return SalvageOrRestore(dir, fault.what +
                                       "; what stands there was torn by a power cut, or "
                                       "acknowledged and damaged since");
    case Kind::kLost:
      return SalvageOrRestore(dir, fault.what + "; it was changed since");
    case Kind::kTorn:
    case Kind::kDamaged:
      break;
  }
  return DamagedStore(dir, fault.what);
}

}  // namespace

absl::Status DamagedStore(const fs::path& dir, std::string_view what) {
  return base::MakeError(absl::StatusCode::kDataLoss, base::Reason::kStorageDamaged,
                         absl::StrCat("data directory ", dir.string(),
                                      " is damaged: ", std::string(what), kWhenDamaged));
}

absl::Status SalvageOrRestore(const fs::path& dir, std::string_view what) {
  return base::MakeError(absl::StatusCode::kDataLoss, base::Reason::kStorageDamaged,
                         absl::StrCat("data directory ", dir.string(), ": ", std::string(what),
                                      "; to go on without it: muster salvage --data-dir ",
                                      dir.string(), "; to go back to a backup: muster restore"));
}

absl::StatusOr<std::optional<LogFault>> FindLogFault(const fs::path& dir) {
  std::error_code error;
  if (!fs::exists(dir / "CURRENT", error)) return std::nullopt;
  const NotedLogs noted = ReadNotedLogs(dir);
  auto manifest = CurrentManifest(dir, noted);
  if (!manifest.ok()) return manifest.status();
  auto found = ScanFile(*manifest);
  if (!found.ok()) return found.status();
  auto fault = Judge(*manifest, *found, Find(noted, *manifest));
  if (!fault) return FindInLogs(dir, noted);
  // Logs and tables are named by what is gone.
  if (fault->kind == Kind::kLost) fault->kind = Kind::kDamaged;
  return fault;
}

absl::Status CutLog(const LogFault& fault) {
  const auto size = static_cast<off_t>(fault.whole_bytes);
  const int fd = ::open(fault.file.c_str(), O_WRONLY | O_CLOEXEC);
  const bool cut = fd >= 0 && ::ftruncate(fd, size) == 0 && ::fsync(fd) == 0;
  const std::string error = cut ? "" : ErrnoText();
  if (fd >= 0) ::close(fd);
  if (cut) return absl::OkStatus();
  return UnusableDirectory(fault.file.parent_path(),
                           absl::StrCat("can't cut ", fault.file.filename().string(), ": ", error));
}

absl::Status MendLogs(const fs::path& dir) {
  while (true) {
    auto fault = FindLogFault(dir);
    if (!fault.ok()) return fault.status();
    if (!*fault) return absl::OkStatus();
    if ((*fault)->kind != Kind::kTorn) return Explain(**fault);
    if (absl::Status status = CutLog(**fault); !status.ok()) return status;
    base::Log(base::LogLevel::kWarn,
              "dropped a torn write at the end of a log: nobody was told of it",
              {{"bytes", absl::StrCat((*fault)->file_bytes - (*fault)->whole_bytes)},
               {"what", (*fault)->what}});
  }
}

}  // namespace muster::storage
