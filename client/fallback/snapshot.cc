#include "client/fallback/snapshot.h"

#include <fcntl.h>
#include <google/protobuf/arena.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/wire.h"
#include "muster/snapshot/v1/snapshot.pb.h"

namespace muster::client {
namespace {

constexpr std::string_view kMagic = "MUSTERC1";
constexpr size_t kHead = 8 + 4 + 8;
constexpr size_t kMaxBytes = 256 << 20;

uint64_t LittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i > 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[i - 1]);
  return value;
}

void AppendLittleEndian(uint64_t value, size_t bytes, std::string* out) {
  for (size_t i = 0; i < bytes; ++i, value >>= 8) out->push_back(static_cast<char>(value & 0xFF));
}

uint32_t Crc(std::string_view bytes) {
  return static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

absl::Status Failed(std::string_view what, const std::string& path) {
  const int error = errno;
  return absl::ErrnoToStatus(
      error, absl::StrCat("can't ", base::Av(what), " ", base::EscapeForTerminal(path)));
}

class File {
 public:
  File(const std::string& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

void MakeDirectoryOf(const std::string& path) {
  const std::filesystem::path directory = std::filesystem::path(path).parent_path();
  std::error_code ignored;  // the file can't be opened then
  if (!directory.empty()) std::filesystem::create_directories(directory, ignored);
}

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  // Of a FIFO, or a device, nobody waits for the other end.
  const File file(path, O_RDONLY | O_NONBLOCK);
  struct stat at {};
  if (file.fd() < 0 || fstat(file.fd(), &at) != 0) return Failed("open", path);
  if (!S_ISREG(at.st_mode)) {
    return absl::DataLossError(absl::StrCat(base::EscapeForTerminal(path), " is no regular file"));
  }
  if (static_cast<size_t>(at.st_size) > kMaxBytes) {
    return absl::DataLossError(absl::StrCat(base::EscapeForTerminal(path), " has ", at.st_size,
                                            " bytes; at most ", kMaxBytes));
  }
  std::string bytes(static_cast<size_t>(at.st_size), '\0');
  size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = read(file.fd(), bytes.data() + have, bytes.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed("read", path);
    if (got == 0) break;
    have += static_cast<size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

}  // namespace

absl::StatusOr<Snapshot> Snapshot::Parse(std::string bytes) {
  const std::string_view all = bytes;
  if (all.size() < kHead || !all.starts_with(kMagic)) {
    return absl::DataLossError("it doesn't begin as a snapshot does");
  }
  const std::string_view payload = all.substr(kHead);
  if (LittleEndian(all.substr(12, 8)) != payload.size()) {
    return absl::DataLossError("it is longer or shorter than it says");
  }
  if (LittleEndian(all.substr(8, 4)) != Crc(payload)) {
    return absl::DataLossError("its checksum is wrong");
  }
  snapshot::v1::Snapshot wire;
  if (!wire.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    return absl::DataLossError("it can't be decoded");
  }
  Snapshot out;
  out.services_.reserve(static_cast<size_t>(wire.services_size()));
  for (snapshot::v1::Service& service : *wire.mutable_services()) {
    Encoded& encoded = out.services_[std::move(*service.mutable_key())];
    encoded.confirmed = {service.confirmed_us()};
    encoded.endpoints = std::move(*service.mutable_endpoints());
  }
  return out;
}

absl::StatusOr<Snapshot> Snapshot::Read(const std::string& path) {
  auto bytes = ReadAll(path);
  if (!bytes.ok()) return bytes.status();
  auto snapshot = Parse(*std::move(bytes));
  if (snapshot.ok()) return snapshot;
  return absl::Status(snapshot.status().code(),
                      absl::StrCat(base::EscapeForTerminal(path),
                                   " is no snapshot: ", snapshot.status().message()));
}

std::optional<SavedService> Snapshot::Find(std::string_view key) const {
  const auto found = services_.find(base::Av(key));
  if (found == services_.end()) return std::nullopt;
  google::protobuf::Arena arena;  // in place of an allocation for each part of each endpoint
  auto& wire = *google::protobuf::Arena::CreateMessage<snapshot::v1::Endpoints>(&arena);
  if (!wire.ParseFromString(found->second.endpoints) || wire.endpoints().empty()) {
    return std::nullopt;
  }
  auto endpoints = std::make_shared<EndpointList>();
  endpoints->reserve(static_cast<size_t>(wire.endpoints_size()));
  for (const v1::Endpoint& endpoint : wire.endpoints()) {
    endpoints->push_back(std::make_shared<const Endpoint>(FromWire(endpoint)));
  }
  return SavedService{std::string(key), found->second.confirmed, std::move(endpoints)};
}

std::string FormatSnapshot(const std::vector<SavedService>& services, const Snapshot* others,
                           base::SystemTime oldest) {
  snapshot::v1::Snapshot wire;
  absl::flat_hash_set<std::string> ours;
  for (const SavedService& service : services) {
    if (others != nullptr) {
      const auto other = others->services_.find(service.key);
      if (other != others->services_.end() && other->second.confirmed > service.confirmed) continue;
    }
    ours.insert(service.key);
    if (service.endpoints == nullptr || service.endpoints->empty()) continue;
    snapshot::v1::Endpoints endpoints;
    for (const EndpointPtr& endpoint : *service.endpoints) {
      *endpoints.add_endpoints() = ToWire(*endpoint);
    }
    snapshot::v1::Service& out = *wire.add_services();
    out.set_key(service.key);
    out.set_confirmed_us(service.confirmed.us);
    endpoints.SerializeToString(out.mutable_endpoints());
  }
  if (others != nullptr) {
    for (const auto& [key, encoded] : others->services_) {
      if (ours.contains(key) || encoded.confirmed < oldest) continue;
      snapshot::v1::Service& out = *wire.add_services();
      out.set_key(key);
      out.set_confirmed_us(encoded.confirmed.us);
      out.set_endpoints(encoded.endpoints);
    }
  }
  const std::string payload = wire.SerializeAsString();
  std::string bytes(kMagic);
  bytes.reserve(kHead + payload.size());
  AppendLittleEndian(Crc(payload), 4, &bytes);
  AppendLittleEndian(payload.size(), 8, &bytes);
  bytes.append(payload);
  return bytes;
}

FileLock::FileLock(const std::string& path) {
  MakeDirectoryOf(path);
  fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  while (fd_ >= 0 && flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
  }
}

FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

absl::Status ReplaceFile(const std::string& path, std::string_view bytes) {
  MakeDirectoryOf(path);
  // Two clients may write at the same time.
  static std::atomic<uint64_t> count{0};
  const std::string next = absl::StrCat(path, ".", getpid(), ".", ++count);
  absl::Status status;
  {
    const File file(next, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW);
    if (file.fd() < 0) return Failed("make", next);
    if (!WriteAll(file.fd(), bytes) || fsync(file.fd()) != 0) status = Failed("write", next);
  }
  if (status.ok() && rename(next.c_str(), path.c_str()) != 0) status = Failed("replace", path);
  if (!status.ok()) unlink(next.c_str());
  return status;
}

}  // namespace muster::client
