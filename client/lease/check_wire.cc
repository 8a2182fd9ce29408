#include "client/lease/check_wire.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/text.h"
#include "client/wire.h"

namespace muster::client {
namespace {

constexpr absl::Duration kShortest = absl::Seconds(1);
constexpr absl::Duration kLongest = absl::Hours(24);
constexpr absl::Duration kShortestTimeout = absl::Milliseconds(1);
constexpr absl::Duration kLongestAbsence = absl::Hours(24 * 365);
constexpr uint32_t kMostInARow = 100;

absl::Status Invalid(const Check& check, std::string_view field, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(
      "checks: ", check.id.empty() ? "" : absl::StrCat("of ", base::Quoted(check.id), ", "),
      base::Av(field), ": ", base::Av(why)));
}

// 0: not given.
absl::Status CheckDuration(const Check& check, std::string_view field, absl::Duration duration,
                           absl::Duration least, absl::Duration most) {
  if (duration == absl::ZeroDuration() || (duration >= least && duration <= most)) {
    return absl::OkStatus();
  }
  return Invalid(check, field,
                 absl::StrCat(base::FormatDuration(duration), "; allowed: ",
                              base::FormatDuration(least), " to ", base::FormatDuration(most)));
}

absl::Status CheckTimes(const Check& check) {
  absl::Status status = CheckDuration(check, "interval", check.interval, kShortest, kLongest);
  if (status.ok()) {
    status = CheckDuration(check, "failing_interval", check.failing_interval, kShortest, kLongest);
  }
  if (status.ok()) {
    status = CheckDuration(check, "timeout", check.timeout, kShortestTimeout, kLongest);
  }
  if (!status.ok()) return status;
  return CheckDuration(check, "deregister_after_critical", check.deregister_after_critical,
                       kShortest, kLongestAbsence);
}

absl::Status CheckCounts(const Check& check) {
  for (const auto& [field, count] :
       {std::pair<std::string_view, uint32_t>("success_before_passing",
                                              check.success_before_passing),
        {"failures_before_warning", check.failures_before_warning},
        {"failures_before_critical", check.failures_before_critical}}) {
    if (count <= kMostInARow) continue;
    return Invalid(check, field, absl::StrCat(count, "; allowed: 0 to ", kMostInARow));
  }
  return absl::OkStatus();
}

// Texts of messages have to be UTF-8; the body of a request is bytes.
absl::Status CheckTexts(const Check& check) {
  absl::Status status;
  const auto text = [&](std::string_view field, const std::string& value) {
    if (!status.ok() || base::IsUtf8(value)) return;
    status = Invalid(check, field, base::Quoted(value) + " is no UTF-8");
  };
  text("id", check.id);
  text("name", check.name);
  std::visit(
      [&](const auto& kind) {
        using Kind = std::decay_t<decltype(kind)>;
        text("tls_server_name", kind.tls_server_name);
        if constexpr (std::is_same_v<Kind, HttpCheck>) {
          text("url", kind.url);
          text("method", kind.method);
          text("body_contains", kind.body_contains);
          for (const auto& [name, value] : kind.headers) {
            text("headers", name);
            text("headers", value);
          }
        } else {
          text("target", kind.target);
        }
        if constexpr (std::is_same_v<Kind, GrpcCheck>) text("service", kind.service);
      },
      check.kind);
  return status;
}

absl::Status CheckOne(const Check& check) {
  absl::Status status = CheckTexts(check);
  if (status.ok()) status = CheckTimes(check);
  if (status.ok()) status = CheckCounts(check);
  const auto* http = std::get_if<HttpCheck>(&check.kind);
  if (status.ok() && http != nullptr && http->url.empty()) {
    return Invalid(check, "url", "there is none; allowed: a path such as /health, or a full URL");
  }
  return status;
}

template <typename Kind, typename Message>
void SetTls(const Kind& kind, Message* to) {
  to->set_tls(kind.tls);
  to->set_tls_skip_verify(kind.tls_skip_verify);
  to->set_tls_server_name(kind.tls_server_name);
}

template <typename Message, typename Kind>
void GetTls(const Message& message, Kind* to) {
  to->tls = message.tls();
  to->tls_skip_verify = message.tls_skip_verify();
  to->tls_server_name = message.tls_server_name();
}

void SetKind(const HttpCheck& kind, v1::Check* to) {
  v1::Check::Http& http = *to->mutable_http();
  http.set_url(kind.url);
  http.set_method(kind.method);
  http.mutable_headers()->insert(kind.headers.begin(), kind.headers.end());
  http.set_body(kind.body);
  for (const auto& [first, last] : kind.expected_status) {
    v1::Check::StatusRange& range = *http.add_expected_status();
    range.set_first(first);
    range.set_last(last);
  }
  http.set_body_contains(kind.body_contains);
  SetTls(kind, &http);
}

void SetKind(const TcpCheck& kind, v1::Check* to) {
  to->mutable_tcp()->set_target(kind.target);
  SetTls(kind, to->mutable_tcp());
}

void SetKind(const GrpcCheck& kind, v1::Check* to) {
  to->mutable_grpc()->set_target(kind.target);
  to->mutable_grpc()->set_service(kind.service);
  SetTls(kind, to->mutable_grpc());
}

HttpCheck KindOf(const v1::Check::Http& http) {
  HttpCheck kind{.url = http.url(), .method = http.method()};
  kind.headers.insert(http.headers().begin(), http.headers().end());
  kind.body = http.body();
  for (const auto& range : http.expected_status()) {
    kind.expected_status.push_back({range.first(), range.last()});
  }
  kind.body_contains = http.body_contains();
  GetTls(http, &kind);
  return kind;
}

TcpCheck KindOf(const v1::Check::Tcp& tcp) {
  TcpCheck kind{.target = tcp.target()};
  GetTls(tcp, &kind);
  return kind;
}

GrpcCheck KindOf(const v1::Check::Grpc& grpc) {
  GrpcCheck kind{.target = grpc.target(), .service = grpc.service()};
  GetTls(grpc, &kind);
  return kind;
}

void SetGiven(absl::Duration duration, google::protobuf::Duration* (v1::Check::*field)(),
              v1::Check* to) {
  if (duration != absl::ZeroDuration()) *(to->*field)() = ToWire(duration);
}

absl::Duration Given(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

}  // namespace

absl::Status CheckServerChecks(const Instance& instance) {
  std::set<std::string> ids;
  for (const TtlCheck& check : instance.ttl_checks) ids.insert(check.id);
  for (const Check& check : instance.checks) {
    if (absl::Status status = CheckOne(check); !status.ok()) return status;
    if (check.id.empty() || ids.insert(check.id).second) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("checks: ", base::Quoted(check.id), " is there twice"));
  }
  return absl::OkStatus();
}

