#include "server/health/http_plan.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/net_address.h"
#include "base/text.h"

namespace muster::health {
namespace {

constexpr uint16_t kHttpPort = 80;
constexpr uint16_t kHttpsPort = 443;

absl::Status Bad(std::string_view message) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField, message);
}

// RFC 9110, 5.6.2.
bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::StrContains("!#$%&'*+-.^_`|~", c);
  });
}

// The first byte that a request's first line can't hold.
size_t FindBadInUrl(std::string_view url) {
  const auto bad = std::find_if(url.begin(), url.end(), [](char c) {
    return c <= ' ' || c == '\x7F' || c == '#' || static_cast<unsigned char>(c) >= 0x80;
  });
  return static_cast<size_t>(bad - url.begin());
}

bool IsHeaderValue(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < ' ' && c != '\t') || byte == 0x7F;
  });
}

struct Url {
  bool tls = false;
  std::string_view authority;  // "" = a path only
  std::string path;
};

absl::StatusOr<Url> ParseUrl(std::string_view url, bool tls_of_path) {
  if (const size_t at = FindBadInUrl(url); at < url.size()) {
    return Bad(absl::StrCat("http.url contains ", base::CharacterAt(url, at),
                            "; allowed: ASCII without spaces and '#'; others as %XX"));
  }
  if (absl::StartsWith(base::Av(url), "/")) return Url{tls_of_path, "", std::string(url)};
  Url out;
  if (absl::StartsWithIgnoreCase(base::Av(url), "https://")) {
    out.tls = true;
    url.remove_prefix(8);
  } else if (absl::StartsWithIgnoreCase(base::Av(url), "http://")) {
    url.remove_prefix(7);
  } else {
    return Bad(absl::StrCat("http.url is ", base::Quoted(url),
                            "; allowed: http://…, https://… or a path such as /health"));
  }
  const size_t end = std::min(url.find_first_of("/?"), url.size());
  out.authority = url.substr(0, end);
  if (out.authority.empty()) return Bad("http.url has no host");
  if (absl::StrContains(base::Av(out.authority), '@')) {
    return Bad("http.url has a user name; give it as the header Authorization");
  }
  out.path = absl::StrCat(url.substr(end).starts_with('/') ? "" : "/", base::Av(url.substr(end)));
  return out;
}

absl::StatusOr<Target> TargetOf(const Url& url, const InstanceTarget& instance) {
  if (url.authority.empty()) return ParseTarget("", instance);
  const size_t colon = url.authority.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && !absl::EndsWith(base::Av(url.authority), "]");
  if (has_port) return ParseTarget(url.authority, instance);
  return ParseTarget(absl::StrCat(base::Av(url.authority), ":", url.tls ? kHttpsPort : kHttpPort),
                     instance);
}

std::string HostHeader(const Target& target) {
  if (target.port != (target.tls ? kHttpsPort : kHttpPort)) {
    return base::FormatHostPort({target.host, target.port});
  }
  const bool v6 = absl::StrContains(target.host, ':');
  return absl::StrCat(v6 ? "[" : "", target.host, v6 ? "]" : "");
}

// By name without case, so that the request is the same each time.
using Headers = std::map<std::string, std::pair<std::string, std::string>>;

absl::StatusOr<Headers> ReadHeaders(const v1::Check::Http& http) {
  Headers out;
  for (const auto& [name, value] : http.headers()) {
    if (!IsToken(name)) {
      return Bad(absl::StrCat("http.headers has ", base::Quoted(name),
                              "; allowed: names of letters, digits and !#$%&'*+-.^_`|~"));
    }
    if (!IsHeaderValue(value)) {
      return Bad(absl::StrCat("http.headers[", base::Quoted(name),
                              "] contains a control character; allowed: none but tabs"));
    }
    std::string lower = base::AsciiLower(name);
    if (lower == "connection" || lower == "content-length" || lower == "transfer-encoding") {
      return Bad(absl::StrCat("http.headers has ", base::Quoted(name),
                              ", which is set by the server itself"));
    }
    if (!out.try_emplace(std::move(lower), name, value).second) {
      return Bad(absl::StrCat("http.headers has ", base::Quoted(name), " twice"));
    }
  }
  return out;
}

bool ImpliesABody(std::string_view method) {
  return method == "POST" || method == "PUT" || method == "PATCH";
}

std::string RequestText(std::string_view method, std::string_view path, const Target& target,
                        Headers headers, std::string_view body) {
  headers.try_emplace("host", "Host", HostHeader(target));
  headers.try_emplace("user-agent", "User-Agent", "muster-health");
  headers.try_emplace("accept", "Accept", "*/*");
  std::string out = absl::StrCat(base::Av(method), " ", base::Av(path), " HTTP/1.1\r\n");
  for (const auto& [lower, header] : headers) {
    absl::StrAppend(&out, header.first, ": ", header.second, "\r\n");
  }
  if (!body.empty() || ImpliesABody(method)) {
    absl::StrAppend(&out, "Content-Length: ", body.size(), "\r\n");
  }
  absl::StrAppend(&out, "Connection: close\r\n\r\n", base::Av(body));
  return out;
}

}  // namespace

absl::StatusOr<HttpPlan> PlanHttp(const v1::Check::Http& http, const InstanceTarget& instance,
                                  absl::Duration timeout) {
  const std::string method = http.method().empty() ? "GET" : http.method();
  if (!IsToken(method)) {
    return Bad(absl::StrCat("http.method is ", base::Quoted(method), "; allowed: a token"));
  }
  auto url = ParseUrl(http.url(), http.tls());
  if (!url.ok()) return url.status();
  auto target = TargetOf(*url, instance);
  if (!target.ok()) return target.status();
  if (url->tls) {
    auto status = SetTls(*target, http.tls_skip_verify(), http.tls_server_name());
    if (!status.ok()) return status;
  }
  auto headers = ReadHeaders(http);
  if (!headers.ok()) return headers.status();
  HttpPlan plan{.target = *std::move(target),
                .timeout = timeout,
                .head = method == "HEAD",
                .body_contains = http.body_contains()};
  plan.request = RequestText(method, url->path, plan.target, *std::move(headers), http.body());
  for (const auto& range : http.expected_status()) {
    plan.expected.emplace_back(range.first(), range.last());
  }
  if (plan.expected.empty()) plan.expected.emplace_back(200, 299);
  return plan;
}

ProbeResult::Outcome JudgeStatus(const HttpPlan& plan, unsigned status) {
  const bool expected = std::any_of(
      plan.expected.begin(), plan.expected.end(),
      [status](const auto& range) { return range.first <= status && status <= range.second; });
  if (expected) return ProbeResult::Outcome::kPassing;
  return status == 429 ? ProbeResult::Outcome::kWarning : ProbeResult::Outcome::kFailing;
}

}  // namespace muster::health
