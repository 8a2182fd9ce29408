// Clients that write without pause and keep books of it, for tests: what a server has to hold at
// any revision of the past. Each writer's keys are its own; a failure of the test stops it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/remote.h"

namespace muster::test {

inline constexpr int kServices = 3;
inline constexpr int kTtlSeconds = 600;

inline std::string ServiceName(int service) { return absl::StrCat("svc-", service); }

inline v1::Selector Everybody() {
  v1::Selector selector;
  selector.set_min_health(v1::Selector::ANY);
  return selector;
}

// What clients are to see of one instance, whose `revision` the server gives.
inline v1::Endpoint MakeEndpoint(const std::string& id, uint32_t port, size_t bytes) {
  v1::Endpoint endpoint;
  endpoint.set_id(id);
  endpoint.set_address("10.0.0.1");
  endpoint.set_port(port);
  endpoint.add_tags(absl::StrCat("t-", port % 7));
  for (size_t i = 0; i * 500 < bytes; ++i) {
    (*endpoint.mutable_metadata())[absl::StrCat("m-", i)] =
        std::string(std::min<size_t>(500, bytes - i * 500), static_cast<char>('a' + port % 26));
  }
  endpoint.mutable_weight()->set_passing(1 + port % 9);
  endpoint.mutable_weight()->set_warning(1);
  endpoint.set_health(v1::PASSING);
  endpoint.set_state(v1::ACTIVE);
  return endpoint;
}

inline v1::RegisterRequest MakeRequest(int service, const v1::Endpoint& endpoint,
                                       const std::string& life) {
  v1::RegisterRequest request;
  v1::Instance* instance = request.mutable_instance();
  instance->set_service(ServiceName(service));
  instance->set_id(endpoint.id());
  instance->set_address(endpoint.address());
  instance->set_port(endpoint.port());
  *instance->mutable_tags() = endpoint.tags();
  *instance->mutable_metadata() = endpoint.metadata();
  *instance->mutable_weight() = endpoint.weight();
  v1::Check* check = instance->add_checks();
  check->set_id("c");
  check->mutable_ttl()->mutable_ttl()->set_seconds(3600);
  check->set_initial_status(v1::PASSING);
  request.set_life_id(life);
  request.mutable_ttl()->set_seconds(kTtlSeconds);
  return request;
}

using State = std::map<std::string, std::string>;  // service/id -> endpoint as text

inline State Fresh(Remote& remote) {
  State state;
  const v1::Selector everybody = Everybody();
  for (int service = 0; service < kServices; ++service) {
    const v1::DiscoverResponse found = remote.Discover(ServiceName(service), &everybody);
    for (const v1::Endpoint& endpoint : found.endpoints()) {
      state[absl::StrCat(ServiceName(service), "/", endpoint.id())] = endpoint.DebugString();
    }
  }
  return state;
}

// "" = none, else the first of them.
inline std::string Difference(const State& expected, const State& found) {
  for (const auto& [key, endpoint] : expected) {
    const auto it = found.find(key);
    if (it == found.end()) return key + " is missing";
    if (it->second != endpoint) return key + " is " + it->second + ", expected " + endpoint;
  }
  for (const auto& [key, unused] : found) {
    if (!expected.contains(key)) return key + " should not be there";
  }
  return "";
}

// A client that is the only one to write its keys, and knows what each of its writes did.
class Writer {
 public:
  struct Write {
    uint64_t seq = 0;
    uint64_t incarnation = 0;
    std::optional<v1::Endpoint> endpoint;  // nullopt = gone
  };

  Writer(const std::string& address, int number, int keys)
      : remote_(address), number_(number), random_(static_cast<uint32_t>(number)) {
    v1::BatchRegisterRequest batch;
    for (int i = 0; i < keys; ++i) {
      const int service = i % kServices;
      const v1::Endpoint endpoint = NewEndpoint(absl::StrCat("w", number, "-", i));
      keys_.push_back({service, endpoint.id(), NewLife(), {}});
      *batch.add_requests() = MakeRequest(service, endpoint, keys_.back().life);
      keys_.back().history.push_back({0, 0, endpoint});
    }
    v1::BatchRegisterResponse response;
    grpc::ClientContext context;
    Remote::Prepare(context);
    EXPECT_TRUE(remote_.registry->BatchRegister(&context, batch, &response).ok());
    for (int i = 0; i < response.results_size(); ++i) {
      EXPECT_EQ(response.results(i).status().code(), 0);
      // A new key's incarnation is the seq of its registration.
      const uint64_t seq = response.results(i).response().incarnation();
      v1::Endpoint endpoint = *keys_[static_cast<size_t>(i)].history[0].endpoint;
      endpoint.set_revision(seq);
      keys_[static_cast<size_t>(i)].history[0] = {seq, seq, endpoint};
    }
    thread_ = std::thread([this] {
      while (!stopped_ && !testing::Test::HasFailure()) WriteOne();
    });
  }
  ~Writer() { Stop(); }

  int written() const { return written_; }
  void Stop() {
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
  }

