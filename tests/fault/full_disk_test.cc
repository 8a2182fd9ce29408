// A full disk, and one that can't be written: on a small file system that the tests mount.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <iostream>
#include <random>
#include <thread>

#include "tests/fault/fault_client.h"
#include "tests/fault/small_disk.h"

namespace muster::test {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMiB = 1 << 20;

class FullDiskTest : public testing::Test {
 protected:
  void Configure(const std::string& rocksdb) {
    std::ofstream(config_.path("musterd.yaml")) << "rocksdb: {" << rocksdb << "}\n";
  }
  void SetUp() override {
    Configure("write_buffer_bytes: 4194304, min_free_bytes: 16777216, reserve_bytes: 6291456");
  }
  void Start() {
    server_.reset();
    server_ = std::make_unique<Musterd>(data_, flags_);
    remote_ = std::make_unique<Remote>(server_->address());
  }
  void Restart() {
    server_->Kill();
    Start();
  }
  // Of a registration that changes something.
  std::string ReasonOfRegister() {
    v1::RegisterRequest request = Registration("web", "probe");
    request.mutable_instance()->set_port(++port_);
    return ReasonOf(TryRegister(*remote_, request));
  }
  bool HasReserve() const { return fs::exists(data_ + "/muster.reserve"); }
  int Count(const std::string& service) { return remote_->Discover(service).endpoints_size(); }
  // Registers until it is refused; the refusal. `registered` counts those that were acknowledged.
  grpc::Status RegisterUntilRefused(const std::string& service, size_t tag_bytes,
                                    std::atomic<int>& registered) {
    for (int i = 0; i < 1'000'000; ++i) {
      const grpc::Status status =
          TryRegister(*remote_, Registration(service, absl::StrCat("i", i), tag_bytes));
      if (!status.ok()) return status;
      ++registered;
    }
    return grpc::Status::OK;
  }

  const TempDir config_;
  SmallDisk disk_{96 * kMiB};
  const std::string data_ = disk_.path("data");
  const std::vector<std::string> flags_ = {"--config", config_.path("musterd.yaml")};
  std::unique_ptr<Musterd> server_;
  std::unique_ptr<Remote> remote_;
  uint32_t port_ = 0;
};

TEST_F(FullDiskTest, RegistrationsAreRefusedAllElseGoesOnAndItEndsByItself) {
  Start();
  ASSERT_TRUE(Eventually([&] { return HasReserve(); }));
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(TryRegister(*remote_, Registration("web", absl::StrCat("i", i))).ok());
  }
  ASSERT_EQ(ReasonOfRegister(), "");
  v1::RegisterRequest mortal = Registration("short", "s");
  mortal.set_permanent(false);
  mortal.mutable_ttl()->set_seconds(5);
  ASSERT_TRUE(TryRegister(*remote_, mortal).ok());
  Watcher watcher(server_->address(), "web");
  ASSERT_TRUE(Eventually([&] { return watcher.complete(); }));

  disk_.Fill(8 * kMiB);
  ASSERT_TRUE(Eventually([&] { return ReasonOfRegister() == "STORAGE_FULL"; }));
  const grpc::Status refused = TryRegister(*remote_, Registration("web", "probe"));
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(SaysWhenToRetry(refused));
  EXPECT_NE(refused.error_message().find("min_free_bytes"), std::string::npos);
  const v1::StatusResponse low = remote_->Status();
  EXPECT_TRUE(low.has_low_space_since());
  EXPECT_FALSE(low.has_frozen_since());
  EXPECT_NE(low.low_space_reason().find("bytes are free"), std::string::npos);
  EXPECT_EQ(low.warnings_size(), 1);
  EXPECT_TRUE(HasReserve());

  // The last byte goes: the reserve is given up, and deletions and expiries fit.
  disk_.Fill(0);
  ASSERT_TRUE(Eventually([&] { return !HasReserve(); }));
  for (int i = 0; i < 20; ++i) {
    const grpc::Status status = TryDeregister(*remote_, "web", absl::StrCat("i", i));
    ASSERT_TRUE(status.ok()) << i << " " << status.error_message();
  }
  EXPECT_TRUE(Eventually([&] { return watcher.ids().size() == 21; })) << "watches go on";
  EXPECT_EQ(Count("web"), 21) << "reads go on";
  EXPECT_TRUE(Eventually([&] { return Count("short") == 0; })) << "expiries go on";

  // The reserve is gone as well: refused, and still nothing failed.
  disk_.Fill(0);
  ASSERT_TRUE(Eventually([&] {
    return ReasonOf(TryDeregister(*remote_, "web", "nobody")) == "INSTANCE_NOT_FOUND" &&
           remote_->Status().low_space_reason().find(": 0 bytes") != std::string::npos;
  }));
  EXPECT_EQ(ReasonOf(TryDeregister(*remote_, "web", "i20")), "STORAGE_FULL");
  EXPECT_EQ(Count("web"), 21);
  EXPECT_FALSE(remote_->Status().has_frozen_since());

  disk_.Empty();
  EXPECT_TRUE(Eventually([&] { return ReasonOfRegister().empty(); })) << "it ends by itself";
  EXPECT_TRUE(Eventually([&] { return HasReserve(); }));
  EXPECT_FALSE(remote_->Status().has_low_space_since());
  EXPECT_TRUE(TryDeregister(*remote_, "web", "i20").ok());
  EXPECT_TRUE(Problems(*remote_).empty());
  Restart();
  EXPECT_EQ(Count("web"), 20) << "19 and the probe";
  EXPECT_TRUE(Problems(*remote_).empty());
}

