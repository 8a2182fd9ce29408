#include "tests/bench/servers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/bench/fixture.h"

namespace muster::bench {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBatch = 1'000;
constexpr absl::Duration kStartTime = absl::Seconds(60);
constexpr int kMostIntervals = 60;
// Memory that shrinks by less than this part of it stays as it is.
constexpr uint64_t kUnnoticed = 500;

// Starts a program that says `ready` and its address when it serves.
absl::StatusOr<std::shared_ptr<ServerProcess>> StartTelling(const std::vector<std::string>& argv,
                                                            std::string_view ready,
                                                            std::unique_ptr<test::TempDir> dir) {
  auto process = std::make_unique<test::Process>(argv);
  const std::string line = process->ReadLine(kStartTime).value_or("");
  absl::string_view address = line;
  if (!absl::ConsumePrefix(&address, absl::string_view(ready.data(), ready.size()))) {
    return absl::UnavailableError(absl::StrCat(argv[0], " is not ready, but says: ", line));
  }
  return std::make_shared<ServerProcess>(std::move(dir), std::move(process), std::string(address));
}

// Free at this moment. Only for programs that can't tell which port they chose.
int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  const bool bound = bind(fd, raw, size) == 0 && getsockname(fd, raw, &size) == 0;
  close(fd);
  return bound ? ntohs(address.sin_port) : 0;
}

// On the PATH, or where ./dev unpacked it.
std::string EtcdProgram() {
  const char* path = std::getenv("PATH");
  for (absl::string_view dir : absl::StrSplit(path == nullptr ? "" : path, ':')) {
    const std::string program = absl::StrCat(dir, "/etcd");
    if (access(program.c_str(), X_OK) == 0) return program;
  }
  const fs::path unpacked =
      fs::path(test::BinDir()).parent_path().parent_path() / "etcd/usr/bin/etcd";
  return fs::exists(unpacked) ? unpacked.string() : "";
}

bool Answers(const std::string& address, test::Process& process) {
  const absl::Time deadline = test::Now() + kStartTime;
  while (test::Now() < deadline && process.Running()) {
    Client client(address, 1, 1);
    // Any reply will do: an empty key is refused by a server that serves.
    const auto result = client.Call({.method = kEtcdRange,
                                     .in_flight = 1,
                                     .request =
                                         [](uint64_t number, grpc::ByteBuffer* request) {
                                           *request = ToBuffer("\x0a\x01k");
                                           return number == 0;
                                         }},
                                    absl::Seconds(1));
    if (result.ok()) return true;
    test::Pause(absl::Milliseconds(20));
  }
  return false;
}

void AppendField(uint32_t tag, std::string_view bytes, std::string* out) {
  out->push_back(static_cast<char>(tag << 3 | 2));
  for (size_t size = bytes.size();; size >>= 7) {
    if (size < 0x80) {
      out->push_back(static_cast<char>(size));
      break;
    }
    out->push_back(static_cast<char>((size & 0x7f) | 0x80));
  }
  out->append(bytes);
}

