#include "server/app/descriptors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

namespace muster::app {
namespace {

using testing::HasSubstr;

TEST(ShareDescriptors, KeepsEnoughForTheStoreAndTheServer) {
  const auto share = ShareDescriptors(20'000);
  ASSERT_TRUE(share.ok()) << share.status();
  EXPECT_EQ(share->reserved, 600);
  EXPECT_EQ(share->store_files, storage::kRocksDbOpenFiles);
  EXPECT_EQ(share->probe_channels, 4'850);
  EXPECT_EQ(share->connections(), 14'550);
  EXPECT_EQ(share->end(), 15'150);
}

TEST(ShareDescriptors, FewAreHalved) {
  const auto share = ShareDescriptors(1024);
  ASSERT_TRUE(share.ok()) << share.status();
  EXPECT_EQ(share->reserved, 512);
  EXPECT_EQ(share->store_files, 424);
  EXPECT_EQ(share->probe_channels, 128);
  EXPECT_EQ(share->connections(), 384);
}

TEST(ShareDescriptors, TheFewestLeaveTheStoreWhatItTakes) {
  const auto share = ShareDescriptors(256);
  ASSERT_TRUE(share.ok()) << share.status();
  EXPECT_EQ(share->connections(), 96);
  EXPECT_GE(share->store_files, 20) << "RocksDB takes no fewer";
  const absl::Status refused = ShareDescriptors(255).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr("limit of open files is 255; at least 256 are needed"));
}

TEST(RaiseDescriptorLimit, TakesAllThatTheSystemGrants) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = before.rlim_max / 2;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  EXPECT_EQ(RaiseDescriptorLimit(), static_cast<int64_t>(before.rlim_max));
  rlimit after{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_EQ(after.rlim_cur, before.rlim_max);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace muster::app
