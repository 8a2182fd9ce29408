// A file system that knows what a power cut would leave, and can cut the power.
//
//   auto fs = std::make_shared<PowerCutFileSystem>(dir, seed);
//   fs->CutAt(100);                  // the 100th operation from now fails, and all after it
//   ... a database on NewPowerCutEnv(fs) runs into it and is destroyed ...
//   fs->Restore(Keep::kTorn);        // the directory as the machine finds it when it is back
//
// What is durable: of a file, its bytes up to the last Sync; of the directory, the creations,
// renames and deletions up to its last Fsync. Everything else may be there or not: `Keep` says what
// Restore makes of it. Files are written at their end only, as the database does; what can't be
// modelled is refused.
//
// Thread safety: all members, but Restore: REQUIRES that nothing is open. One directory.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/mutex.h"

namespace muster::test {

// What is left of that which was not synced.
enum class Keep {
  kNothing,
  kPrefix,   // of each file the first bytes, of the directory the first changes
  kTorn,     // as kPrefix, and sectors among those bytes were never written: zeros
  kGarbage,  // as kPrefix, and sectors among those bytes hold anything
};

class PowerCutFileSystem : public rocksdb::FileSystemWrapper {
 public:
  PowerCutFileSystem(std::string dir, uint64_t seed);

  // The `operations`-th operation from now that changes something is the last that may half happen.
  // 0 = never.
  void CutAt(uint64_t operations);
  bool cut() const;
  uint64_t operations() const;
  void Restore(Keep keep);
  // Files that were created since the beginning, by the end of their name: ".log", ".sst".
  uint64_t created(const std::string& extension) const;

  const char* Name() const override { return "PowerCutFileSystem"; }
  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* result,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReuseWritableFile(const std::string& name, const std::string& old_name,
                                      const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* result,
                                      rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewRandomRWFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSRandomRWFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& name, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* result,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus Truncate(const std::string& name, size_t size,
                             const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus LinkFile(const std::string& from, const std::string& to,
                             const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;

 private:
  class File;
  class Directory;
  // Written since Restore; nobody else's files are tracked, they are durable.
  struct Written {
    uint64_t size = 0;
    uint64_t synced = 0;
  };
  using WrittenPtr = std::shared_ptr<Written>;
  struct Removed {
    std::string name;
    std::string grave;  // a link to the same file
    WrittenPtr written;
  };
  // A change of the directory that is not durable, and how to take it back.
  struct Change {
    std::string created;  // "" = nothing
    std::vector<Removed> removed;
  };

  // Its name in the directory, whatever path led there.
  std::string Own(const std::string& path) const;
  // Ok to go on; an error when the power is cut. `half` is set when it is cut by this operation.
  rocksdb::IOStatus Step(bool* half = nullptr) MUSTER_REQUIRES(mu_);
  uint64_t Random(uint64_t below) MUSTER_REQUIRES(mu_);
  // Keeps the file's inode for Restore.
  Removed Bury(const std::string& name) MUSTER_REQUIRES(mu_);
  void TakeBack(const Change& change) MUSTER_REQUIRES(mu_);
  void Tear(const std::string& name, const Written& written, Keep keep) MUSTER_REQUIRES(mu_);
  WrittenPtr Find(const std::string& name) const MUSTER_REQUIRES(mu_);

  const std::string dir_;
  const std::string graves_;
  mutable base::Mutex mu_;
  std::mt19937_64 random_ MUSTER_GUARDED_BY(mu_);
  uint64_t operations_ MUSTER_GUARDED_BY(mu_) = 0;
  uint64_t cut_at_ MUSTER_GUARDED_BY(mu_) = 0;
  bool cut_ MUSTER_GUARDED_BY(mu_) = false;
  uint64_t next_grave_ MUSTER_GUARDED_BY(mu_) = 0;
  std::map<std::string, WrittenPtr> written_ MUSTER_GUARDED_BY(mu_);
  std::map<std::string, uint64_t> created_ MUSTER_GUARDED_BY(mu_);
  std::vector<Change> changes_ MUSTER_GUARDED_BY(mu_);
};

// An environment on it whose database doesn't pause for a second after each failure.
std::unique_ptr<rocksdb::Env> NewPowerCutEnv(std::shared_ptr<PowerCutFileSystem> fs);

}  // namespace muster::test
