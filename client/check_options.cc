#include "client/check_options.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/names.h"
#include "base/net_address.h"
#include "base/text.h"
#include "client/fallback/cares_dns.h"

namespace muster::client {

absl::Status InvalidOption(std::string_view option, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(option), ": ", std::string(why)));
}

namespace {

absl::Status CheckServers(const std::vector<std::string>& servers) {
  if (servers.empty()) return InvalidOption("servers", "there is none");
  for (const std::string& server : servers) {
    const auto address = base::ParseHostPort(server);
    if (!address.ok()) return InvalidOption("servers", base::Sv(address.status().message()));
    if (address->port == 0) return InvalidOption("servers", base::Quoted(server) + " has no port");
  }
  return absl::OkStatus();
}

absl::Status CheckBreaker(const BreakerOptions& breaker, std::string_view option) {
  if (!(breaker.error_share > 0 && breaker.error_share <= 1)) {
    return InvalidOption(option, "error_share is not above 0 and at most 1");
  }
  if (breaker.probes == 0) return InvalidOption(option, "probes is 0");
  if (breaker.window <= absl::ZeroDuration()) return InvalidOption(option, "window is not above 0");
  if (breaker.reset <= absl::ZeroDuration()) return InvalidOption(option, "reset is not above 0");
  if (std::max(breaker.window, breaker.reset) > kLongest) {
    return InvalidOption(option, "window or reset is above a year");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckOptions(const Options& options) {
  if (absl::Status status = CheckServers(options.servers); !status.ok()) return status;
  if (options.cert.empty() != options.key.empty())
    return InvalidOption("cert", "goes together with key");
  for (const auto& [name, pem] :
       {std::pair{"ca", &options.ca}, {"cert", &options.cert}, {"key", &options.key}}) {
    if (pem->empty() || absl::StrContains(*pem, "-----BEGIN ")) continue;
    return InvalidOption(name, "is no PEM; it takes the text, not the name of a file");
  }
  const auto is_plain = [](char c) { return c >= ' ' && c <= '~'; };
  if (!std::all_of(options.token.begin(), options.token.end(), is_plain)) {
    return InvalidOption("token", "holds other than printable ASCII");
  }
  if (options.first_answer < absl::ZeroDuration())
    return InvalidOption("first_answer", "is below 0");
  if (options.keep_last < absl::ZeroDuration()) return InvalidOption("keep_last", "is below 0");
  if (absl::Status status = CheckDnsServers(options.dns_servers); !status.ok()) {
    return InvalidOption("dns_servers", base::Sv(status.message()));
  }
  for (const auto& [service, addresses] : options.fallback_addresses) {
    for (const Address& address : addresses) {
      const base::IpKind kind = base::KindOfIp(address.host);
      const bool is_host = kind == base::IpKind::kNone && !address.host.empty() &&
                           base::HostNameProblem(address.host).empty();
      if (kind != base::IpKind::kUnspecified && (is_host || kind != base::IpKind::kNone)) continue;
      return InvalidOption("fallback_addresses",
                           absl::StrCat(base::Quoted(address.host), " of ", base::Quoted(service),
                                        " is no address"));
    }
  }
  if (options.snapshot_max_age < absl::ZeroDuration()) {
    return InvalidOption("snapshot_max_age", "is below 0");
  }
  if (options.idle < absl::Seconds(1)) return InvalidOption("idle", "is below 1s");
  return absl::OkStatus();
}

absl::Status CheckOptions(const BalanceOptions& options) {
  if (options.slow_start >= absl::ZeroDuration()) return absl::OkStatus();
  return InvalidOption("slow_start", "is below 0");
}

absl::Status CheckOptions(const CallerOptions& options) {
  if (options.timeout <= absl::ZeroDuration()) return InvalidOption("timeout", "is not above 0");
  if (options.total <= absl::ZeroDuration()) return InvalidOption("total", "is not above 0");
  if (options.retry == nullptr) return InvalidOption("retry", "there is none");
  if (options.backoff == nullptr) return InvalidOption("backoff", "there is none");
  if (!(options.retry_budget >= 0 && options.retry_budget <= 100)) {
    return InvalidOption("retry_budget", "is not from 0 to 100");
  }
  if (!(options.most_left_out >= 0 && options.most_left_out <= 1)) {
    return InvalidOption("most_left_out", "is not from 0 to 1");
  }
  absl::Status status = CheckOptions(options.balance);
  if (status.ok()) status = CheckBreaker(options.service_breaker, "service_breaker");
  return status.ok() ? CheckBreaker(options.endpoint_breaker, "endpoint_breaker") : status;
}

}  // namespace muster::client
