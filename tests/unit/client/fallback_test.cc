// What a connection answers when the registry doesn't: DNS, fixed addresses, the environment.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "base/clock.h"
#include "base/rng.h"
#include "client/fallback/overrides.h"
#include "client/registry_connection.h"
#include "fake_dns.h"
#include "fake_lease_transport.h"
#include "fake_scheduler.h"
#include "fake_transport.h"

namespace muster::client {
namespace {

using testing::At;
using testing::FakeDns;
using testing::FakeLeaseTransport;
using testing::FakeScheduler;
using testing::FakeTransport;
using testing::OneEndpoint;
using testing::Snapshot;
using Source = Resolution::Source;
using Empty = Resolution::Empty;

class FallbackTest : public ::testing::Test {
 protected:
  void SetUp() override { Make({}); }
  void Make(Options options, Overrides overrides = {}) {
    connection_ = nullptr;
    auto transport = std::make_unique<FakeTransport>(2);
    auto dns = std::make_unique<FakeDns>();
    transport_ = transport.get();
    dns_ = dns.get();
    connection_ = RegistryConnection::Create(
        std::move(options),
        {.clock = base::RealClock(),
         .rng = std::make_unique<base::SeededRng>(7),
         .new_scheduler = [this](const std::string&) { return scheduler_.Share(); },
         .watches = std::move(transport),
         .leases = std::make_unique<FakeLeaseTransport>(1),
         .dns = std::move(dns),
         .overrides = std::move(overrides)});
  }
  absl::StatusOr<Resolution> Resolve(const std::string& name) {
    connection_->Resolve(At(name)).status().IgnoreError();
    scheduler_.Run();
    return connection_->Resolve(At(name));
  }
  std::vector<std::string> Hosts(const std::string& name, Source source) {
    const auto answer = Resolve(name);
    EXPECT_TRUE(answer.ok()) << answer.status();
    if (!answer.ok()) return {};
    EXPECT_EQ(answer->source, source);
    return HostsOf(*answer);
  }
  static std::vector<std::string> HostsOf(const Resolution& answer) {
    std::vector<std::string> hosts;
    for (const auto& endpoint : *answer.endpoints) hosts.push_back(endpoint->address.host);
    return hosts;
  }
  // Both servers of the registry fail.
  void LoseRegistry() {
    for (int i = 0; i < 2; ++i) {
      while (!transport_->last().open) scheduler_.Advance(absl::Milliseconds(5));
      transport_->last().End(absl::UnavailableError("gone"));
      scheduler_.Run();
    }
  }
  void Answer(const std::string& service, const std::vector<v1::Endpoint>& endpoints,
              v1::EmptyReason reason = v1::UNKNOWN_SERVICE) {
    while (!transport_->last().open) scheduler_.Advance(absl::Milliseconds(5));
    FakeTransport::Call& call = transport_->last();
    call.Answer(Snapshot(call.SubIdOf(service), endpoints, ++seq_, reason));
    scheduler_.Run();
  }

