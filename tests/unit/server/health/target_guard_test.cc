#include "server/health/target_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/errors.h"

namespace muster::health {
namespace {

namespace ip = boost::asio::ip;
using testing::HasSubstr;

TargetGuard Guard(const std::vector<std::string>& allow = {},
                  const std::vector<std::string>& ports = {}, bool loopback_ok = false) {
  config::v1::Health config;
  for (const auto& entry : allow) config.add_allow(entry);
  for (const auto& entry : ports) config.add_ports(entry);
  auto guard = TargetGuard::Make(config, loopback_ok);
  EXPECT_TRUE(guard.ok()) << guard.status();
  return *std::move(guard);
}

absl::Status Ask(const TargetGuard& guard, const std::string& address, uint16_t port = 80) {
  return guard.Allow({ip::make_address(address), port});
}

void ExpectAllowed(const TargetGuard& guard, const std::vector<std::string>& addresses) {
  for (const auto& address : addresses) {
    EXPECT_TRUE(Ask(guard, address).ok()) << Ask(guard, address);
  }
}

void ExpectRefused(const TargetGuard& guard, const std::vector<std::string>& addresses) {
  for (const auto& address : addresses) {
    EXPECT_EQ(Ask(guard, address).code(), absl::StatusCode::kPermissionDenied) << address;
  }
}

TEST(TargetGuardTest, ByDefaultWhatCanBeAnInstanceIsAllowed) {
  ExpectAllowed(Guard(),
                {"10.0.0.1",        "192.168.1.1",     "172.16.0.1",        "8.8.8.8",
                 "100.100.100.201", "169.253.255.255", "169.255.0.0",       "168.63.129.17",
                 "192.0.0.191",     "223.255.255.255", "1.0.0.0",           "126.255.255.255",
                 "128.0.0.0",       "fd00::1",         "2001:db8::1",       "fd00:ec3::254",
                 "fd20:ce::1",      "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:0a00:0001::1",
                 "::10.0.0.1"});
}

TEST(TargetGuardTest, ByDefaultTheRestIsRefused) {
  ExpectRefused(Guard(), {"0.0.0.0",       "0.1.2.3",         "::",
                          "127.0.0.1",     "127.255.255.255", "::1",
                          "169.254.0.1",   "169.254.169.254", "fe80::1",
                          "febf:ffff::1",  "224.0.0.1",       "239.255.255.255",
                          "ff02::1",       "255.255.255.255", "100.100.100.200",
                          "168.63.129.16", "192.0.0.192",     "fd00:ec2::254",
                          "fd00:ec2::23",  "fd20:ce::254",    "fd00:c1::a9fe:a9fe",
                          "fd00:42::42",   "fec0::1",         "240.0.0.1",
                          "2001::1"});
}

TEST(TargetGuardTest, AnAddressInAnotherIsSeen) {
  ExpectRefused(Guard(),
                {"::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0",
                 "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::169.254.169.254",
                 "::ffff:0:169.254.169.254", "::127.0.0.1", "::169.254.169.254", "::2",
                 "2002:7f00:0001::1", "2002:a9fe:a9fe::", "2002:e000:0001::5"});
}

TEST(TargetGuardTest, LoopbackCanBeAllowed) {
  const TargetGuard guard = Guard({}, {}, true);
  ExpectAllowed(guard, {"127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1"});
  ExpectRefused(guard, {"0.0.0.0", "169.254.169.254", "fe80::1"});
}

TEST(TargetGuardTest, AListAllowsWhatItHoldsOnly) {
  const TargetGuard guard = Guard({"10.1.0.0/16", "fd00::/8", "192.168.7.7/32"}, {}, true);
  ExpectAllowed(guard, {"10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "fd12::1", "192.168.7.7"});
  ExpectRefused(guard, {"10.0.255.255", "10.2.0.0", "192.168.7.8", "127.0.0.1", "::1", "fc00::1",
                        "fd00:ec2::254", "64:ff9b::10.1.0.1", "2002:0a01:0001::1"});
}

TEST(TargetGuardTest, ABlockThatHoldsMoreOpensNothingThatIsRefused) {
  const TargetGuard all = Guard({"0.0.0.0/0", "::/0"});
  ExpectAllowed(all, {"10.0.0.1", "2001:db8::1", "64:ff9b::10.0.0.1"});
  ExpectRefused(all, {"127.0.0.1", "::1", "169.254.169.254", "169.254.1.1", "fe80::1", "0.0.0.0",
                      "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:0001::1"});
  ExpectRefused(Guard({"64:ff9b::/96"}), {"64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254"});
  ExpectRefused(Guard({"126.0.0.0/7"}), {"127.0.0.1"});
}

TEST(TargetGuardTest, WhatIsNamedIsOpened) {
  ExpectAllowed(Guard({"127.0.0.0/8"}), {"127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1"});
  ExpectAllowed(Guard({"127.0.0.2/32"}), {"127.0.0.2"});
  ExpectRefused(Guard({"127.0.0.2/32"}), {"127.0.0.1", "::1"});
  ExpectAllowed(Guard({"::1/128"}), {"::1"});
  ExpectAllowed(Guard({"fe80::/10"}), {"fe80::1"});
  ExpectAllowed(Guard({"::ffff:127.0.0.0/104"}), {"127.0.0.1", "::ffff:127.0.0.1"});
  ExpectAllowed(Guard({"64:ff9b::127.0.0.0/104"}), {"64:ff9b::127.0.0.1"});
  ExpectAllowed(Guard({"2002:7f00::/24"}), {"2002:7f00:0001::1"});
}

TEST(TargetGuardTest, MetadataTakesItsOwnEntry) {
  ExpectAllowed(Guard({"169.254.0.0/16"}), {"169.254.1.1"});
  ExpectRefused(Guard({"169.254.0.0/16"}), {"169.254.169.254"});
  ExpectAllowed(Guard({"169.254.169.254/32"}), {"169.254.169.254"});
  ExpectRefused(Guard({"fd00::/8"}), {"fd00:ec2::254"});
}

TEST(TargetGuardTest, Ports) {
  const TargetGuard guard = Guard({}, {"443", "8000-8999"});
  for (const uint16_t port : {443, 8000, 8500, 8999}) {
    EXPECT_TRUE(Ask(guard, "10.0.0.1", port).ok()) << port;
  }
  for (const uint16_t port : {0, 1, 442, 444, 7999, 9000, 65535}) {
    EXPECT_EQ(Ask(guard, "10.0.0.1", port).code(), absl::StatusCode::kPermissionDenied) << port;
  }
  EXPECT_TRUE(Ask(Guard(), "10.0.0.1", 1).ok());
  EXPECT_TRUE(Ask(Guard(), "10.0.0.1", 65535).ok());
  EXPECT_FALSE(Ask(Guard(), "10.0.0.1", 0).ok());
  EXPECT_EQ(Ask(guard, "127.0.0.1", 443).code(), absl::StatusCode::kPermissionDenied);
}

TEST(TargetGuardTest, MessagesSayWhy) {
  EXPECT_EQ(Ask(Guard(), "127.0.0.1").message(),
            "127.0.0.1 may not be probed: it is loopback, which health.allow doesn't name");
  EXPECT_EQ(Ask(Guard({"10.0.0.0/8"}), "11.0.0.1").message(),
            "11.0.0.1 may not be probed: health.allow doesn't hold it");
  EXPECT_EQ(Ask(Guard({}, {"443"}), "10.0.0.1", 22).message(),
            "port 22 may not be probed: it isn't one of health.ports");
}

TEST(TargetGuardTest, BadEntriesAreNamed) {
  for (const std::string bad :
       {"10.0.0/8", "10.0.0.0", "", "10.0.0.0/", "/8", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/ 8",
        "10.0.0.1/8", "fd00::/129", "fd00::1/8", "fe80::%1/64", "host/8", "10.0.0.0/8/8",
        "10.0.0.0/+8", "::ffff:10.0.0.0/8", "010.0.0.0/8", "10.0.0.0/8 "}) {
    config::v1::Health config;
    config.add_allow("10.0.0.0/8");
    config.add_allow(bad);
    const auto guard = TargetGuard::Make(config, false);
    EXPECT_EQ(guard.status().code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_EQ(base::FieldOf(guard.status()), "health.allow[1]") << bad;
  }
  config::v1::Health config;
  config.add_allow("10.0.0/8");
  EXPECT_EQ(TargetGuard::Make(config, false).status().message(),
            "health.allow[0] is \"10.0.0/8\"; allowed: CIDRs such as 10.0.0.0/8 or fd00::/8");
}

TEST(TargetGuardTest, BadPortsAreNamed) {
  for (const std::string bad : {"", "0", "65536", "http", "9-8", "1-", "-1", "1-2-3", "+1", " 1",
                                "1-70000", "0-5", "99999999999999999999"}) {
    config::v1::Health config;
    config.add_ports(bad);
    const auto guard = TargetGuard::Make(config, false);
    EXPECT_EQ(guard.status().code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_EQ(base::FieldOf(guard.status()), "health.ports[0]") << bad;
  }
}

}  // namespace
}  // namespace muster::health