  // REQUIRES: stopped. What each key was at `seq`, and the lives.
  void AddStateAt(uint64_t seq, State* state, std::map<std::string, uint64_t>* lives) const {
    for (const Key& key : keys_) {
      const Write* last = nullptr;
      for (const Write& write : key.history) {
        if (write.seq <= seq) last = &write;
      }
      if (last == nullptr || !last->endpoint) continue;
      (*state)[absl::StrCat(ServiceName(key.service), "/", key.id)] = last->endpoint->DebugString();
      (*lives)[key.id] = last->incarnation;
    }
  }
  // Lives that began after `seq`.
  void AddLater(uint64_t seq, v1::HeartbeatRequest* beat) const {
    for (const Key& key : keys_) {
      for (const Write& write : key.history) {
        if (write.incarnation > seq && write.endpoint) beat->add_lease_handles(write.incarnation);
      }
    }
  }

 private:
  struct Key {
    int service;
    std::string id;
    std::string life;
    std::vector<Write> history;
  };

  v1::Endpoint NewEndpoint(const std::string& id) {
    return MakeEndpoint(id, static_cast<uint32_t>(++ports_ % 65'000 + 1), 1200);
  }
  std::string NewLife() {
    std::string life = absl::StrCat(number_, ".", ++lives_);
    life.resize(16, '.');
    return life;
  }
  void WriteOne() {
    Key& key = keys_[random_() % keys_.size()];
    const Write now = key.history.back();
    const uint32_t kind = random_() % 4;
    if (!now.endpoint || kind <= 1) {
      if (!now.endpoint || kind == 0) key.life = NewLife();
      v1::Endpoint endpoint = NewEndpoint(key.id);
      if (now.endpoint) endpoint.set_health(now.endpoint->health());
      v1::RegisterResponse response;
      const grpc::Status status =
          remote_.Register(MakeRequest(key.service, endpoint, key.life), &response);
      Record(key, status, response.incarnation(), endpoint);
    } else if (kind == 2) {
      v1::Endpoint endpoint = *now.endpoint;
      endpoint.set_health(static_cast<v1::Health>(endpoint.health() % 3 + 1));
      v1::ReportHealthResponse response;
      const grpc::Status status =
          remote_.Report(KeyOf(key), now.incarnation, "c", endpoint.health(), &response);
      Record(key, status, now.incarnation, endpoint);
    } else {
      v1::DeregisterResponse response;
      const grpc::Status status = remote_.Deregister(KeyOf(key), now.incarnation, &response);
      EXPECT_TRUE(status.ok()) << status.error_message();
      key.history.push_back({response.revision().seq(), 0, std::nullopt});
    }
    ++written_;
  }
  // The answer's revision may be a later one: the exact one is asked for.
  void Record(Key& key, const grpc::Status& status, uint64_t incarnation, v1::Endpoint endpoint) {
    EXPECT_TRUE(status.ok()) << status.error_message();
    grpc::ClientContext context;
    Remote::Prepare(context);
    v1::DescribeInstanceRequest request;
    *request.mutable_key() = KeyOf(key);
    v1::DescribeInstanceResponse described;
    EXPECT_TRUE(remote_.discovery->DescribeInstance(&context, request, &described).ok());
    endpoint.set_revision(described.visible_seq());
    EXPECT_GT(described.visible_seq(), key.history.back().seq);
    key.history.push_back({described.visible_seq(), incarnation, endpoint});
  }
  static v1::InstanceKey KeyOf(const Key& key) {
    v1::InstanceKey out;
    out.set_service(ServiceName(key.service));
    out.set_id(key.id);
    return out;
  }

  Remote remote_;
  const int number_;
  std::mt19937 random_;
  int ports_ = 0;
  int lives_ = 0;
  std::vector<Key> keys_;
  std::atomic<int> written_ = 0;
  std::atomic<bool> stopped_ = false;
  std::thread thread_;
};

// Follows the first service from where `set` is until it is whole; gives the resets' reasons.
inline std::vector<int> Follow(const std::string& address, client::EndpointSet& set) {
  std::vector<int> resets;
  Remote remote(address);
  grpc::ClientContext context;
  Remote::Prepare(context);
  const auto stream = remote.discovery->Watch(&context);
  v1::WatchRequest request;
  request.mutable_subscribe()->set_service(ServiceName(0));
  *request.mutable_subscribe()->mutable_selector() = Everybody();
  if (const auto resume = set.resume()) *request.mutable_subscribe()->mutable_resume() = *resume;
  EXPECT_TRUE(stream->Write(request));
  v1::WatchResponse event;
  bool complete = false;
  while (!complete && stream->Read(&event)) {
    if (event.has_reset()) resets.push_back(event.reset().reason());
    const auto applied = set.Apply(event);
    EXPECT_EQ(applied.problem, "");
    complete = applied.complete;
  }
  EXPECT_TRUE(complete);
  context.TryCancel();
  (void)stream->Finish();
  return resets;
}

}  // namespace muster::test
