// How much of each log is on the disk for certain, noted in the data directory ("muster.logs"), so
// that a log that was cut, emptied or deleted isn't taken for what a power cut left.
//
//   LogLedger ledger(dir, env);
//   db_options.env = ledger.env();  // sees what the database writes and syncs
//   ledger.Write();                 // now and then, and when the database is closed
//
// The database synced what is noted, file and name, before it is noted, and a log is forgotten
// before it is deleted: whenever the power is cut, the logs hold at least what is noted. What was
// synced since the last note is not protected.
//
// Thread safety: all. Errors: UNAVAILABLE, in the system's words. Cost of Write: nothing when
// nothing changed, otherwise three syncs of some bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"

namespace rocksdb {
class Env;
}

namespace muster::storage {

inline constexpr size_t kLogHead = 16;

struct NotedLog {
  uint64_t bytes = 0;
  std::string head;  // its first kLogHead bytes: no other log begins so

  friend bool operator==(const NotedLog&, const NotedLog&) = default;
};
// By file name: the write-ahead logs, and the MANIFEST that CURRENT names.
using NotedLogs = std::map<std::string, NotedLog>;

// Empty when there is no ledger, or none that can be read, which is logged: it protects the store
// and holds nothing of it.
NotedLogs ReadNotedLogs(const std::filesystem::path& dir);

std::filesystem::path LedgerFile(const std::filesystem::path& dir);

class LogLedger {
 public:
  // Goes on with what is noted in `dir`. `env`: what the database would have without it; outlives
  // this.
  LogLedger(const std::filesystem::path& dir, rocksdb::Env& env);
  ~LogLedger();

  // Of the database; may be used as long as this lives.
  rocksdb::Env* env() const;
  absl::Status Write();

 private:
  class Files;
  class SeeingEnv;
  const std::shared_ptr<Files> files_;
  const std::unique_ptr<SeeingEnv> env_;
};

}  // namespace muster::storage
