// What a broken or hostile client does to a server, for tests: bare TCP connections, messages that
// are none, and what an error has to say. Each object belongs to one thread.
#pragma once

#include <arpa/inet.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <random>
#include <string>

#include "absl/strings/match.h"
#include "tests/support/remote.h"

namespace muster::test {

// The same bytes for the same seed.
inline std::string RandomBytes(uint32_t seed, size_t size) {
  std::mt19937 random(seed);
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

// A TCP connection to loopback, without gRPC.
class RawPeer {
 public:
  explicit RawPeer(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ~RawPeer() { close(fd_); }
  RawPeer(const RawPeer&) = delete;

  void Send(const std::string& bytes) const {
    // What the server no longer takes is no matter: it may have hung up.
    [[maybe_unused]] const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // Whether the server has ended the connection by now. Throws away what it said.
  bool Ended() const {
    char bytes[4096];
    ssize_t got = 0;
    while ((got = recv(fd_, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
    }
    return got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
  }
  // The server ended the connection. What it said before goes to `said`.
  bool HungUp(std::string* said = nullptr, absl::Duration timeout = absl::Seconds(20)) const {
    const absl::Time deadline = Now() + timeout;
    while (Now() < deadline) {
      pollfd ready{fd_, POLLIN, 0};
      if (poll(&ready, 1, 100) <= 0) continue;
      char bytes[4096];
      const ssize_t got = recv(fd_, bytes, sizeof(bytes), 0);
      if (got <= 0) return true;
      if (said != nullptr) said->append(bytes, static_cast<size_t>(got));
    }
    return false;
  }

 private:
  const int fd_;
};

// Sends `bytes` as the only message of a call, whatever they are, and waits for its end.
inline grpc::Status RawCall(const std::shared_ptr<grpc::Channel>& channel,
                            const std::string& method, const std::string& bytes,
                            grpc_compression_algorithm compression = GRPC_COMPRESS_NONE) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_compression_algorithm(compression);
  Remote::Prepare(context);
  grpc::CompletionQueue queue;
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  const auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(nullptr);
  next();
  const grpc::Slice slice(bytes);
  call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
  next();
  grpc::ByteBuffer answer;
  do {
    call->Read(&answer, nullptr);
  } while (next());
  grpc::Status status;
  call->Finish(&status, nullptr);
  next();
  queue.Shutdown();
  while (next()) {
  }
  return status;
}

// What an error has to be. An empty part is not looked at.
struct Wanted {
  grpc::StatusCode code;
  std::string reason;
  std::string field;    // path, as in BadRequest
  std::string message;  // a part of it
};

inline std::string FieldOf(const google::rpc::Status& details) {
  for (const auto& any : details.details()) {
    google::rpc::BadRequest bad;
    if (any.UnpackTo(&bad) && bad.field_violations_size() > 0) {
      return bad.field_violations(0).field();
    }
  }
  return "";
}

inline void ExpectError(const google::rpc::Status& error, const Wanted& wanted,
                        const std::string& what) {
  EXPECT_EQ(error.code(), wanted.code) << what << ": " << error.message();
  EXPECT_EQ(ReasonOf(error), wanted.reason) << what << ": " << error.message();
  EXPECT_EQ(FieldOf(error), wanted.field) << what << ": " << error.message();
  EXPECT_TRUE(absl::StrContains(error.message(), wanted.message))
      << what << ": " << error.message();
  for (const char c : error.message()) {
    EXPECT_TRUE(static_cast<uint8_t>(c) >= 0x20 && c != 0x7F) << what << ": not for a terminal";
  }
}

inline void ExpectError(const grpc::Status& status, const Wanted& wanted, const std::string& what) {
  google::rpc::Status error;
  error.ParseFromString(status.error_details());
  error.set_code(status.error_code());
  error.set_message(status.error_message());
  ExpectError(error, wanted, what);
}

}  // namespace muster::test
