// A service that leaves as one should: on SIGTERM it drains, answers what is still on its way,
// closes, and ends.
//
// usage: leaving_process REGISTRY SERVICE ID PORT (lines|grpc) DRAIN_MS MOMENT_MS
//
// lines: a connection may make one request after the other, a line, which is answered by the
// service's id. grpc: grpc.health.v1. DRAIN_MS 0: it deregisters, and closes at once. MOMENT_MS:
// it serves for so long after it has drained, since a call that was chosen before may still be on
// its way. Prints "listening PORT", "held" when it is registered, and "drained ELIGIBLE ACKED" or
// "not drained".
#include <arpa/inet.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "muster/client/client.h"

namespace {

using muster::client::Client;
using muster::client::RegistrationStatus;

// What a request takes.
constexpr absl::Duration kWork = absl::Milliseconds(2);
constexpr int kLookMs = 5;

class Server {
 public:
  virtual ~Server() = default;
  virtual uint16_t port() const = 0;
  // Takes no more connections; what was asked is answered.
  virtual void Close() = 0;

 protected:
  static void Work() { absl::SleepFor(kWork); }
};

class Lines : public Server {
 public:
  Lines(std::string id, uint16_t port) : answer_(std::move(id) + "\n") {
    const int on = 1;
    setsockopt(listening_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons(port);
    socklen_t size = sizeof at;
    if (bind(listening_, reinterpret_cast<sockaddr*>(&at), size) != 0 ||
        listen(listening_, 1'000) != 0 ||
        getsockname(listening_, reinterpret_cast<sockaddr*>(&at), &size) != 0) {
      _exit(1);
    }
    port_ = ntohs(at.sin_port);
    accepting_ = std::thread([this] { Accept(); });
  }

  uint16_t port() const override { return port_; }
  void Close() override {
    closing_ = true;
    accepting_.join();
    close(listening_);
    for (std::thread& one : connections_) one.join();
  }

 private:
  void Accept() {
    for (;;) {
      // Before the look: whoever has connected until then is answered.
      const bool closing = closing_;
      const int one = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
      if (one >= 0) {
        const int on = 1;
        setsockopt(one, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections_.emplace_back([this, one] { Serve(one); });
      } else if (closing) {
        return;
      } else {
        pollfd more{listening_, POLLIN, 0};
        poll(&more, 1, kLookMs);
      }
    }
  }

  void Serve(int fd) {
    for (;;) {
      const bool closing = closing_;
      pollfd readable{fd, POLLIN, 0};
      if (poll(&readable, 1, kLookMs) == 0) {
        if (closing) break;
        continue;
      }
      char buffer[64];
      if (read(fd, buffer, sizeof buffer) <= 0) break;
      Work();
      send(fd, answer_.data(), answer_.size(), MSG_NOSIGNAL);
    }
    close(fd);
  }

  const std::string answer_;
  const int listening_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  uint16_t port_ = 0;
  std::atomic<bool> closing_{false};
  std::thread accepting_;
  std::vector<std::thread> connections_;  // of the thread that accepts
};

class Grpc : public Server, private grpc::health::v1::Health::Service {
 public:
  explicit Grpc(uint16_t port) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) _exit(1);
  }
  uint16_t port() const override { return static_cast<uint16_t>(port_); }
  void Close() override {
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
  }

 private:
  grpc::Status Check(grpc::ServerContext* /*context*/,
                     const grpc::health::v1::HealthCheckRequest* /*request*/,
                     grpc::health::v1::HealthCheckResponse* response) override {
    Work();
    response->set_status(grpc::health::v1::HealthCheckResponse::SERVING);
    return grpc::Status::OK;
  }

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

int Main(const std::vector<std::string>& arguments) {
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &term, nullptr);
  const auto port = static_cast<uint16_t>(std::atoi(arguments[3].c_str()));
  std::unique_ptr<Server> server;
  if (arguments[4] == "grpc") {
    server = std::make_unique<Grpc>(port);
  } else {
    server = std::make_unique<Lines>(arguments[2], port);
  }
  const absl::Duration drain = absl::Milliseconds(std::atoi(arguments[5].c_str()));
  const absl::Duration moment = absl::Milliseconds(std::atoi(arguments[6].c_str()));
  std::cout << "listening " << server->port() << std::endl;
  const auto client = Client::Create({.servers = {arguments[0]}, .snapshot = false});
  if (!client.ok()) return 2;
  const auto registration = client->Register(
      {.service = arguments[1], .address = {"127.0.0.1", server->port()}, .id = arguments[2]},
      {.on_change = [](const RegistrationStatus& status) {
        if (status.state == RegistrationStatus::State::kHeld) std::cout << "held" << std::endl;
      }});
  if (!registration.ok()) return 2;
  int signal = 0;
  sigwait(&term, &signal);
  if (drain > absl::ZeroDuration()) {
    const auto drained = (*registration)->Drain(drain);
    if (!drained.ok()) {
      std::cout << "not drained: " << drained.status() << std::endl;
      return 3;
    }
    std::cout << "drained " << drained->eligible << " " << drained->acked << std::endl;
    absl::SleepFor(moment);
  } else {
    (*registration)->Deregister(absl::Seconds(5)).IgnoreError();
    std::cout << "not drained" << std::endl;
  }
  server->Close();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) return 2;
  return Main({argv + 1, argv + argc});
}