v1::Check ToWire(const Check& check) {
  v1::Check wire;
  wire.set_id(check.id);
  wire.set_name(check.name);
  std::visit([&](const auto& kind) { SetKind(kind, &wire); }, check.kind);
  SetGiven(check.interval, &v1::Check::mutable_interval, &wire);
  SetGiven(check.timeout, &v1::Check::mutable_timeout, &wire);
  SetGiven(check.failing_interval, &v1::Check::mutable_failing_interval, &wire);
  SetGiven(check.deregister_after_critical, &v1::Check::mutable_deregister_after_critical, &wire);
  wire.set_success_before_passing(check.success_before_passing);
  wire.set_failures_before_warning(check.failures_before_warning);
  wire.set_failures_before_critical(check.failures_before_critical);
  // Unset says the same in fewer bytes.
  if (check.initial_status != Endpoint::Health::kCritical) {
    wire.set_initial_status(static_cast<v1::Health>(check.initial_status));
  }
  return wire;
}

Check FromWire(const v1::Check& wire) {
  Check check;
  check.id = wire.id();
  check.name = wire.name();
  if (wire.has_http()) check.kind = KindOf(wire.http());
  if (wire.has_tcp()) check.kind = KindOf(wire.tcp());
  if (wire.has_grpc()) check.kind = KindOf(wire.grpc());
  check.interval = Given(wire.interval());
  check.timeout = Given(wire.timeout());
  check.failing_interval = Given(wire.failing_interval());
  check.deregister_after_critical = Given(wire.deregister_after_critical());
  check.success_before_passing = wire.success_before_passing();
  check.failures_before_warning = wire.failures_before_warning();
  check.failures_before_critical = wire.failures_before_critical();
  if (wire.initial_status() != v1::HEALTH_UNSPECIFIED) {
    check.initial_status = static_cast<Endpoint::Health>(wire.initial_status());
  }
  return check;
}

}  // namespace muster::client
