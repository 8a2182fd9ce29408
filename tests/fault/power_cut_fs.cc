#include "tests/fault/power_cut_fs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

namespace muster::test {
namespace {

namespace fs = std::filesystem;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

constexpr uint64_t kSector = 512;

class ImpatientEnv : public rocksdb::EnvWrapper {
 public:
  explicit ImpatientEnv(std::unique_ptr<rocksdb::Env> env) : EnvWrapper(std::move(env)) {
    file_system_ = target()->GetFileSystem();
  }
  const char* Name() const override { return "ImpatientEnv"; }
  void SleepForMicroseconds(int micros) override {
    EnvWrapper::SleepForMicroseconds(std::min(micros, 1000));
  }
};

IOStatus NotModelled(const std::string& what) { return IOStatus::NotSupported(what); }

}  // namespace

class PowerCutFileSystem::File : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  File(std::unique_ptr<rocksdb::FSWritableFile> file, PowerCutFileSystem& owner, WrittenPtr written)
      : FSWritableFileOwnerWrapper(std::move(file)), owner_(owner), written_(std::move(written)) {}

  using FSWritableFileOwnerWrapper::Append;
  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    base::MutexLock lock(owner_.mu_);
    bool half = false;
    const IOStatus step = owner_.Step(&half);
    if (!step.ok() && !half) return step;
    const Slice part(data.data(), half ? owner_.Random(data.size() + 1) : data.size());
    const IOStatus status = FSWritableFileOwnerWrapper::Append(part, options, debug);
    if (status.ok()) written_->size += part.size();
    return step.ok() ? status : step;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus PositionedAppend(const Slice&, uint64_t, const IOOptions&, IODebugContext*) override {
    return NotModelled("PositionedAppend");
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    base::MutexLock lock(owner_.mu_);
    const IOStatus step = owner_.Step();
    if (!step.ok()) return step;
    written_->size = size;
    written_->synced = std::min(written_->synced, size);
    return FSWritableFileOwnerWrapper::Truncate(size, options, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    base::MutexLock lock(owner_.mu_);
    bool half = false;
    const IOStatus step = owner_.Step(&half);
    // Cut while it syncs: the disk may have it all the same, but nobody learns of it.
    if (!step.ok() && !(half && owner_.Random(2) == 0)) return step;
    const IOStatus status = FSWritableFileOwnerWrapper::Sync(options, debug);
    if (status.ok()) written_->synced = written_->size;
    return step.ok() ? status : step;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Sync(options, debug);
  }
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();  // a wish, not a promise
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    base::MutexLock lock(owner_.mu_);
    const IOStatus step = owner_.Step();
    const IOStatus status = FSWritableFileOwnerWrapper::Close(options, debug);
    return step.ok() ? status : step;
  }

 private:
  PowerCutFileSystem& owner_;
  const WrittenPtr written_;
};

class PowerCutFileSystem::Directory : public rocksdb::FSDirectoryWrapper {
 public:
  Directory(std::unique_ptr<rocksdb::FSDirectory> directory, PowerCutFileSystem& owner)
      : FSDirectoryWrapper(std::move(directory)), owner_(owner) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    base::MutexLock lock(owner_.mu_);
    const IOStatus step = owner_.Step();
    if (!step.ok()) return step;
    std::error_code ignored;
    for (const Change& change : owner_.changes_) {
      for (const Removed& removed : change.removed) fs::remove(removed.grave, ignored);
    }
    owner_.changes_.clear();
    return FSDirectoryWrapper::Fsync(options, debug);
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions&) override {
    return Fsync(options, debug);
  }

 private:
  PowerCutFileSystem& owner_;
};

PowerCutFileSystem::PowerCutFileSystem(std::string dir, uint64_t seed)
    : FileSystemWrapper(rocksdb::FileSystem::Default()),
      dir_(std::move(dir)),
      graves_(dir_ + ".graves"),
      random_(seed) {
  fs::create_directories(graves_);
}

