// Registries of the test's: it sees what is asked, and answers.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/lease/lease_transport.h"

namespace muster::client::testing {

class FakeLeaseTransport : public LeaseTransport {
 public:
  template <typename Request, typename Response>
  struct Call {
    Request request;
    absl::Duration within;
    LeaseSession::Done<Response> done;
  };
  struct Session {
    size_t server = 0;
    Callbacks callbacks;
    bool open = true;
    std::deque<v1::HeartbeatRequest> beats;  // of these, those that aren't taken yet
    std::deque<Call<v1::RegisterRequest, v1::RegisterResponse>> registers;
    std::deque<Call<v1::DeregisterRequest, v1::DeregisterResponse>> deregisters;
    std::deque<Call<v1::ReportHealthRequest, v1::ReportHealthResponse>> reports;
    std::deque<Call<v1::DrainRequest, v1::DrainResponse>> drains;

    void End(absl::Status status) const { callbacks.on_end(std::move(status)); }
  };

  explicit FakeLeaseTransport(size_t servers) : servers_(servers) {}
  size_t servers() const override { return servers_; }
  std::string address(size_t server) const override { return absl::StrCat("server-", server); }
  std::unique_ptr<LeaseSession> Open(size_t server, Callbacks callbacks) override {
    auto session = std::make_shared<Session>();
    session->server = server;
    session->callbacks = std::move(callbacks);
    sessions_.push_back(session);
    return std::make_unique<Handle>(std::move(session));
  }

  size_t sessions() const { return sessions_.size(); }
  Session& last() { return *sessions_.back(); }
  bool is_open() const { return !sessions_.empty() && sessions_.back()->open; }

 private:
  class Handle : public LeaseSession {
   public:
    explicit Handle(std::shared_ptr<Session> session) : session_(std::move(session)) {}
    ~Handle() override { session_->open = false; }
    void Beat(v1::HeartbeatRequest request) override {
      session_->beats.push_back(std::move(request));
    }
    void Register(const v1::RegisterRequest& request, absl::Duration within,
                  Done<v1::RegisterResponse> done) override {
      session_->registers.push_back({request, within, std::move(done)});
    }
    void Deregister(const v1::DeregisterRequest& request, absl::Duration within,
                    Done<v1::DeregisterResponse> done) override {
      session_->deregisters.push_back({request, within, std::move(done)});
    }
    void ReportHealth(const v1::ReportHealthRequest& request, absl::Duration within,
                      Done<v1::ReportHealthResponse> done) override {
      session_->reports.push_back({request, within, std::move(done)});
    }
    void Drain(const v1::DrainRequest& request, absl::Duration within,
               Done<v1::DrainResponse> done) override {
      session_->drains.push_back({request, within, std::move(done)});
    }

   private:
    const std::shared_ptr<Session> session_;
  };

  const size_t servers_;
  std::vector<std::shared_ptr<Session>> sessions_;
};

// A registry that took it: with a lease of 30 s.
inline v1::RegisterResponse Taken(const v1::RegisterRequest& request, uint64_t handle) {
  v1::RegisterResponse response;
  response.set_incarnation(handle);
  response.set_lease_handle(handle);
  response.mutable_ttl()->set_seconds(30);
  response.mutable_heartbeat_interval()->set_seconds(10);
  response.mutable_key()->set_namespace_("default");
  response.mutable_key()->set_service(request.instance().service());
  response.mutable_key()->set_id(request.instance().id());
  return response;
}

}  // namespace muster::client::testing
