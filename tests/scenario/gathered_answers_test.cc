// Many registrations at once on one connection of a real server: their answers come in a few
// packets, not in one each (server/rpc/corks.h).
#include <arpa/inet.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_unary_call.h>
#include <gtest/gtest.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
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

TEST(GatheredAnswers, OfOneGroupCommitComeTogether) {
  constexpr int kAtOnce = 64;
  constexpr int kRounds = 32;
  const TempDir dir;
  const Musterd server(dir.path("data"));
  Remote remote(server.address());
  int port = 0;
  ASSERT_TRUE(absl::SimpleAtoi(server.address().substr(server.address().rfind(':') + 1), &port));
  v1::RegisterRequest request;
  request.mutable_instance()->set_service("web");
  request.mutable_instance()->set_address("10.0.0.1");
  request.mutable_instance()->set_id("first");
  v1::RegisterResponse first;
  ASSERT_TRUE(remote.Register(request, &first).ok());
  const auto before = SegmentsFrom(port);
  ASSERT_TRUE(before.has_value());

  struct Call {
    grpc::ClientContext context;
    v1::RegisterResponse response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::RegisterResponse>> reader;
  };
  grpc::CompletionQueue queue;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::unique_ptr<Call>> calls;
    for (int i = 0; i < kAtOnce; ++i) {
      Call& call = *calls.emplace_back(std::make_unique<Call>());
      Remote::Prepare(call.context);
      request.mutable_instance()->set_id(absl::StrCat(round, "-", i));
      call.reader = remote.registry->AsyncRegister(&call.context, request, &queue);
      call.reader->Finish(&call.response, &call.status, &call);
    }
    for (int i = 0; i < kAtOnce; ++i) {
      void* tag = nullptr;
      bool ok = false;
      ASSERT_TRUE(queue.Next(&tag, &ok));
    }
    for (const auto& call : calls) EXPECT_TRUE(call->status.ok()) << call->status.error_message();
  }
  queue.Shutdown();
  const auto after = SegmentsFrom(port);
  ASSERT_TRUE(after.has_value());
  EXPECT_LT(*after - *before, kAtOnce * kRounds / 3);
}

}  // namespace
}  // namespace muster::test
