#include "server/core/check_target.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/names.h"
#include "base/text.h"

namespace muster::core {
namespace {

constexpr absl::string_view kForms = "; allowed: /PATH, http://HOST:PORT/PATH, https://HOST/PATH";

absl::Status Wrong(std::string_view text, absl::string_view problem) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                         absl::StrCat("is ", base::Quoted(text), problem));
}

bool CanBeUsed(const base::HostPort& at) {
  if (at.port == 0 || base::IsUnspecified(at.host)) return false;
  // 0x7f000001 would be an address to a resolver.
  const size_t last = at.host.find_last_of('.') + 1;
  if (absl::StartsWithIgnoreCase(base::Av(at.host).substr(last), "0x")) return false;
  return base::IsIpLiteral(at.host) || base::HostNameProblem(at.host).empty();
}

absl::StatusOr<base::HostPort> ParseAuthority(std::string_view url, std::string_view authority,
                                              uint16_t usual_port) {
  const size_t bracket = authority.find(']');
  const size_t from = bracket == std::string_view::npos ? 0 : bracket;
  const bool has_port = authority.find(':', from) != std::string_view::npos;
  const std::string text =
      has_port ? std::string(authority) : absl::StrCat(base::Av(authority), ":", usual_port);
  auto at = base::ParseHostPort(text);
  if (at.ok() && CanBeUsed(*at)) return at;
  return Wrong(url, absl::StrCat(", whose host or port can't be used", kForms));
}

}  // namespace

bool IsHttpToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::StrContains("!#$%&'*+-.^_`|~", c);
  });
}

absl::StatusOr<HttpTarget> ParseHttpTarget(std::string_view url) {
  const auto bad = std::find_if(url.begin(), url.end(), [](char c) { return c <= ' ' || c > '~'; });
  if (bad != url.end()) {
    const auto at = static_cast<size_t>(bad - url.begin());
    return Wrong(url, absl::StrCat(", which contains ", base::CharacterAt(url, at),
                                   "; anything but printable ASCII is written as %XX"));
  }
  if (absl::StrContains(base::Av(url), '#')) return Wrong(url, ", which has a fragment (#)");
  HttpTarget out;
  if (absl::StartsWith(base::Av(url), "/")) {
    out.own = true;
    out.path = std::string(url);
    return out;
  }
  const size_t colon = url.find("://");
  const std::string scheme = base::AsciiLower(url.substr(0, colon));
  if (colon == std::string_view::npos || (scheme != "http" && scheme != "https")) {
    return Wrong(url, kForms);
  }
  out.tls = scheme == "https";
  const std::string_view rest = url.substr(colon + 3);
  const size_t end = std::min(rest.find_first_of("/?"), rest.size());
  const std::string_view authority = rest.substr(0, end);
  if (absl::StrContains(base::Av(authority), '@')) {
    // Not quoted: there may be a password.
    return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                           "has a user name or a password; give an Authorization header");
  }
  auto at = ParseAuthority(url, authority, out.tls ? 443 : 80);
  if (!at.ok()) return at.status();
  out.at = *std::move(at);
  const std::string_view path = rest.substr(end);
  out.path =
      absl::StartsWith(base::Av(path), "/") ? std::string(path) : absl::StrCat("/", base::Av(path));
  return out;
}

absl::StatusOr<base::HostPort> ParseCheckTarget(std::string_view target) {
  auto at = base::ParseHostPort(target);
  if (at.ok() && CanBeUsed(*at)) return at;
  return Wrong(target, "; allowed: HOST:PORT, IP:PORT, [IPV6]:PORT, with a port from 1 to 65535");
}

}  // namespace muster::core
