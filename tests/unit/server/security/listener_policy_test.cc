#include "server/security/listener_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/errors.h"

namespace muster::security {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Refusal(const char* host, bool tls, bool authenticated) {
  const absl::Status status = CheckListener({host, 8502}, tls, authenticated, false);
  EXPECT_EQ(base::ReasonOf(status).value_or(base::Reason::kInvalidField),
            base::Reason::kInvalidField);
  return std::string(status.message());
}

TEST(ListenerPolicy, LoopbackIsAlwaysAllowed) {
  for (const char* host : {"127.0.0.1", "127.8.8.8", "::1", "localhost"}) {
    EXPECT_TRUE(CheckListener({host, 8502}, false, false, false).ok()) << host;
  }
}

TEST(ListenerPolicy, BeyondLoopbackNeedsTlsAndAuthentication) {
  for (const char* host : {"0.0.0.0", "::", "10.0.0.1", "2001:db8::1", "registry.example"}) {
    EXPECT_NE(Refusal(host, false, false), "") << host;
    EXPECT_NE(Refusal(host, true, false), "") << host;
    EXPECT_NE(Refusal(host, false, true), "") << host;
    EXPECT_EQ(Refusal(host, true, true), "") << host;
    EXPECT_TRUE(CheckListener({host, 8502}, false, false, true).ok()) << host;
  }
}

TEST(ListenerPolicy, TheRefusalNamesAddressAndFlagsThatHelp) {
  const std::string both = Refusal("0.0.0.0", false, false);
  for (const char* part : {"0.0.0.0:8502", "--tls-cert", "--tokens", "--client-ca", "--insecure"}) {
    EXPECT_THAT(both, HasSubstr(part));
  }
  EXPECT_THAT(Refusal("0.0.0.0", true, false), Not(HasSubstr("--tls-cert")));
  EXPECT_THAT(Refusal("0.0.0.0", true, false), HasSubstr("--tokens"));
  EXPECT_THAT(Refusal("0.0.0.0", false, true), Not(HasSubstr("--tokens")));
  EXPECT_THAT(Refusal("::", false, true), HasSubstr("[::]:8502"));
}

}  // namespace
}  // namespace muster::security