void PowerCutFileSystem::CutAt(uint64_t operations) {
  base::MutexLock lock(mu_);
  cut_at_ = operations == 0 ? 0 : operations_ + operations;
}

bool PowerCutFileSystem::cut() const {
  base::MutexLock lock(mu_);
  return cut_;
}

uint64_t PowerCutFileSystem::operations() const {
  base::MutexLock lock(mu_);
  return operations_;
}

std::string PowerCutFileSystem::Own(const std::string& path) const {
  return dir_ + "/" + fs::path(path).filename().string();
}

IOStatus PowerCutFileSystem::Step(bool* half) {
  if (cut_) return IOStatus::IOError("the power is cut");
  if (++operations_ != cut_at_) return IOStatus::OK();
  cut_ = true;
  if (half != nullptr) *half = true;
  return IOStatus::IOError("the power is cut");
}

uint64_t PowerCutFileSystem::Random(uint64_t below) { return random_() % below; }

PowerCutFileSystem::WrittenPtr PowerCutFileSystem::Find(const std::string& name) const {
  const auto found = written_.find(name);
  return found == written_.end() ? nullptr : found->second;
}

PowerCutFileSystem::Removed PowerCutFileSystem::Bury(const std::string& name) {
  Removed removed{name, graves_ + "/" + std::to_string(next_grave_++), Find(name)};
  std::error_code error;
  fs::create_hard_link(name, removed.grave, error);
  EXPECT_FALSE(error) << name << ": " << error.message();
  return removed;
}

uint64_t PowerCutFileSystem::created(const std::string& extension) const {
  base::MutexLock lock(mu_);
  const auto found = created_.find(extension);
  return found == created_.end() ? 0 : found->second;
}

IOStatus PowerCutFileSystem::NewWritableFile(const std::string& path,
                                             const rocksdb::FileOptions& options,
                                             std::unique_ptr<rocksdb::FSWritableFile>* result,
                                             IODebugContext* debug) {
  const std::string name = Own(path);
  base::MutexLock lock(mu_);
  if (IOStatus step = Step(); !step.ok()) return step;
  Change change{.created = name};
  if (fs::exists(name)) {
    change.removed.push_back(Bury(name));
    fs::remove(name);  // a new inode: the old bytes are needed
  }
  std::unique_ptr<rocksdb::FSWritableFile> file;
  IOStatus status = FileSystemWrapper::NewWritableFile(name, options, &file, debug);
  if (!status.ok()) return status;
  const auto written = std::make_shared<Written>();
  written_[name] = written;
  ++created_[fs::path(name).extension().string()];
  changes_.push_back(std::move(change));
  *result = std::make_unique<File>(std::move(file), *this, written);
  return status;
}

IOStatus PowerCutFileSystem::ReopenWritableFile(const std::string&, const rocksdb::FileOptions&,
                                                std::unique_ptr<rocksdb::FSWritableFile>*,
                                                IODebugContext*) {
  return NotModelled("ReopenWritableFile");
}

IOStatus PowerCutFileSystem::ReuseWritableFile(const std::string&, const std::string&,
                                               const rocksdb::FileOptions&,
                                               std::unique_ptr<rocksdb::FSWritableFile>*,
                                               IODebugContext*) {
  return NotModelled("ReuseWritableFile");
}

IOStatus PowerCutFileSystem::NewRandomRWFile(const std::string&, const rocksdb::FileOptions&,
                                             std::unique_ptr<rocksdb::FSRandomRWFile>*,
                                             IODebugContext*) {
  return NotModelled("NewRandomRWFile");
}

IOStatus PowerCutFileSystem::LinkFile(const std::string&, const std::string&, const IOOptions&,
                                      IODebugContext*) {
  return NotModelled("LinkFile");
}

IOStatus PowerCutFileSystem::NewDirectory(const std::string& name, const IOOptions& options,
                                          std::unique_ptr<rocksdb::FSDirectory>* result,
                                          IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSDirectory> directory;
  IOStatus status = FileSystemWrapper::NewDirectory(name, options, &directory, debug);
  if (status.ok()) *result = std::make_unique<Directory>(std::move(directory), *this);
  return status;
}

