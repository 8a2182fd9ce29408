#include "base/net_address.h"

#include <gtest/gtest.h>

#include "base/errors.h"

namespace muster::base {
namespace {

using std::string_view_literals::operator""sv;

TEST(NetAddressTest, ReadsAndWritesBack) {
  struct Case {
    std::string_view text, host;
    uint16_t port;
  };
  for (const Case& c : {Case{"127.0.0.1:8502", "127.0.0.1", 8502}, Case{"[::1]:0", "::1", 0},
                        Case{"db.example:65535", "db.example", 65535}, Case{"a_b-c:1", "a_b-c", 1},
                        Case{"0.0.0.0:80", "0.0.0.0", 80}}) {
    const auto got = ParseHostPort(c.text);
    ASSERT_TRUE(got.ok()) << c.text << ": " << got.status();
    EXPECT_EQ(got->host, c.host);
    EXPECT_EQ(got->port, c.port);
    EXPECT_EQ(FormatHostPort(*got), c.text);
  }
}

TEST(NetAddressTest, RefusesTheRest) {
  for (std::string_view text : {""sv,
                                ":"sv,
                                ":80"sv,
                                "host"sv,
                                "host:"sv,
                                "host:-1"sv,
                                "host:+1"sv,
                                "host: 1"sv,
                                "host:65536"sv,
                                "host:70000"sv,
                                "host:99999999999999999999"sv,
                                "host:http"sv,
                                "::1:80"sv,
                                "[]:80"sv,
                                "[::1]"sv,
                                "[::1]80"sv,
                                "[127.0.0.1]:80"sv,
                                "[host]:80"sv,
                                "[::g]:80"sv,
                                "a b:80"sv,
                                "http://host:80"sv,
                                "host\n:80"sv,
                                "::1\0:80"sv,
                                "[::1\0]:80"sv}) {
    const auto got = ParseHostPort(text);
    EXPECT_EQ(got.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(ReasonOf(got.status()), Reason::kInvalidField) << text;
  }
}

TEST(NetAddressTest, TheErrorQuotesTheTextSafely) {
  const std::string message(ParseHostPort("bad\x1b:x").status().message());
  EXPECT_EQ(message,
            "\"bad\\x1b:x\" is no address; allowed: HOST:PORT or [IPV6]:PORT, port 0 to 65535");
  EXPECT_LT(ParseHostPort(std::string(100'000, 'x')).status().message().size(), 300u);
}

TEST(NetAddressTest, KnowsIpLiterals) {
  for (std::string_view host : {"10.0.0.1"sv, "::"sv, "2001:db8::1"sv, "::ffff:1.2.3.4"sv}) {
    EXPECT_TRUE(IsIpLiteral(host)) << host;
  }
  for (std::string_view host : {""sv, "localhost"sv, "1.2.3"sv, "1.2.3.256"sv, "1.2.3.4 "sv,
                                "[::1]"sv, "1.2.3.4\0.example"sv, "fe80::1%eth0"sv}) {
    EXPECT_FALSE(IsIpLiteral(host)) << host;
  }
}

TEST(NetAddressTest, KnowsLoopback) {
  for (std::string_view host : {"127.0.0.1", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1",
                                "::ffff:127.0.0.1", "localhost", "LocalHost"}) {
    EXPECT_TRUE(IsLoopback(host)) << host;
  }
  for (std::string_view host :
       {"", "0.0.0.0", "::", "128.0.0.1", "10.0.0.1", "::2", "::ffff:10.0.0.1", "::127.0.0.1",
        "localhost.example", "127.0.0.1.example", "127.1"}) {
    EXPECT_FALSE(IsLoopback(host)) << host;
  }
}

TEST(NetAddressTest, KnowsUnspecified) {
  for (std::string_view host : {"0.0.0.0", "::", "0:0::0", "::ffff:0.0.0.0"}) {
    EXPECT_TRUE(IsUnspecified(host)) << host;
  }
  for (std::string_view host :
       {"", "127.0.0.1", "::1", "0.0.0.1", "1.0.0.0", "::ffff:0.0.0.1", "zero"}) {
    EXPECT_FALSE(IsUnspecified(host)) << host;
  }
}

}  // namespace
}  // namespace muster::base