TEST_F(FullDiskTest, AWriteThatFailedFreezesTheStoreUntilARestart) {
  Configure("write_buffer_bytes: 4194304, min_free_bytes: 0");
  Start();
  std::atomic<int> registered{0};
  disk_.Fill(3 * kMiB);
  const grpc::Status failed = RegisterUntilRefused("web", 8'000, registered);
  EXPECT_EQ(failed.error_code(), grpc::StatusCode::UNAVAILABLE) << failed.error_message();
  ASSERT_GT(registered, 10);
  EXPECT_TRUE(server_->process().Running());
  EXPECT_EQ(Count("web"), registered) << "reads go on";
  ASSERT_TRUE(Eventually([&] {
    const auto status = remote_->Status();
    return status.has_frozen_since() || status.has_low_space_since();
  }));
  const v1::StatusResponse status = remote_->Status();
  if (status.has_frozen_since()) {
    EXPECT_NE(status.frozen_reason().find("No space left"), std::string::npos)
        << status.frozen_reason();
    EXPECT_NE(status.frozen_reason().find("restart"), std::string::npos);
    EXPECT_EQ(ReasonOfRegister(), "STORAGE_READ_ONLY");
  }
  disk_.Empty();
  Restart();
  const int found = Count("web");
  EXPECT_TRUE(found == registered || found == registered + 1) << found << " of " << registered;
  EXPECT_TRUE(Problems(*remote_).empty());
  EXPECT_EQ(ReasonOfRegister(), "");
}

// The disk fills while everybody writes as fast as they can.
TEST_F(FullDiskTest, AFloodLosesNothing) {
  const uint32_t seed = std::random_device()();
  std::cout << "seed " << seed << std::endl;
  std::mt19937 random(seed);
  int frozen = 0;
  int recovered = 0;
  for (int round = 0; round < 6; ++round) {
    Start();
    const std::string services[] = {absl::StrCat("a", round), absl::StrCat("b", round)};
    std::atomic<int> registered[2] = {};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back(
          [&, i] { (void)RegisterUntilRefused(services[i], 6'000, registered[i]); });
    }
    Pause(absl::Milliseconds(100 + random() % 400));
    disk_.Fill(random() % 2 == 0 ? 0 : random() % (20 * kMiB));
    for (auto& thread : threads) thread.join();
    ASSERT_TRUE(server_->process().Running());
    for (int i = 0; i < 2; ++i) EXPECT_GE(Count(services[i]), registered[i]);
    disk_.Empty();
    if (remote_->Status().has_frozen_since()) {
      ++frozen;
    } else {
      EXPECT_TRUE(Eventually([&] { return ReasonOfRegister().empty(); })) << ReasonOfRegister();
      ++recovered;
    }
    Restart();
    for (int i = 0; i < 2; ++i) {
      const int found = Count(services[i]);
      ASSERT_TRUE(found == registered[i] || found == registered[i] + 1)
          << found << " of " << registered[i];
      for (int j = 0; j < found; ++j) {
        ASSERT_TRUE(TryDeregister(*remote_, services[i], absl::StrCat("i", j)).ok());
      }
    }
    ASSERT_TRUE(Problems(*remote_).empty());
  }
  std::cout << recovered << " recovered by themselves, " << frozen << " had to be restarted"
            << std::endl;
}

TEST_F(FullDiskTest, AStartOnAFullDiskServesOrSaysWhy) {
  Start();
  ASSERT_TRUE(Eventually([&] { return HasReserve(); }));
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(TryRegister(*remote_, Registration("web", absl::StrCat("i", i))).ok());
  }
  server_->Kill();
  // The reserve makes room for the start.
  disk_.Fill(0);
  Start();
  EXPECT_EQ(Count("web"), 40);
  EXPECT_EQ(ReasonOfRegister(), "STORAGE_FULL");
  EXPECT_TRUE(TryDeregister(*remote_, "web", "i0").ok());
  server_->Kill();
  disk_.Fill(0);
  const FailedStart failed = StartAndFail({}, data_, config_.path("log"), flags_);
  EXPECT_EQ(failed.code, 1) << failed.err;
  EXPECT_NE(failed.err.find("No space left on device"), std::string::npos) << failed.err;
  disk_.Empty();
  Start();
  EXPECT_EQ(Count("web"), 39);
  EXPECT_TRUE(Problems(*remote_).empty());
}

TEST_F(FullDiskTest, AReadOnlyDirectoryIsNamed) {
  Start();
  ASSERT_TRUE(TryRegister(*remote_, Registration("web", "i")).ok());
  server_->Kill();
  disk_.MakeReadOnly();
  const FailedStart failed = StartAndFail({}, data_, config_.path("log"), flags_);
  EXPECT_EQ(failed.code, 1) << failed.err;
  EXPECT_NE(failed.err.find("data directory " + data_), std::string::npos) << failed.err;
  EXPECT_NE(failed.err.find("Read-only file system"), std::string::npos) << failed.err;
  const FailedStart fresh = StartAndFail({}, disk_.path("fresh"), config_.path("log"), flags_);
  EXPECT_EQ(fresh.code, 1) << fresh.err;
  EXPECT_NE(fresh.err.find("Read-only file system"), std::string::npos) << fresh.err;
}

}  // namespace
}  // namespace muster::test
