#include "storage/rocksdb/log_check.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/log.h"
#include "storage/rocksdb/data_dir.h"

namespace muster::storage {
namespace {

namespace fs = std::filesystem;
using Verdict = LogScan::Verdict;

std::string ErrnoText() { return std::generic_category().message(errno); }

absl::Status CantRead(const fs::path& file, std::string_view why) {
  return UnusableDirectory(file.parent_path(), absl::StrCat("can't read ", file.filename().string(),
                                                            ": ", std::string(why)));
}

absl::StatusOr<LogFault> ScanFile(const fs::path& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return CantRead(file, ErrnoText());
  LogFault found{.file = file};
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
    if (filled > 0) scanner.AddBlock(block);
  } while (got > 0);
  const std::string error = got < 0 ? ErrnoText() : "";
  ::close(fd);
  if (!error.empty()) return CantRead(file, error);
  found.scan = scanner.Finish();
  return found;
}

// The file that CURRENT names.
absl::StatusOr<fs::path> CurrentManifest(const fs::path& dir) {
  std::ifstream in(dir / "CURRENT", std::ios::binary);
  std::string name;
  if (!in.is_open() || !std::getline(in, name)) name.clear();
  std::error_code error;
  if (absl::StartsWith(name, "MANIFEST-") && !in.eof() && fs::is_regular_file(dir / name, error)) {
    return dir / name;
  }
  return DamagedStore(dir, "CURRENT doesn't name a MANIFEST that is there");
}

// The write-ahead logs, oldest first.
absl::StatusOr<std::vector<fs::path>> LogsOf(const fs::path& dir) {
  std::vector<std::pair<uint64_t, fs::path>> logs;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    uint64_t number = 0;
    if (it->path().extension() == ".log" && absl::SimpleAtoi(it->path().stem().string(), &number)) {
      logs.emplace_back(number, it->path());
    }
  }
  if (error) return UnusableDirectory(dir, error.message());
  std::sort(logs.begin(), logs.end());
  std::vector<fs::path> paths;
  for (auto& [number, path] : logs) paths.push_back(std::move(path));
  return paths;
}

std::string PlaceOf(const LogFault& fault) {
  return absl::StrCat(fault.file.filename().string(), " can't be read beyond byte ",
                      fault.scan.whole_bytes, " (", fault.scan.what, ")");
}

absl::Status Explain(const LogFault& fault) {
  const fs::path dir = fault.file.parent_path();
  if (fault.scan.verdict == Verdict::kDamaged) return DamagedStore(dir, PlaceOf(fault));
  return SalvageOrRestore(dir, absl::StrCat(PlaceOf(fault),
                                            "; what stands there was torn by a power cut, or "
                                            "acknowledged and damaged since"));
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
  auto manifest = CurrentManifest(dir);
  if (!manifest.ok()) return manifest.status();
  auto logs = LogsOf(dir);
  if (!logs.ok()) return logs.status();
  std::vector<fs::path> files = {*std::move(manifest)};
  files.insert(files.end(), logs->begin(), logs->end());
  for (size_t i = 0; i < files.size(); ++i) {
    auto found = ScanFile(files[i]);
    if (!found.ok()) return found.status();
    if (found->scan.verdict == Verdict::kWhole) continue;
    // An older log was synced before the newer one was begun.
    if (i > 0 && i + 1 < files.size()) found->scan.verdict = Verdict::kDamaged;
    return *std::move(found);
  }
  return std::nullopt;
}

absl::Status CutLog(const LogFault& fault) {
  const auto size = static_cast<off_t>(fault.scan.whole_bytes);
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
    if ((*fault)->scan.verdict != Verdict::kTorn) return Explain(**fault);
    if (absl::Status status = CutLog(**fault); !status.ok()) return status;
    base::Log(base::LogLevel::kWarn,
              "dropped a torn write at the end of a log: nobody was told of it",
              {{"file", (*fault)->file.filename().string()},
               {"at", absl::StrCat((*fault)->scan.whole_bytes)},
               {"bytes", absl::StrCat((*fault)->file_bytes - (*fault)->scan.whole_bytes)},
               {"why", (*fault)->scan.what}});
  }
}

}  // namespace muster::storage
