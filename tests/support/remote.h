// A client of a real musterd for tests: blocking calls with deadlines, watches, and what the server
// says went wrong.
#pragma once

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "client/endpoint_set.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "muster/v1/admin.grpc.pb.h"
#include "muster/v1/discovery.grpc.pb.h"
#include "muster/v1/registry.grpc.pb.h"
#include "tests/support/process.h"

namespace muster::test {

inline std::string ReasonOf(const google::rpc::Status& details) {
  google::rpc::ErrorInfo info;
  if (details.details_size() == 0 || !details.details(0).UnpackTo(&info)) return "";
  return info.reason();
}
inline std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  return details.ParseFromString(status.error_details()) ? ReasonOf(details) : "";
}

inline std::shared_ptr<grpc::Channel> NewChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

class Remote {
 public:
  explicit Remote(const std::string& address)
      : channel(NewChannel(address)),
        registry(v1::Registry::NewStub(channel)),
        discovery(v1::Discovery::NewStub(channel)),
        admin(v1::Admin::NewStub(channel)) {}

  // Calls wait for the server to come (back) up.
  static void Prepare(grpc::ClientContext& context, absl::Duration timeout = absl::Seconds(20)) {
    context.set_wait_for_ready(true);
    context.set_deadline(absl::ToChronoTime(Now() + timeout));
  }

