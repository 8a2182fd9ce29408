// Many registrations at once on one connection of a real server: their answers come in a few
// packets, not in one each (server/rpc/corks.h).
#include <arpa/inet.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_unary_call.h>
#include <gtest/gtest.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

// Segments with data that this process has had on its connection to the port.
std::optional<uint32_t> SegmentsFrom(int port) {
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
  return std::nullopt;
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

// All of them have ended when it returns.
void RegisterAtOnce(Remote& remote, const std::vector<std::string>& ids) {
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<Call>> calls;
  for (const std::string& id : ids) {
    Call& call = *calls.emplace_back(std::make_unique<Call>());
    Remote::Prepare(call.context);
    call.reader = remote.registry->AsyncRegister(&call.context, RequestOf(id), &queue);
    call.reader->Finish(&call.response, &call.status, &call);
  }
  void* tag = nullptr;
  for (bool ok = false; !calls.empty() && queue.Next(&tag, &ok);) {
    const auto it = std::find_if(calls.begin(), calls.end(),
                                 [tag](const auto& call) { return call.get() == tag; });
    EXPECT_TRUE((*it)->status.ok()) << (*it)->status.error_message();
    calls.erase(it);
  }
  queue.Shutdown();
}

// gRPC's name of a connection, which the server finds its socket by, is another with each.
class GatheredAnswers : public testing::TestWithParam<const char*> {};

TEST_P(GatheredAnswers, OfOneGroupCommitComeTogether) {
  constexpr int kAtOnce = 64;
  constexpr int kRounds = 32;
  const TempDir dir;
  const Musterd server(dir.path("data"), {}, 0, 0, GetParam());
  Remote remote(server.address());
  RegisterAtOnce(remote, {"first"});
  const auto before = SegmentsFrom(server.port());
  ASSERT_TRUE(before.has_value());
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::string> ids;
    for (int i = 0; i < kAtOnce; ++i) ids.push_back(absl::StrCat(round, "-", i));
    RegisterAtOnce(remote, ids);
  }
  const auto after = SegmentsFrom(server.port());
  ASSERT_TRUE(after.has_value());
  EXPECT_LT(*after - *before, kAtOnce * kRounds / 3);
}

INSTANTIATE_TEST_SUITE_P(Loopback, GatheredAnswers, testing::Values("127.0.0.1", "[::1]"),
                         [](const auto& info) { return info.index == 0 ? "IPv4" : "IPv6"; });

}  // namespace
}  // namespace muster::test