  FakeScheduler scheduler_;
  FakeTransport* transport_ = nullptr;
  FakeDns* dns_ = nullptr;
  std::shared_ptr<RegistryConnection> connection_;
  uint64_t seq_ = 5;
};

using HostList = std::vector<std::string>;

TEST_F(FallbackTest, DnsAnswersOnceAllServersOfTheRegistryHaveFailed) {
  Resolve("web:8002").status().IgnoreError();
  LoseRegistry();
  EXPECT_TRUE(absl::IsUnavailable(Resolve("web:8002").status()));
  ASSERT_EQ(dns_->asked, 1);
  EXPECT_EQ(dns_->calls.front().host, (Address{"web", 8002}));
  dns_->Answer({"10.0.0.2", "10.0.0.1"});
  scheduler_.Run();
  EXPECT_EQ(Hosts("web:8002", Source::kDns), (HostList{"10.0.0.1", "10.0.0.2"}));
  EXPECT_EQ(Resolve("web:8002")->endpoints->front()->address.port, 8002);
  Answer("web", {OneEndpoint("a", 5)});
  EXPECT_EQ(Resolve("web:8002")->source, Source::kRegistry) << "live answers take over";
  LoseRegistry();
  EXPECT_EQ(Resolve("web:8002")->source, Source::kLastKnown) << "and are better when lost";
}

TEST_F(FallbackTest, AnUnknownServiceGoesOnToDnsAndAnUnhealthyOneDoesNotUnlessAsked) {
  for (const bool asked : {false, true}) {
    Make({.dns_when_unhealthy = asked});
    Resolve("unknown").status().IgnoreError();
    Resolve("sick").status().IgnoreError();
    Resolve("none").status().IgnoreError();
    Answer("unknown", {});
    Answer("sick", {}, v1::ALL_UNHEALTHY);
    Answer("none", {}, v1::NO_INSTANCES);
    dns_->calls.clear();
    for (const std::string name : {"unknown", "sick", "none"}) {
      EXPECT_EQ(Resolve(name)->endpoints->size(), 0u);
      if (!dns_->calls.empty()) dns_->Answer({"10.0.0.1"});
      scheduler_.Run();
    }
    EXPECT_EQ(Resolve("unknown")->source, Source::kDns);
    EXPECT_EQ(Resolve("sick")->source, asked ? Source::kDns : Source::kRegistry);
    EXPECT_EQ(Resolve("none")->source, Source::kRegistry);
    EXPECT_EQ(Resolve("none")->empty, Empty::kNoInstances);
  }
}

TEST_F(FallbackTest, AnErrorSaysWhatEachOfThemSaid) {
  Resolve("web").status().IgnoreError();
  LoseRegistry();
  Resolve("web").status().IgnoreError();
  dns_->Fail(absl::UnavailableError("DNS doesn't say"));
  scheduler_.Run();
  const absl::Status status = Resolve("web").status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_TRUE(absl::StrContains(std::string(status.message()), "gone; DNS doesn't say")) << status;
}

TEST_F(FallbackTest, NamesAreLookedUpAgainWhenTheirTtlIsOver) {
  EXPECT_TRUE(absl::IsUnavailable(Resolve("dns:///db:5432").status()));
  dns_->Answer({"10.0.0.1"}, absl::Seconds(30));
  scheduler_.Run();
  EXPECT_EQ(Hosts("dns:///db:5432", Source::kDns), HostList{"10.0.0.1"});
  scheduler_.Advance(absl::Seconds(29));
  EXPECT_EQ(dns_->asked, 1);
  scheduler_.Advance(absl::Seconds(2));
  ASSERT_EQ(dns_->asked, 2);
  // TTL 0 is a second.
  dns_->Answer({"10.0.0.2"}, absl::ZeroDuration());
  scheduler_.Run();
  EXPECT_EQ(Hosts("dns:///db:5432", Source::kDns), HostList{"10.0.0.2"});
  scheduler_.Advance(absl::Milliseconds(900));
  EXPECT_EQ(dns_->asked, 2);
  scheduler_.Advance(absl::Milliseconds(200));
  ASSERT_EQ(dns_->asked, 3);
  // Nobody answers: what was known stays, says how old it is, and is asked for every second.
  dns_->Fail(absl::UnavailableError("timeout"));
  scheduler_.Run();
  EXPECT_EQ(Hosts("dns:///db:5432", Source::kDns), HostList{"10.0.0.2"});
  EXPECT_EQ(Resolve("dns:///db:5432")->age, absl::Milliseconds(1'100));
  for (int i = 0; i < 5; ++i) {
    scheduler_.Advance(absl::Milliseconds(1'100));
    ASSERT_FALSE(dns_->calls.empty());
    dns_->Fail(absl::NotFoundError("no such name"));
    scheduler_.Run();
  }
  EXPECT_EQ(Hosts("dns:///db:5432", Source::kDns), HostList{"10.0.0.2"}) << "a no is doubted";
  for (int i = 0; i < 40; ++i) {
    scheduler_.Advance(absl::Milliseconds(1'100));
    if (!dns_->calls.empty()) dns_->Fail(absl::NotFoundError("no such name"));
    scheduler_.Run();
  }
  EXPECT_EQ(Hosts("dns:///db:5432", Source::kDns), HostList{});
  EXPECT_EQ(Resolve("dns:///db:5432")->empty, Empty::kUnknownService);
  // One that nobody asks for is no longer looked up.
  scheduler_.Advance(absl::Minutes(30));
  while (!dns_->calls.empty()) {
    dns_->Answer({"10.0.0.1"}, absl::Seconds(5));
    scheduler_.Advance(absl::Minutes(30));
  }
  EXPECT_EQ(connection_->followed(), 0u);
}

TEST_F(FallbackTest, ListenersHearOfDnsWhereTheRegistryDoesNotHelpAndOnlyThen) {
  std::vector<std::pair<Source, HostList>> heard;
  const auto held = connection_->Watch(At("web"), [&](const Resolution& answer) {
    heard.emplace_back(answer.source, HostsOf(answer));
  });
  scheduler_.Run();
  EXPECT_EQ(dns_->asked, 0);
  LoseRegistry();
  ASSERT_EQ(dns_->asked, 1);
  dns_->Answer({"10.0.0.7"}, absl::Seconds(2));
  scheduler_.Run();
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard.back(), (std::pair<Source, HostList>{Source::kDns, {"10.0.0.7"}}));
  scheduler_.Advance(absl::Seconds(3));
  dns_->Answer({"10.0.0.7"}, absl::Seconds(2));
  scheduler_.Run();
  EXPECT_EQ(heard.size(), 1u) << "the same";
  scheduler_.Advance(absl::Seconds(3));
  dns_->Answer({"10.0.0.8"}, absl::Seconds(2));
  scheduler_.Run();
  EXPECT_EQ(heard.size(), 2u);
  Answer("web", {OneEndpoint("a", 5)});
  ASSERT_EQ(heard.size(), 3u);
  EXPECT_EQ(heard.back().first, Source::kRegistry);
  scheduler_.Advance(absl::Seconds(3));
  dns_->Answer({"10.0.0.9"}, absl::Seconds(2));
  scheduler_.Run();
  EXPECT_EQ(heard.size(), 3u) << "nobody wants to know any more";
  for (int i = 0; i < 30; ++i) {
    v1::WatchResponse progress;
    progress.mutable_progress()->mutable_revision()->set_epoch(7);
    transport_->last().Answer(progress);
    scheduler_.Advance(absl::Minutes(1));
    if (!dns_->calls.empty()) dns_->Answer({"10.0.0.9"}, absl::Minutes(1));
    scheduler_.Run();
  }
  EXPECT_EQ(connection_->followed(), 1u) << "the name is let go";
}

TEST_F(FallbackTest, FixedAddressesAreTheLastResort) {
  Make({.fallback_addresses = {{"web", {{"10.9.9.9", 80}}}}});
  Resolve("web").status().IgnoreError();
  LoseRegistry();
  EXPECT_EQ(Hosts("web", Source::kStatic), HostList{"10.9.9.9"});
  dns_->Answer({"10.0.0.1"});
  scheduler_.Run();
  EXPECT_EQ(Hosts("web", Source::kDns), HostList{"10.0.0.1"});
  EXPECT_FALSE(Resolve("other").ok());
}

TEST_F(FallbackTest, TheEnvironmentBeatsAll) {
  Make({}, Overrides({{"USER_SERVICE_URL", "http://10.1.1.1:9000/x"},
                      {"ORDERS_URL", "http://orders:8080"},
                      {"MOVED_URL", "http://elsewhere"},
                      {"OUT_URL", "dns:///out.example:1"},
                      {"BROKEN_URL", "a b"},
                      {"_URL", "http://10.1.1.1:1"},
                      {"EMPTY_URL", ""}},
                     ""));
  EXPECT_EQ(Hosts("http://user-service:8002/users", Source::kOverride), HostList{"10.1.1.1"});
  EXPECT_EQ(Hosts("User.Service", Source::kOverride), HostList{"10.1.1.1"});
  EXPECT_EQ(transport_->calls(), 0u) << "nobody is asked";
  std::vector<Source> heard;
  const auto held = connection_->Watch(
      At("user-service"), [&](const Resolution& answer) { heard.push_back(answer.source); });
  scheduler_.Run();
  EXPECT_EQ(heard, std::vector<Source>{Source::kOverride});
  // Another service's name is that service.
  EXPECT_EQ(Resolve("moved").status().message(),
            "MOVED_URL: the registry has told nothing of \"elsewhere\" yet");
  Answer("elsewhere", {});
  EXPECT_EQ(Resolve("moved")->WhyEmpty("moved"), "no service \"elsewhere\" of MOVED_URL is known");
  dns_->calls.clear();
  Answer("elsewhere", {OneEndpoint("a", 5)});
  EXPECT_EQ(Hosts("moved", Source::kOverride), HostList{"10.0.0.1"});
  Resolve("out").status().IgnoreError();
  EXPECT_EQ(dns_->calls.front().host, (Address{"out.example", 1}));
  dns_->calls.clear();
  // Its own name is no more than the port of its DNS name.
  Resolve("orders").status().IgnoreError();
  Answer("orders", {});
  Resolve("orders").status().IgnoreError();
  ASSERT_FALSE(dns_->calls.empty());
  EXPECT_EQ(dns_->calls.front().host, (Address{"orders", 8080}));
  Resolve("broken").status().IgnoreError();
  Resolve("empty").status().IgnoreError();
  Answer("broken", {OneEndpoint("a", 5)});
  EXPECT_EQ(Resolve("broken")->source, Source::kRegistry);
}

TEST_F(FallbackTest, OnlyVariablesWithThePrefixCount) {
  Make({},
       Overrides({{"WEB_URL", "http://10.1.1.1:1"}, {"APP_DB_URL", "http://10.1.1.1:2"}}, "APP_"));
  EXPECT_EQ(Hosts("db", Source::kOverride), HostList{"10.1.1.1"});
  EXPECT_FALSE(Resolve("web").ok());
}

}  // namespace
}  // namespace muster::client
