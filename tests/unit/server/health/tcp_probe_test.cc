#include "server/health/tcp_probe.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/server/health/probing.h"
#include "tests/unit/server/health/targets.h"

namespace muster::health {
namespace {

class TcpProbeTest : public Probing {};

TEST_F(TcpProbeTest, AnAcceptedConnectionPasses) {
  const Listener listener;
  EXPECT_THAT(
      Run(TcpCheck(), listener.port()),
      IsResult(Outcome::kPassing, true, absl::StrCat("connected to 127.0.0.1:", listener.port())));
}

TEST_F(TcpProbeTest, TheTargetMayBeAnother) {
  const Listener listener;
  EXPECT_EQ(Run(TcpCheck(absl::StrCat("127.0.0.1:", listener.port())), 1).outcome,
            Outcome::kPassing);
}

TEST_F(TcpProbeTest, ARefusedOneFails) {
  EXPECT_THAT(Run(TcpCheck(), ClosedPort()),
              IsResult(Outcome::kFailing, false, "connection refused by 127.0.0.1:"));
}

TEST_F(TcpProbeTest, OneThatIsSwallowedTimesOut) {
  const Swallowing full;
  EXPECT_THAT(Run(TcpCheck("", absl::Milliseconds(300)), full.port()),
              IsResult(Outcome::kFailing, false, "timed out after 300ms connecting to 127.0.0.1:"));
  EXPECT_GE(took_, absl::Milliseconds(300));
  EXPECT_LT(took_, absl::Milliseconds(1300));
}

TEST_F(TcpProbeTest, WhatIsNotAllowedIsNotConnectedTo) {
  const TestTarget target([](Accepted&) {});
  Configure({}, false);
  EXPECT_THAT(Run(TcpCheck(), target.port()),
              IsResult(Outcome::kFailing, false, "127.0.0.1 may not be probed: it is loopback"));
  EXPECT_THAT(Run(TcpCheck(), target.port(), "::ffff:127.0.0.1"),
              IsResult(Outcome::kFailing, false, "may not be probed: it is loopback"));
  config::v1::Health config;
  config.add_ports("1-1023");
  Configure(config);
  EXPECT_THAT(Run(TcpCheck(), target.port()),
              IsResult(Outcome::kFailing, false, "isn't one of health.ports"));
  EXPECT_EQ(target.accepted(), 0);
}

TEST_F(TcpProbeTest, NamesAreResolvedForEachRun) {
  const Listener listener;
  resolver_->Set("db.example", {"127.0.0.1"});
  const auto prober = Make(TcpCheck(), listener.port(), "db.example");
  EXPECT_EQ(Run(*prober).outcome, Outcome::kPassing);
  resolver_->Fail("db.example", "cannot resolve db.example: Name or service not known");
  EXPECT_THAT(Run(*prober), IsResult(Outcome::kFailing, false, "cannot resolve db.example: Name"));
  EXPECT_EQ(resolver_->asked(), (std::vector<std::string>{"db.example", "db.example"}));
}

// What others' names do is no failure of this one.
TEST_F(TcpProbeTest, ANameThatIsWaitedForBehindOthersSaysNothing) {
  resolver_->SetCrowded();
  EXPECT_THAT(Run(TcpCheck("", absl::Milliseconds(200)), 80, "hangs.example"),
              IsResult(Outcome::kNotRun, false,
                       "timed out after 200ms resolving hangs.example, behind other names"));
}

TEST_F(TcpProbeTest, ANameThatHangsTimesOut) {
  EXPECT_THAT(Run(TcpCheck("", absl::Milliseconds(200)), 80, "hangs.example"),
              IsResult(Outcome::kFailing, false, "timed out after 200ms resolving hangs.example"));
  EXPECT_FALSE(resolver_->Wanted());
  resolver_->AnswerHanging({boost::asio::ip::make_address("127.0.0.1")});
}

// A name that turns from a good address to a bad one gains nothing: what is connected to is what
// was looked at, and it is looked at each time.
TEST_F(TcpProbeTest, RebindingIsSeen) {
  const TestTarget good([](Accepted&) {}, "127.0.0.2");
  config::v1::Health config;
  config.add_allow("127.0.0.2/32");
  Configure(config, false);
  resolver_->Set("turns.example", {"127.0.0.2"});
  const auto prober = Make(TcpCheck(), good.port(), "turns.example");
  EXPECT_EQ(Run(*prober).outcome, Outcome::kPassing);
  for (const std::string bad : {"127.0.0.1", "169.254.169.254", "::ffff:169.254.169.254", "0.0.0.0",
                                "64:ff9b::127.0.0.2"}) {
    resolver_->Set("turns.example", {bad});
    EXPECT_THAT(Run(*prober), IsResult(Outcome::kFailing, false, "may not be probed")) << bad;
  }
  // Among good ones, it is left out.
  resolver_->Set("turns.example", {"127.0.0.1", "127.0.0.2"});
  EXPECT_THAT(Run(*prober), IsResult(Outcome::kPassing, true, "connected to 127.0.0.2:"));
}

TEST_F(TcpProbeTest, FurtherAddressesAreTried) {
  const Listener listener("127.0.0.3");
  resolver_->Set("two.example", {"127.0.0.2", "127.0.0.3"});
  EXPECT_THAT(Run(TcpCheck(), listener.port(), "two.example"),
              IsResult(Outcome::kPassing, true, "connected to 127.0.0.3:"));
}

TEST_F(TcpProbeTest, AnAddressThatSwallowsLeavesTimeForTheNext) {
  const Swallowing full("127.0.0.2");
  const Listener listener("127.0.0.3", 8, full.port());
  resolver_->Set("two.example", {"127.0.0.2", "127.0.0.3"});
  EXPECT_THAT(Run(TcpCheck("", absl::Seconds(1)), listener.port(), "two.example"),
              IsResult(Outcome::kPassing, true, "connected to 127.0.0.3:"));
  EXPECT_GE(took_, absl::Milliseconds(500));
  EXPECT_LT(took_, absl::Milliseconds(1000));
}

TEST_F(TcpProbeTest, ItIsTheLastAddressThatIsNamed) {
  const uint16_t port = ClosedPort();
  resolver_->Set("two.example", {"127.0.0.2", "127.0.0.3"});
  EXPECT_THAT(
      Run(TcpCheck(), port, "two.example"),
      IsResult(Outcome::kFailing, false, absl::StrCat("connection refused by 127.0.0.3:", port)));
}

TEST_F(TcpProbeTest, WantOfDescriptorsIsNotTheTargetsFault) {
  const Listener listener;
  const auto prober = Make(TcpCheck(), listener.port());
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(Run(*prober).outcome, Outcome::kPassing);
  // UBSan takes descriptors to look at an object for the first time.
  EXPECT_NE(boost::system::error_code(EMFILE, boost::system::system_category()).message(), "");
  // No number above those in use.
  const int lowest = dup(0);
  close(lowest);
  const rlimit none{static_cast<rlim_t>(lowest), before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  const ProbeResult result = Run(*prober);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_THAT(result, IsResult(Outcome::kNotRun, false, "Too many open files"));
  EXPECT_EQ(Run(*prober).outcome, Outcome::kPassing);
}

TEST_F(TcpProbeTest, ACancelledRunNeverCallsBack) {
  ExpectCancels(
      TcpCheck(), 80, [&] { return resolver_->Wanted(); }, "hangs.example");
  EXPECT_FALSE(resolver_->Wanted());
  const Swallowing full;
  int turns = 0;
  ExpectCancels(TcpCheck(), full.port(), [&] { return ++turns > 5; });
}

}  // namespace
}  // namespace muster::health
