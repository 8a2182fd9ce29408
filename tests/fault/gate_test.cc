// Watchers and lease streams over bad networks: bytes in slices, delays, stalls, cuts.
#include <gtest/gtest.h>

#include <iostream>
#include <random>

#include "tests/fault/tcp_gate.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

v1::RegisterRequest Instance(const std::string& service, const std::string& id, int port) {
  v1::RegisterRequest request;
  request.mutable_instance()->set_service(service);
  request.mutable_instance()->set_id(id);
  request.mutable_instance()->set_address("10.0.0.1");
  request.mutable_instance()->set_port(static_cast<uint32_t>(port));
  request.set_permanent(true);
  return request;
}

class GateTest : public testing::Test {
 protected:
  void Register(const std::string& id, int port) {
    v1::RegisterResponse response;
    const grpc::Status status = direct_.Register(Instance("web", id, port), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  void Deregister(const std::string& id) {
    v1::InstanceKey key;
    key.set_service("web");
    key.set_id(id);
    v1::DeregisterResponse response;
    EXPECT_TRUE(direct_.Deregister(key, 0, &response).ok());
  }
  // What a client at the gate holds in the end is what one without a gate holds.
  void ExpectSame(Watcher& watcher) {
    Watcher fresh(server_.address(), "web");
    ASSERT_TRUE(Eventually([&] { return fresh.complete(); }));
    EXPECT_TRUE(Eventually([&] {
      return watcher.complete() && watcher.checksum() == fresh.checksum() &&
             watcher.ids() == fresh.ids();
    })) << watcher.ids().size()
        << " of " << fresh.ids().size();
    EXPECT_EQ(watcher.seen().problem, "");
  }

  TempDir dir_;
  Musterd server_{dir_.path("data")};
  Remote direct_{server_.address()};
  TcpGate gate_{server_.port()};
};

TEST_F(GateTest, SlicedBytesChangeNothing) {
  gate_.SetSpoil({.slice_bytes = 7});
  for (int i = 0; i < 20; ++i) Register(absl::StrCat("i", i), 80);
  Watcher watcher(gate_.address(), "web");
  ASSERT_TRUE(Eventually([&] { return watcher.complete(); }));
  for (int i = 0; i < 20; ++i) Register(absl::StrCat("i", i), 81 + i);
  for (int i = 0; i < 5; ++i) Deregister(absl::StrCat("i", i));
  ExpectSame(watcher);
  EXPECT_EQ(watcher.seen().streams, 1);
  EXPECT_EQ(watcher.seen().resets, 0);
}

TEST_F(GateTest, ADelayedWatcherCatchesUp) {
  // The test clients give a connection 50 ms to come about.
  gate_.SetSpoil({.delay = absl::Milliseconds(20)});
  Watcher watcher(gate_.address(), "web");
  for (int i = 0; i < 30; ++i) Register(absl::StrCat("i", i % 7), 80 + i);
  ExpectSame(watcher);
}

TEST_F(GateTest, AStalledWatcherCatchesUpOnItsStream) {
  Register("i0", 80);
  Watcher watcher(gate_.address(), "web");
  ASSERT_TRUE(Eventually([&] { return watcher.complete(); }));
  gate_.Stall(true);
  for (int i = 0; i < 300; ++i) Register(absl::StrCat("i", i % 40), 80 + i);
  Deregister("i0");
  Pause(absl::Milliseconds(300));
  EXPECT_EQ(watcher.ids().size(), 1u) << "nothing passes";
  gate_.Stall(false);
  ExpectSame(watcher);
  EXPECT_EQ(watcher.seen().streams, 1);
}

TEST_F(GateTest, ACutWatcherResumes) {
  for (int i = 0; i < 10; ++i) Register(absl::StrCat("i", i), 80);
  Watcher watcher(gate_.address(), "web");
  ASSERT_TRUE(Eventually([&] { return watcher.complete(); }));
  for (int round = 0; round < 5; ++round) {
    const int streams = watcher.seen().streams;
    gate_.Refuse(true);
    gate_.Cut();
    Register(absl::StrCat("i", round), 90 + round);
    Deregister(absl::StrCat("i", 9 - round));
    gate_.Refuse(false);
    ASSERT_TRUE(Eventually([&] { return watcher.seen().streams > streams; }));
    ExpectSame(watcher);
  }
  EXPECT_EQ(watcher.seen().resets, 0) << "each time from where it was";
  EXPECT_EQ(watcher.seen().snapshots, 1);
}

TEST_F(GateTest, ASnapshotThatIsCutHalfwayIsNotTaken) {
  for (int i = 0; i < 200; ++i) Register(absl::StrCat("i", i), 80);
  gate_.SetSpoil({.cut_after_bytes = 4'000});
  Watcher watcher(gate_.address(), "web");
  ASSERT_TRUE(Eventually([&] { return watcher.seen().streams >= 4; }));
  EXPECT_FALSE(watcher.complete());
  EXPECT_EQ(watcher.seen().problem, "");
  gate_.SetSpoil({});
  gate_.Cut();
  ExpectSame(watcher);
}

TEST_F(GateTest, RandomHistories) {
  const uint32_t seed = std::random_device()();
  std::cout << "seed " << seed << std::endl;
  std::mt19937 random(seed);
  std::vector<std::unique_ptr<Watcher>> watchers;
  for (int i = 0; i < 4; ++i) watchers.push_back(std::make_unique<Watcher>(gate_.address(), "web"));
  for (int step = 0; step < 60; ++step) {
    switch (random() % 5) {
      case 0:
        gate_.SetSpoil({.slice_bytes = 1 + random() % 40});
        break;
      case 1:
        gate_.SetSpoil({.delay = absl::Milliseconds(random() % 40)});
        break;
      case 2:
        gate_.SetSpoil({.cut_after_bytes = 300 + random() % 4000});
        break;
      case 3:
        gate_.Stall(true);
        Pause(absl::Milliseconds(random() % 60));
        gate_.Stall(false);
        break;
      default:
        gate_.Cut();
    }
    for (int i = 0; i < 5; ++i) Register(absl::StrCat("i", random() % 30), 1 + random() % 60'000);
    if (random() % 2 == 0) {
      const std::string id = absl::StrCat("i", random() % 30);
      Register(id, 80);
      Deregister(id);
    }
  }
  gate_.SetSpoil({});
  gate_.Cut();
  for (auto& watcher : watchers) ExpectSame(*watcher);
}

// A lease on a KeepAlive stream through the gate, as a careful client keeps it.
class Keeper {
 public:
  Keeper(const std::string& address, int ttl_seconds) : remote_(address), ttl_(ttl_seconds) {}

  bool Register() {
    v1::RegisterRequest request = Instance("kept", "k", 80);
    request.set_permanent(false);
    request.set_life_id(std::string(16, 'k'));
    request.mutable_ttl()->set_seconds(ttl_);
    v1::RegisterResponse response;
    if (!remote_.Register(request, &response).ok()) return false;
    handle_ = response.lease_handle();
    incarnation_ = response.incarnation();
    return true;
  }
  void Open() {
    stream_.reset();  // before its context
    context_ = std::make_unique<grpc::ClientContext>();
    Remote::Prepare(*context_);
    stream_ = remote_.registry->KeepAlive(context_.get());
  }
  // nullopt: the stream is lost.
  std::optional<v1::HeartbeatResponse::Outcome> Beat() {
    v1::HeartbeatRequest request;
    request.add_lease_handles(handle_);
    request.set_sequence(++sequence_);
    v1::HeartbeatResponse response;
    if (!stream_->Write(request) || !stream_->Read(&response)) {
      End();
      return std::nullopt;
    }
    EXPECT_EQ(response.sequence(), sequence_) << "an answer to something else";
    return response.outcomes(0);
  }
  // As Beat, on a new stream; as often as it takes.
  bool BeatAnew() {
    return Eventually([&] {
      Open();
      return Beat() == v1::HeartbeatResponse::RENEWED;
    });
  }
  void End() {
    if (stream_ == nullptr) return;
    context_->TryCancel();
    (void)stream_->Finish();
    stream_.reset();
  }
  uint64_t incarnation() const { return incarnation_; }

 private:
  Remote remote_;
  const int ttl_;
  uint64_t handle_ = 0;
  uint64_t incarnation_ = 0;
  uint64_t sequence_ = 0;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::HeartbeatRequest, v1::HeartbeatResponse>> stream_;
};

TEST_F(GateTest, AKeptLeaseOutlivesSlicesStallsAndCuts) {
  Keeper keeper(gate_.address(), /*ttl_seconds=*/4);
  ASSERT_TRUE(keeper.Register());
  const uint64_t incarnation = keeper.incarnation();
  Watcher watcher(server_.address(), "kept");
  ASSERT_TRUE(Eventually([&] { return watcher.complete(); }));
  keeper.Open();
  gate_.SetSpoil({.slice_bytes = 5});
  for (int i = 0; i < 5; ++i) ASSERT_EQ(keeper.Beat(), v1::HeartbeatResponse::RENEWED);
  gate_.SetSpoil({});
  gate_.Stall(true);
  std::thread later([this] {
    Pause(absl::Milliseconds(1500));
    gate_.Stall(false);
  });
  EXPECT_EQ(keeper.Beat(), v1::HeartbeatResponse::RENEWED) << "late, but in time";
  later.join();
  gate_.Cut();
  EXPECT_EQ(keeper.Beat(), std::nullopt);
  EXPECT_TRUE(keeper.BeatAnew());
  EXPECT_EQ(watcher.seen().changes, 0) << "nobody saw anything of it";
  EXPECT_EQ(direct_.Discover("kept").endpoints_size(), 1);
  ASSERT_TRUE(keeper.Register());
  EXPECT_EQ(keeper.incarnation(), incarnation);
  keeper.End();
}

TEST_F(GateTest, AStallBeyondTheLeaseIsToldAsIs) {
  Keeper keeper(gate_.address(), /*ttl_seconds=*/1);
  ASSERT_TRUE(keeper.Register());
  const uint64_t incarnation = keeper.incarnation();
  keeper.Open();
  ASSERT_EQ(keeper.Beat(), v1::HeartbeatResponse::RENEWED);
  gate_.Stall(true);
  ASSERT_TRUE(Eventually([&] { return direct_.Discover("kept").endpoints_size() == 0; }));
  gate_.Stall(false);
  EXPECT_EQ(keeper.Beat(), v1::HeartbeatResponse::UNKNOWN);
  ASSERT_TRUE(keeper.Register());
  EXPECT_GT(keeper.incarnation(), incarnation);
  EXPECT_EQ(direct_.Discover("kept").endpoints_size(), 1);
  keeper.End();
}

}  // namespace
}  // namespace muster::test
