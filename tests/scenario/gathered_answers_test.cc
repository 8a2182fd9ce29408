// Many registrations at once on one connection of a real server: their answers come in a few
// packets, not in one each (server/rpc/corks.h).
#include <arpa/inet.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_unary_call.h>
#include <gtest/gtest.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

// Segments with data that this process has had on its connection to the port.
uint32_t SegmentsFrom(int port) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    int fd = -1;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &fd)) continue;
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) continue;
    if (address.ss_family != AF_INET && address.ss_family != AF_INET6) continue;
    // At the same place in both.
    if (ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port) != port) continue;
    tcp_info info{};
    size = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) continue;
    return info.tcpi_data_segs_in;
  }
  ADD_FAILURE() << "there is no connection to port " << port;
  return 0;
}

struct Call {
  grpc::ClientContext context;
  v1::RegisterResponse response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::RegisterResponse>> reader;
};

v1::RegisterRequest RequestOf(const std::string& id) {
  v1::RegisterRequest request;
  request.mutable_instance()->set_service("web");
  request.mutable_instance()->set_address("10.0.0.1");
  request.mutable_instance()->set_id(id);
  return request;
}

// A thread of another process that stands still while this lives.
class Halted {
 public:
  // By its name.
  Halted(pid_t process, const std::string& thread) {
    const std::string tasks = absl::StrCat("/proc/", process, "/task");
    for (const auto& entry : std::filesystem::directory_iterator(tasks)) {
      std::string name;
      std::getline(std::ifstream(entry.path() / "comm"), name);
      if (name == thread && absl::SimpleAtoi(entry.path().filename().string(), &id_)) break;
    }
    AwaitRest(absl::StrCat(tasks, "/", id_, "/stat"));
    if (ptrace(PTRACE_SEIZE, id_, nullptr, nullptr) == 0 &&
        ptrace(PTRACE_INTERRUPT, id_, nullptr, nullptr) == 0 &&
        waitpid(id_, nullptr, __WALL) == id_) {
      return;
    }
    ADD_FAILURE() << thread << " can't be halted: " << std::strerror(errno);
  }
  ~Halted() { EXPECT_EQ(ptrace(PTRACE_DETACH, id_, nullptr, nullptr), 0) << std::strerror(errno); }
  Halted(const Halted&) = delete;
  Halted& operator=(const Halted&) = delete;

 private:
  // It sleeps, and has slept for a while: it waits for work and holds nothing that others wait for.
  static void AwaitRest(const std::string& stat) {
    const absl::Time end = Now() + absl::Seconds(10);
    for (int asleep = 0; asleep < 5 && Now() < end; absl::SleepFor(absl::Milliseconds(1))) {
      std::string line;
      std::getline(std::ifstream(stat), line);
      const size_t after_name = line.rfind(") ");
      const bool sleeps = after_name != std::string::npos && line[after_name + 2] == 'S';
      asleep = sleeps ? asleep + 1 : 0;
    }
  }

  pid_t id_ = 0;
};

uint64_t WaitingWrites(Remote& remote) {
  grpc::ClientContext context;
  Remote::Prepare(context);
  v1::StatusResponse status;
  const grpc::Status called = remote.admin->Status(&context, {}, &status);
  EXPECT_TRUE(called.ok()) << called.error_message();
  for (const v1::Limit& limit : status.limits()) {
    if (limit.name() == "limits.write_queue") return limit.used();
  }
  ADD_FAILURE() << "Status doesn't say how many writes wait";
  return 0;
}

// All in one group commit, or nearly. Returns how many segments the answers came in, when all of
// them have.
uint32_t RegisterAtOnce(const Musterd& server, Remote& remote,
                        const std::vector<std::string>& ids) {
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<Call>> calls;
  uint32_t before = 0;
  {
    const Halted strand(server.pid(), "muster-strand");
    for (const std::string& id : ids) {
      Call& call = *calls.emplace_back(std::make_unique<Call>());
      Remote::Prepare(call.context);
      call.reader = remote.registry->AsyncRegister(&call.context, RequestOf(id), &queue);
      call.reader->Finish(&call.response, &call.status, &call);
    }
    const absl::Time end = Now() + absl::Seconds(20);
    while (WaitingWrites(remote) < ids.size() && Now() < end) absl::SleepFor(absl::Milliseconds(1));
    before = SegmentsFrom(server.port());
  }
  void* tag = nullptr;
  for (bool ok = false; !calls.empty() && queue.Next(&tag, &ok);) {
    const auto it = std::find_if(calls.begin(), calls.end(),
                                 [tag](const auto& call) { return call.get() == tag; });
    EXPECT_TRUE((*it)->status.ok()) << (*it)->status.error_message();
    calls.erase(it);
  }
  queue.Shutdown();
  return SegmentsFrom(server.port()) - before;
}

// gRPC's name of a connection, which the server finds its socket by, is another with each.
class GatheredAnswers : public testing::TestWithParam<const char*> {};

TEST_P(GatheredAnswers, OfOneGroupCommitComeTogether) {
  constexpr uint32_t kAtOnce = 64;
  constexpr uint32_t kRounds = 32;
  const TempDir dir;
  const Musterd server(dir.path("data"), {}, 0, 0, GetParam());
  Remote remote(server.address());
  EXPECT_EQ(WaitingWrites(remote), 0u);  // and a connection
  uint32_t segments = 0;
  for (uint32_t round = 0; round < kRounds; ++round) {
    std::vector<std::string> ids;
    for (uint32_t i = 0; i < kAtOnce; ++i) ids.push_back(absl::StrCat(round, "-", i));
    segments += RegisterAtOnce(server, remote, ids);
  }
  EXPECT_LT(segments, kAtOnce * kRounds / 8);
}

INSTANTIATE_TEST_SUITE_P(Loopback, GatheredAnswers, testing::Values("127.0.0.1", "[::1]"),
                         [](const auto& info) { return info.index == 0 ? "IPv4" : "IPv6"; });

}  // namespace
}  // namespace muster::test
