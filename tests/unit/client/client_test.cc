// Clients as programs make them: without a registry, over gRPC.
#include "muster/client/client.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace muster::client {
namespace {

// One that starts together with the process.
TEST(ClientTest, WhenNobodyKnowsTheRegistryIsWaitedFor) {
  const auto client = Client::Create({.servers = {"127.0.0.1:1"},
                                      .first_answer = absl::Milliseconds(300),
                                      .snapshot = false,
                                      .dns_servers = "127.0.0.1:1"});
  ASSERT_TRUE(client.ok());
  const base::SteadyTime began = base::RealClock().Steady();
  EXPECT_TRUE(absl::IsUnavailable(client->Resolve("web").status()));
  EXPECT_GE(base::RealClock().Steady() - began, absl::Milliseconds(290));
  // Once.
  const base::SteadyTime again = base::RealClock().Steady();
  EXPECT_TRUE(absl::IsUnavailable(client->Resolve("web").status()));
  EXPECT_LT(base::RealClock().Steady() - again, absl::Milliseconds(290));
}

TEST(ClientTest, OptionsAndNamesThatCantBeUsedAreNamed) {
  const auto error = [](Options options) {
    return std::string(Client::Create(std::move(options)).status().message());
  };
  EXPECT_TRUE(absl::StrContains(error({.servers = {""}}), "servers"));
  EXPECT_TRUE(absl::StrContains(error({.servers = {"no port"}}), "servers: "));
  EXPECT_TRUE(absl::StrContains(error({.cert = "x"}), "cert: goes together with key"));
  EXPECT_EQ(error({.ca = "/etc/ssl/ca.pem"}),
            "ca: is no PEM; it takes the text, not the name of a file");
  EXPECT_TRUE(absl::StrContains(error({.servers = {"10.0.0.1:0"}}), "servers: "));
  EXPECT_TRUE(absl::StrContains(error({.token = "a\nb"}), "token"));
  EXPECT_TRUE(absl::StrContains(error({.token = "pässwort"}), "token"));
  EXPECT_TRUE(absl::StrContains(error({.first_answer = -absl::Seconds(1)}), "first_answer"));
  EXPECT_TRUE(absl::StrContains(error({.keep_last = -absl::Seconds(1)}), "keep_last"));
  EXPECT_TRUE(absl::StrContains(error({.idle = absl::ZeroDuration()}), "idle"));
  const auto client = Client::Create({});
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(absl::IsInvalidArgument(client->Resolve("a b").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(client->Watch("", [](const Resolution&) {}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(client->Watch("api", nullptr).status()));
  const absl::Duration ever = absl::InfiniteDuration();
  const auto patient = Client::Create({.servers = {"127.0.0.1:1"},
                                       .first_answer = absl::ZeroDuration(),
                                       .keep_last = ever,
                                       .idle = ever});
  ASSERT_TRUE(patient.ok());
  EXPECT_TRUE(absl::IsUnavailable(patient->Resolve("web").status()));
}

}  // namespace
}  // namespace muster::client