absl::Status KeepHandles(const grpc::ByteBuffer& reply, size_t first,
                         std::vector<uint64_t>& handles) {
  v1::BatchRegisterResponse response;
  if (!response.ParseFromString(ToString(reply))) return absl::InternalError("unreadable reply");
  for (int i = 0; i < response.results_size(); ++i) {
    const v1::BatchRegisterResult& result = response.results(i);
    if (result.status().code() != 0) {
      return absl::InternalError("not registered: " + result.status().message());
    }
    handles[first + static_cast<size_t>(i)] = result.response().lease_handle();
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<ServerProcess>> StartMusterd(const std::vector<std::string>& flags,
                                                            std::unique_ptr<test::TempDir> dir) {
  if (dir == nullptr) dir = std::make_unique<test::TempDir>();
  std::vector<std::string> argv = {test::BinDir() + "/musterd",
                                   "--data-dir",
                                   dir->path("data"),
                                   "--grpc-listen",
                                   "127.0.0.1:0",
                                   "--http-listen",
                                   "off",
                                   "--dns-listen",
                                   "off"};
  argv.insert(argv.end(), flags.begin(), flags.end());
  return StartTelling(argv, "ready grpc=", std::move(dir));
}

absl::StatusOr<std::shared_ptr<ServerProcess>> StartYardstick() {
  auto dir = std::make_unique<test::TempDir>();
  const std::string program =
      (fs::path(test::BinDir()).parent_path() / "tests/bin/muster_yardstick").string();
  const std::vector<std::string> argv = {program, dir->path("data")};
  return StartTelling(argv, "ready ", std::move(dir));
}

absl::StatusOr<std::shared_ptr<ServerProcess>> StartEtcd() {
  const std::string program = EtcdProgram();
  if (program.empty()) {
    return absl::UnavailableError("etcd is not on the PATH; ./dev bench gets it");
  }
  auto dir = std::make_unique<test::TempDir>();
  const std::string address = absl::StrCat("127.0.0.1:", FreePort());
  const std::string client = "http://" + address;
  const std::string peer = absl::StrCat("http://127.0.0.1:", FreePort());
  auto process = std::make_unique<test::Process>(
      std::vector<std::string>{program, "--data-dir", dir->path("data"), "--listen-client-urls",
                               client, "--advertise-client-urls", client, "--listen-peer-urls",
                               peer, "--initial-advertise-peer-urls", peer, "--initial-cluster",
                               "default=" + peer, "--logger", "zap", "--log-level", "error"},
      dir->path("log"));
  if (!Answers(address, *process)) return absl::UnavailableError("etcd does not answer");
  return std::make_shared<ServerProcess>(std::move(dir), std::move(process), address);
}

absl::Duration CpuTimeOf(pid_t pid) {
  clockid_t clock;
  timespec time{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) {
    return absl::ZeroDuration();
  }
  return absl::DurationFromTimespec(time);
}

uint64_t WrittenBytesOf(pid_t pid) {
  std::ifstream io(absl::StrCat("/proc/", pid, "/io"));
  std::string key;
  for (uint64_t value = 0; io >> key >> value;) {
    if (key == "write_bytes:") return value;
  }
  return 0;
}

uint64_t BytesIn(const std::string& dir) {
  uint64_t bytes = 0;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(dir, ignored)) {
    if (!entry.is_regular_file(ignored)) continue;
    const uint64_t size = entry.file_size(ignored);
    if (!ignored) bytes += size;
  }
  return bytes;
}

absl::Status AwaitQuiet(const ServerProcess& server, absl::Duration interval) {
  for (int i = 0; i < kMostIntervals; ++i) {
    const Meter meter(server);
    const uint64_t resident = test::UsageOf(server.pid()).resident_bytes;
    test::Pause(interval);
    const uint64_t now = test::UsageOf(server.pid()).resident_bytes;
    if (meter.WrittenBytes() == 0 && now + resident / kUnnoticed >= resident) {
      return absl::OkStatus();
    }
  }
  return absl::DeadlineExceededError("the server does not come to rest");
}

void AwaitRest(const ServerProcess& server) {
  constexpr absl::Duration kLook = absl::Milliseconds(5);
  const absl::Time deadline = test::Now() + absl::Seconds(1);
  while (test::Now() < deadline) {
    const Meter meter(server);
    test::Pause(kLook);
    if (meter.CpuTime() < kLook / 20) return;
  }
}

uint64_t MemoryOf(pid_t pid) {
  // Not statm: the kernel counts that by pages that each processor adds up later.
  std::ifstream maps(absl::StrCat("/proc/", pid, "/smaps_rollup"));
  std::string line;
  std::getline(maps, line);  // the range of addresses
  std::string key;
  std::string unit;
  for (uint64_t kib = 0; maps >> key >> kib >> unit;) {
    if (key == "Pss:") return kib * 1024;
  }
  return 0;
}

absl::StatusOr<std::vector<uint64_t>> Fill(Client& client, size_t first, size_t count,
                                           size_t services) {
  std::vector<uint64_t> handles(count);
  UnaryLoad load{.method = kBatchRegister, .in_flight = 4};
  const NumberedBytes one(MakeRegister(0, services).SerializeAsString(), services);
  load.request = [first, count, &one](uint64_t number, grpc::ByteBuffer* request) {
    const size_t begin = number * kBatch;
    if (begin >= count) return false;
    std::string bytes;
    for (size_t i = begin; i < std::min(begin + kBatch, count); ++i) {
      AppendField(1, one.For(first + i), &bytes);
    }
    *request = ToBuffer(bytes);
    return true;
  };
  load.reply = [&handles](uint64_t number, const grpc::ByteBuffer& reply) {
    return KeepHandles(reply, number * kBatch, handles);
  };
  const auto filled = client.Call(load, absl::Minutes(10));
  if (!filled.ok()) return filled.status();
  return handles;
}

}  // namespace muster::bench