  grpc::Status Register(const v1::RegisterRequest& request, v1::RegisterResponse* response) {
    grpc::ClientContext context;
    Prepare(context);
    return registry->Register(&context, request, response);
  }
  grpc::Status Deregister(const v1::InstanceKey& key, uint64_t incarnation,
                          v1::DeregisterResponse* response) {
    grpc::ClientContext context;
    Prepare(context);
    v1::DeregisterRequest request;
    *request.mutable_key() = key;
    request.set_incarnation(incarnation);
    return registry->Deregister(&context, request, response);
  }
  grpc::Status Heartbeat(const v1::HeartbeatRequest& request, v1::HeartbeatResponse* response) {
    grpc::ClientContext context;
    Prepare(context);
    return registry->Heartbeat(&context, request, response);
  }
  grpc::Status Report(const v1::InstanceKey& key, uint64_t incarnation, const std::string& check,
                      v1::Health health, v1::ReportHealthResponse* response) {
    grpc::ClientContext context;
    Prepare(context);
    v1::ReportHealthRequest request;
    *request.mutable_key() = key;
    request.set_incarnation(incarnation);
    request.set_check_id(check);
    request.set_status(health);
    return registry->ReportHealth(&context, request, response);
  }
  // All pages. `selector` may be null.
  v1::DiscoverResponse Discover(const std::string& service,
                                const v1::Selector* selector = nullptr) {
    v1::DiscoverRequest request;
    request.set_service(service);
    if (selector != nullptr) *request.mutable_selector() = *selector;
    v1::DiscoverResponse all;
    do {
      grpc::ClientContext context;
      Prepare(context);
      v1::DiscoverResponse page;
      const grpc::Status status = discovery->Discover(&context, request, &page);
      EXPECT_TRUE(status.ok()) << status.error_message();
      if (!status.ok()) return all;
      request.set_page_token(page.next_page_token());
      all.MergeFrom(page);
    } while (!request.page_token().empty());
    return all;
  }
  v1::StatusResponse Status() {
    grpc::ClientContext context;
    Prepare(context);
    v1::StatusResponse response;
    const grpc::Status status = admin->Status(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Registry::Stub> registry;
  std::unique_ptr<v1::Discovery::Stub> discovery;
  std::unique_ptr<v1::Admin::Stub> admin;
};

// Follows one service, over restarts of the server, as a careful client does: resumes with what it
// holds and checks each checksum.
class Watcher {
 public:
  struct Seen {
    int snapshots = 0;  // complete ones
    int resets = 0;
    int changes = 0;
    uint64_t change_bytes = 0;
    int streams = 0;
    std::string problem;  // the first one
  };

  Watcher(std::string address, std::string service, v1::Selector selector = {})
      : address_(std::move(address)),
        service_(std::move(service)),
        selector_(std::move(selector)),
        thread_([this] { Run(); }) {}
  ~Watcher() { Stop(); }

  void Stop() {
    {
      base::MutexLock lock(mu_);
      stopped_ = true;
      if (context_ != nullptr) context_->TryCancel();
    }
    if (thread_.joinable()) thread_.join();
  }

  Seen seen() const {
    base::MutexLock lock(mu_);
    return seen_;
  }
  uint64_t checksum() const {
    base::MutexLock lock(mu_);
    return set_.checksum();
  }
  bool complete() const {
    base::MutexLock lock(mu_);
    return set_.resume().has_value();
  }
  std::vector<std::string> ids() const {
    base::MutexLock lock(mu_);
    std::vector<std::string> out;
    for (const auto& [id, unused] : members_) out.push_back(id);
    return out;
  }
  // What the present stream said to be held.
  std::vector<std::string> held() const {
    base::MutexLock lock(mu_);
    std::vector<std::string> out;
    for (const auto& [zone, ids] : held_) out.insert(out.end(), ids.begin(), ids.end());
    return out;
  }
  // When each id left.
  std::map<std::string, absl::Time> gone() const {
    base::MutexLock lock(mu_);
    return gone_;
  }

 private:
  void Run() {
    while (!stopped()) {
      const auto channel = NewChannel(address_);
      channel->WaitForConnected(absl::ToChronoTime(Now() + absl::Milliseconds(200)));
      grpc::ClientContext context;
      auto stub = v1::Discovery::NewStub(channel);
      {
        base::MutexLock lock(mu_);
        if (stopped_) return;
        context_ = &context;
        ++seen_.streams;
        set_.StreamEnded();
        held_.clear();
        held_goes_on_ = false;
      }
      Follow(*stub, context);
      base::MutexLock lock(mu_);
      context_ = nullptr;
    }
  }
  void Follow(v1::Discovery::Stub& stub, grpc::ClientContext& context) {
    auto stream = stub.Watch(&context);
    v1::WatchRequest request;
    auto* subscribe = request.mutable_subscribe();
    subscribe->set_sub_id(1);
    subscribe->set_service(service_);
    *subscribe->mutable_selector() = selector_;
    {
      base::MutexLock lock(mu_);
      if (const auto resume = set_.resume()) *subscribe->mutable_resume() = *resume;
    }
    if (stream->Write(request)) {
      v1::WatchResponse event;
      while (stream->Read(&event)) Apply(event);
    }
    (void)stream->Finish();
  }
  void Apply(const v1::WatchResponse& event) {
    base::MutexLock lock(mu_);
    if (event.has_reset()) ++seen_.resets;
    if (event.has_snapshot() && event.snapshot().complete()) ++seen_.snapshots;
    if (event.has_change()) {
      ++seen_.changes;
      seen_.change_bytes += event.ByteSizeLong();
    }
    if (event.has_held()) ApplyHeld(event.held());
    if (event.has_error() && seen_.problem.empty()) seen_.problem = event.error().message();
    const auto applied = set_.Apply(event);
    if (!applied.problem.empty() && seen_.problem.empty()) seen_.problem = applied.problem;
    for (const auto& line : applied.lines) {
      if (line.sign == '-') {
        members_.erase(line.endpoint->id);
        gone_[line.endpoint->id] = Now();
      } else {
        members_[line.endpoint->id] = true;
      }
    }
  }
  void ApplyHeld(const v1::Held& held) MUSTER_REQUIRES(mu_) {
    std::vector<std::string>& ids = held_[held.zone()];
    if (!held_goes_on_) ids.clear();
    for (const auto& key : held.keys()) ids.push_back(key.id());
    held_goes_on_ = held.more();
  }
  bool stopped() const {
    base::MutexLock lock(mu_);
    return stopped_;
  }

  const std::string address_;
  const std::string service_;
  const v1::Selector selector_;
  mutable base::Mutex mu_;
  bool stopped_ MUSTER_GUARDED_BY(mu_) = false;
  grpc::ClientContext* context_ MUSTER_GUARDED_BY(mu_) = nullptr;
  client::EndpointSet set_ MUSTER_GUARDED_BY(mu_);
  std::map<std::string, bool> members_ MUSTER_GUARDED_BY(mu_);
  std::map<std::string, absl::Time> gone_ MUSTER_GUARDED_BY(mu_);
  std::map<std::string, std::vector<std::string>> held_ MUSTER_GUARDED_BY(mu_);  // by zone
  bool held_goes_on_ MUSTER_GUARDED_BY(mu_) = false;
  Seen seen_ MUSTER_GUARDED_BY(mu_);
  std::thread thread_;
};

// Waits until `done`, looking often. False after `timeout`.
template <typename Done>
bool Eventually(Done done, absl::Duration timeout = absl::Seconds(20)) {
  const absl::Time deadline = Now() + timeout;
  while (!done()) {
    if (Now() >= deadline) return false;
    Pause(absl::Milliseconds(10));
  }
  return true;
}

}  // namespace muster::test
