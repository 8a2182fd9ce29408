// Limits of a configuration file, in force on a real server.
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/scenario/abuse.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using grpc::StatusCode;

class ConfigLimits : public testing::Test {
 protected:
  void Start(const std::string& yaml) {
    const std::string path = dir_.path("musterd.yaml");
    std::ofstream(path) << yaml;
    server_ =
        std::make_unique<Musterd>(dir_.path("data"), std::vector<std::string>{"--config", path});
    remote_ = std::make_unique<Remote>(server_->address());
  }
  grpc::Status Register(const std::string& id, absl::Duration ttl = absl::ZeroDuration()) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service("web");
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    if (ttl > absl::ZeroDuration()) {
      request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
      request.mutable_ttl()->set_nanos(
          static_cast<int32_t>(absl::ToInt64Nanoseconds(ttl % absl::Seconds(1))));
    }
    response_.Clear();
    return remote_->Register(request, &response_);
  }
  v1::Limit LimitOf(const std::string& name) {
    const v1::StatusResponse status = remote_->Status();
    for (const v1::Limit& limit : status.limits()) {
      if (limit.name() == name) return limit;
    }
    ADD_FAILURE() << name << " is not among the limits";
    return {};
  }

  TempDir dir_;
  std::unique_ptr<Musterd> server_;
  std::unique_ptr<Remote> remote_;
  v1::RegisterResponse response_;
};

TEST_F(ConfigLimits, InstancesAreCounted) {
  Start("limits:\n  instances: 3\n");
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Register(absl::StrCat("w-", i)).ok());
  ExpectError(Register("w-3"),
              {StatusCode::RESOURCE_EXHAUSTED, "LIMIT_INSTANCES", "", "limits.instances"},
              "one too many");
  EXPECT_EQ(LimitOf("limits.instances").used(), 3u);
  EXPECT_EQ(LimitOf("limits.instances").max(), 3u);
  // Who is there already may come again; who leaves makes room.
  EXPECT_TRUE(Register("w-0").ok());
  v1::DeregisterResponse gone;
  EXPECT_TRUE(remote_->Deregister(response_.key(), 0, &gone).ok());
  EXPECT_TRUE(Register("w-3").ok());
  EXPECT_FALSE(Register("w-4").ok());
}

TEST_F(ConfigLimits, SubscriptionsOfAStreamAreCounted) {
  Start("limits:\n  subscriptions_per_stream: 2\n");
  grpc::ClientContext context;
  Remote::Prepare(context);
  const auto watch = remote_->discovery->Watch(&context);
  v1::WatchResponse event;
  for (uint64_t id = 1; id <= 3; ++id) {
    v1::WatchRequest request;
    request.mutable_subscribe()->set_sub_id(id);
    request.mutable_subscribe()->set_service(absl::StrCat("s-", id));
    ASSERT_TRUE(watch->Write(request));
    ASSERT_TRUE(watch->Read(&event));
    EXPECT_EQ(event.sub_id(), id);
    EXPECT_EQ(event.has_snapshot(), id <= 2);
  }
  ExpectError(event.error(),
              {StatusCode::RESOURCE_EXHAUSTED, "LIMIT_SUBSCRIPTIONS", "subscribe",
               "limits.subscriptions_per_stream is 2"},
              "the third");
  context.TryCancel();
  EXPECT_EQ(watch->Finish().error_code(), StatusCode::CANCELLED);
}

TEST_F(ConfigLimits, LeasesKeepWithinTheirBounds) {
  Start("leases:\n  min_ttl: 2s\n  default_ttl: 5s\n  max_ttl: 10s\n");
  const Wanted refused{StatusCode::INVALID_ARGUMENT, "INVALID_FIELD", "ttl", "allowed: 2s to 10s"};
  ExpectError(Register("w-1", absl::Milliseconds(1999)), refused, "too short");
  ExpectError(Register("w-1", absl::Milliseconds(10'001)), refused, "too long");
  for (const absl::Duration ttl : {absl::Seconds(2), absl::Seconds(10)}) {
    ASSERT_TRUE(Register("w-1", ttl).ok());
    EXPECT_EQ(response_.ttl().seconds(), absl::ToInt64Seconds(ttl));
  }
  ASSERT_TRUE(Register("w-2").ok());
  EXPECT_EQ(response_.ttl().seconds(), 5) << "the default";
}

// A remaining time counts milliseconds in 32 bits: 49 days and 17 hours.
TEST_F(ConfigLimits, TheLongestLeaseHasARemainingTime) {
  Start("leases:\n  max_ttl: 8784h\n");
  ASSERT_TRUE(Register("w-1", absl::Hours(8784)).ok());
  v1::HeartbeatRequest request;
  request.add_lease_handles(response_.lease_handle());
  v1::HeartbeatResponse beaten;
  ASSERT_TRUE(remote_->Heartbeat(request, &beaten).ok());
  EXPECT_EQ(beaten.outcomes(0), v1::HeartbeatResponse::RENEWED);
  EXPECT_EQ(beaten.remaining_ms(0), 0xFFFFFFFF) << "as much as fits";
}

// What was ever resident of a process, in bytes.
uint64_t PeakOf(pid_t pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  std::string word;
  uint64_t kib = 0;
  while (status >> word) {
    if (word == "VmHWM:") status >> kib;
  }
  return kib * 1024;
}

// 150 MiB of zeroes are 150 KB on the wire; gRPC would inflate them before it asks for the size.
TEST_F(ConfigLimits, CompressedRequestsAreRefusedAsTheyCome) {
  Start("");
  remote_->Status();
  const uint64_t before = PeakOf(server_->pid());
  const std::string zeroes(150 << 20, '\0');
  for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    for (const char* method : {"/muster.v1.Registry/Register", "/muster.v1.Discovery/Watch",
                               "/muster.v1.Admin/Status"}) {
      const grpc::Status status = RawCall(remote_->channel, method, zeroes, algorithm);
      EXPECT_EQ(status.error_code(), StatusCode::UNIMPLEMENTED) << status.error_message();
      EXPECT_TRUE(absl::StrContains(status.error_message(), "ompression"))
          << status.error_message();
    }
  }
  EXPECT_LE(PeakOf(server_->pid()), before + (48u << 20));
  EXPECT_TRUE(Register("w-1").ok()) << "others go on";
}

}  // namespace
}  // namespace muster::test
