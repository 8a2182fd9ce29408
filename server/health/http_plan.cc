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
#include "server/core/check_target.h"

namespace muster::health {
namespace {

constexpr uint16_t kHttpPort = 80;
constexpr uint16_t kHttpsPort = 443;

absl::Status Bad(std::string_view message) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField, message);
}

bool IsHeaderValue(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < ' ' && c != '\t') || byte == 0x7F;
  });
}

absl::StatusOr<Target> TargetOf(const core::HttpTarget& url, const InstanceTarget& instance) {
  if (url.own) return ParseTarget("", instance);
  Target target;
  target.host = url.at.host;
  target.port = url.at.port;
  return target;
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
    if (!core::IsHttpToken(name)) {
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
  if (!core::IsHttpToken(method)) {
    return Bad(absl::StrCat("http.method is ", base::Quoted(method), "; allowed: a token"));
  }
  const auto url = core::ParseHttpTarget(http.url());
  if (!url.ok()) return Bad(absl::StrCat("http.url ", url.status().message()));
  auto target = TargetOf(*url, instance);
  if (!target.ok()) return target.status();
  if (url->own ? http.tls() : url->tls) {
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
