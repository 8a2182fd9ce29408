#include "fake_server.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <sstream>
#include <utility>

#include "base/clock.h"
#include "base/rng.h"
#include "client/cli/cli.h"
#include "client/cli/interrupt.h"
#include "client/endpoint_set.h"
#include "client/wire.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace muster::cli::testing {
namespace {

// Before the first thread of gRPC starts; and nothing from outside reaches the tests.
const bool kPrepared = [] {
  BlockSignals();
  for (const char* name :
       {"MUSTER_ADDR", "MUSTER_TOKEN", "MUSTER_CA", "MUSTER_CERT", "MUSTER_KEY", "NO_COLOR"}) {
    unsetenv(name);
  }
  return true;
}();

// Tells when the first line is complete.
class FirstLineBuffer : public std::stringbuf {
 public:
  explicit FirstLineBuffer(std::function<void()> told) : told_(std::move(told)) {}

 protected:
  int sync() override {
    if (auto told = std::exchange(told_, nullptr)) told();
    return std::stringbuf::sync();
  }

 private:
  std::function<void()> told_;
};

// A file on a full disk.
class BoundedBuffer : public std::stringbuf {
 public:
  explicit BoundedBuffer(size_t room) : room_(room) {}

 protected:
  std::streamsize xsputn(const char* text, std::streamsize size) override {
    if (static_cast<size_t>(size) > room_) return 0;
    room_ -= size;
    return std::stringbuf::xsputn(text, size);
  }
  int overflow(int c) override {
    if (room_ == 0) return traits_type::eof();
    --room_;
    return std::stringbuf::overflow(c);
  }

 private:
  size_t room_;
};

}  // namespace

grpc::Status Refused(grpc::StatusCode code, const std::string& reason, const std::string& message) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  status.add_details()->PackFrom(info);
  return {code, message, status.SerializeAsString()};
}

grpc::Status FakeRegistry::Heartbeat(grpc::ServerContext* context,
                                     const v1::HeartbeatRequest* request,
                                     v1::HeartbeatResponse* response) {
  if (!heartbeat) return Service::Heartbeat(context, request, response);
  const auto deadline =
      std::chrono::duration_cast<std::chrono::microseconds>(context->deadline().time_since_epoch());
  const int64_t patience_us = deadline.count() - base::RealClock().System().us;
  return heartbeat(*request, response, patience_us / 1000);
}

FakeServer::FakeServer(int port) {
  EXPECT_TRUE(kPrepared);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(),
                           &port_);
  builder.RegisterService(&discovery);
  builder.RegisterService(&registry);
  builder.RegisterService(&admin);
  server_ = builder.BuildAndStart();
  EXPECT_NE(server_, nullptr);
}

FakeServer::~FakeServer() {
  server_->Shutdown();
  server_->Wait();
}

std::string FakeServer::address() const { return "127.0.0.1:" + std::to_string(port_); }

namespace {

// A socket with a port of its own on loopback.
int Bound() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in loopback{};
  loopback.sin_family = AF_INET;
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&loopback), sizeof loopback), 0);
  return fd;
}

std::string AddressOf(int fd) {
  sockaddr_in bound{};
  socklen_t size = sizeof bound;
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size), 0);
  return "127.0.0.1:" + std::to_string(ntohs(bound.sin_port));
}

}  // namespace

std::string DeadAddress() {
  // It doesn't listen, and stays for as long as the process: a port that is given back may be
  // another test's server by the time that somebody connects.
  return AddressOf(Bound());
}

HungServer::HungServer() : fd_(Bound()) { EXPECT_EQ(listen(fd_, 8), 0); }

HungServer::~HungServer() { close(fd_); }

std::string HungServer::address() const { return AddressOf(fd_); }

Ran RunWords(const std::vector<std::string>& words, const RunOptions& options) {
  std::istringstream in(options.input);
  BoundedBuffer out_text(options.output_room);
  std::ostream out(&out_text);
  if (options.broken_output) out.setstate(std::ios::badbit);
  FirstLineBuffer err_text(options.on_first_error_line);
  std::ostream err(&err_text);
  base::SystemRng rng;
  Ran ran;
  const Stdio stdio{
      in, out, err, options.interactive, options.out_is_terminal, options.out_columns};
  ran.code = RunCli(words, stdio, base::RealClock(), rng);
  ran.out = out_text.str();
  ran.err = err_text.str();
  return ran;
}

Ran RunAt(const FakeServer& server, std::vector<std::string> words, const RunOptions& options) {
  words.insert(words.begin(), {"--addr", server.address()});
  return RunWords(words, options);
}

void SendInterrupt() { kill(getpid(), SIGINT); }

uint64_t EndpointHash(const v1::Endpoint& endpoint) {
  return client::EndpointHash(client::FromWire(endpoint));
}

v1::Endpoint MakeEndpoint(const std::string& id, uint64_t revision) {
  v1::Endpoint endpoint;
  endpoint.set_id(id);
  endpoint.set_address("10.0.0.1");
  endpoint.set_port(8080);
  endpoint.set_health(v1::PASSING);
  endpoint.set_state(v1::ACTIVE);
  endpoint.set_revision(revision);
  return endpoint;
}

v1::WatchResponse WholeSnapshot(uint64_t sub_id, const std::vector<v1::Endpoint>& endpoints,
                                uint64_t seq) {
  v1::WatchResponse event;
  event.set_sub_id(sub_id);
  auto* snapshot = event.mutable_snapshot();
  uint64_t checksum = 0;
  for (const auto& endpoint : endpoints) {
    *snapshot->add_endpoints() = endpoint;
    checksum += EndpointHash(endpoint);
  }
  snapshot->mutable_revision()->set_epoch(7);
  snapshot->mutable_revision()->set_seq(seq);
  snapshot->set_checksum(checksum);
  snapshot->set_complete(true);
  return event;
}

v1::WatchResponse Addition(uint64_t sub_id, const v1::Endpoint& endpoint, uint64_t before) {
  v1::WatchResponse event;
  event.set_sub_id(sub_id);
  *event.mutable_change()->add_upserted() = endpoint;
  event.mutable_change()->set_to_seq(endpoint.revision());
  event.mutable_change()->set_checksum(before + EndpointHash(endpoint));
  return event;
}

v1::Subscribe ReadSubscribe(WatchStream& stream) {
  v1::WatchRequest request;
  if (!stream.Read(&request)) return {};
  EXPECT_TRUE(request.has_subscribe()) << request.ShortDebugString();
  return request.subscribe();
}

}  // namespace muster::cli::testing
