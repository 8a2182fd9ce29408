#include "server/health/prober_factory.h"

#include <gtest/gtest.h>

#include "base/errors.h"
#include "server/health/system_resolver.h"
#include "tests/unit/server/health/loopback.h"
#include "tests/unit/server/health/probing.h"

namespace muster::health {
namespace {

using testing::HasSubstr;

class ProberFactoryTest : public Probing {};

TEST_F(ProberFactoryTest, BadSettingsAreNamed) {
  config::v1::Health config;
  config.add_allow("10.0.0/8");
  EXPECT_EQ(base::FieldOf(ProberFactory::Create(loop_, config, {}).status()), "health.allow[0]");
  config.Clear();
  config.add_ports("x");
  EXPECT_EQ(base::FieldOf(ProberFactory::Create(loop_, config, {}).status()), "health.ports[0]");
  config.Clear();
  config.set_ca("/nowhere.pem");
  EXPECT_EQ(base::FieldOf(ProberFactory::Create(loop_, config, {}).status()), "health.ca");
}

TEST_F(ProberFactoryTest, WhatCannotBeProbedIsSaid) {
  Configure();
  v1::Check ttl;
  ttl.mutable_ttl()->mutable_ttl()->set_seconds(1);
  v1::Check grpc;
  grpc.mutable_grpc()->set_target("db:0");
  for (const v1::Check& check : {v1::Check(), ttl, grpc, HttpCheck("ftp://x"), TcpCheck("x")}) {
    const auto prober = factory_->Make(check, {"10.0.0.1", 80});
    EXPECT_EQ(prober.status().code(), absl::StatusCode::kInvalidArgument) << check.DebugString();
  }
  for (const v1::Check& check : {HttpCheck("/"), TcpCheck()}) {
    EXPECT_THAT(std::string(factory_->Make(check, {"10.0.0.1", 0}).status().message()),
                HasSubstr("no port"));
  }
  EXPECT_TRUE(factory_->Make(HttpCheck("http://db/"), {"10.0.0.1", 0}).ok());
}

TEST_F(ProberFactoryTest, OnlyGrpcIsWatched) {
  const auto prober = Make(TcpCheck(), 80);
  EXPECT_EQ(prober->Watch({}), nullptr);
}

class SystemResolverTest : public Probing {
 protected:
  absl::StatusOr<Resolver::Addresses> Resolve(Resolver& resolver, const std::string& host) {
    std::optional<absl::StatusOr<Resolver::Addresses>> answer;
    const auto wanted = std::make_shared<int>();
    resolver.Resolve(host, wanted, [&](auto addresses) { answer = std::move(addresses); });
    EXPECT_TRUE(RunUntil([&] { return answer.has_value(); }));
    return *answer;
  }
};

TEST_F(SystemResolverTest, NamesOfTheSystemAreResolved) {
  SystemResolver resolver(loop_);
  const auto addresses = Resolve(resolver, "localhost");
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  for (const auto& address : *addresses) EXPECT_TRUE(address.is_loopback()) << address;
}

TEST_F(SystemResolverTest, ANameThatThereIsNotIsSaid) {
  SystemResolver resolver(loop_);
  // No name of DNS: no server is asked.
  const auto addresses = Resolve(resolver, "a..b");
  EXPECT_EQ(addresses.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(addresses.status().message()), HasSubstr("cannot resolve a..b: "));
}

TEST_F(SystemResolverTest, WhoIsGoneIsNotAnswered) {
  bool called = false;
  {
    SystemResolver resolver(loop_);
    resolver.Resolve("localhost", std::make_shared<int>(), [&](const auto&) { called = true; });
    // Behind it in the queue of two threads.
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(Resolve(resolver, "localhost").ok());
    const auto wanted = std::make_shared<int>();
    for (int i = 0; i < 4; ++i) {
      resolver.Resolve("localhost", wanted, [&](const auto&) { called = true; });
    }
  }
  EXPECT_FALSE(called);
}

TEST_F(SystemResolverTest, AProbeResolvesByTheSystemUnlessToldOtherwise) {
  const Listener listener;
  auto factory = ProberFactory::Create(loop_, {}, {.loopback_ok = true});
  ASSERT_TRUE(factory.ok());
  const auto prober =
      (*factory)->Make(TcpCheck(absl::StrCat("localhost:", listener.port())), {"10.0.0.1", 80});
  ASSERT_TRUE(prober.ok());
  EXPECT_EQ(Run(**prober).outcome, Outcome::kPassing);
}

}  // namespace
}  // namespace muster::health