IOStatus PowerCutFileSystem::DeleteFile(const std::string& path, const IOOptions& options,
                                        IODebugContext* debug) {
  const std::string name = Own(path);
  base::MutexLock lock(mu_);
  if (IOStatus step = Step(); !step.ok()) return step;
  if (!fs::exists(name)) return FileSystemWrapper::DeleteFile(name, options, debug);
  Change change{.removed = {Bury(name)}};
  IOStatus status = FileSystemWrapper::DeleteFile(name, options, debug);
  if (!status.ok()) return status;
  written_.erase(name);
  changes_.push_back(std::move(change));
  return status;
}

IOStatus PowerCutFileSystem::Truncate(const std::string&, size_t, const IOOptions&,
                                      IODebugContext*) {
  return NotModelled("Truncate");
}

IOStatus PowerCutFileSystem::RenameFile(const std::string& from_path, const std::string& to_path,
                                        const IOOptions& options, IODebugContext* debug) {
  const std::string from = Own(from_path);
  const std::string to = Own(to_path);
  base::MutexLock lock(mu_);
  if (IOStatus step = Step(); !step.ok()) return step;
  Change change{.created = to};
  if (fs::exists(to)) change.removed.push_back(Bury(to));
  change.removed.push_back(Bury(from));
  const WrittenPtr moved = Find(from);
  IOStatus status = FileSystemWrapper::RenameFile(from, to, options, debug);
  if (!status.ok()) return status;
  written_.erase(from);
  written_.erase(to);
  if (moved != nullptr) written_[to] = moved;
  changes_.push_back(std::move(change));
  return status;
}

void PowerCutFileSystem::TakeBack(const Change& change) {
  if (!change.created.empty()) {
    fs::remove(change.created);
    written_.erase(change.created);
  }
  for (const Removed& removed : change.removed) {
    fs::create_hard_link(removed.grave, removed.name);
    if (removed.written != nullptr) written_[removed.name] = removed.written;
  }
}

void PowerCutFileSystem::Tear(const std::string& name, const Written& written, Keep keep) {
  const uint64_t unsynced = written.size - written.synced;
  const uint64_t kept = keep == Keep::kNothing ? 0 : Random(unsynced + 1);
  fs::resize_file(name, written.synced + kept);
  if (kept == 0 || keep == Keep::kPrefix) return;
  std::fstream file(name, std::ios::binary | std::ios::in | std::ios::out);
  const uint64_t end = written.synced + kept;
  for (uint64_t at = written.synced; at < end;) {
    const uint64_t next = std::min((at / kSector + 1) * kSector, end);
    if (Random(3) == 0) {
      std::string bytes(next - at, '\0');
      if (keep == Keep::kGarbage) {
        for (char& byte : bytes) byte = static_cast<char>(Random(256));
      }
      file.seekp(static_cast<std::streamoff>(at));
      file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    }
    at = next;
  }
}

void PowerCutFileSystem::Restore(Keep keep) {
  base::MutexLock lock(mu_);
  const uint64_t stay = keep == Keep::kNothing ? 0 : Random(changes_.size() + 1);
  while (changes_.size() > stay) {
    TakeBack(changes_.back());
    changes_.pop_back();
  }
  for (const auto& [name, written] : written_) Tear(name, *written, keep);
  changes_.clear();
  written_.clear();
  std::error_code ignored;
  fs::remove_all(graves_, ignored);
  fs::create_directories(graves_);
  cut_ = false;
  cut_at_ = 0;
}

std::unique_ptr<rocksdb::Env> NewPowerCutEnv(std::shared_ptr<PowerCutFileSystem> fs) {
  return std::make_unique<ImpatientEnv>(rocksdb::NewCompositeEnv(fs));
}

}  // namespace muster::test
