#include "server/core/check_rules.h"

#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "server/core/check_target.h"
#include "server/core/field_rules.h"

namespace muster::core {
namespace {

constexpr size_t kMaxChecks = 32;
constexpr size_t kMaxId = 64;
constexpr size_t kMaxCheckName = 128;
constexpr size_t kMaxUrl = 2048;
constexpr size_t kMaxMethod = 32;
constexpr size_t kMaxTarget = 512;
constexpr size_t kMaxHeaders = 32;
constexpr size_t kMaxHeaderBytes = 4096;
constexpr size_t kMaxBody = 4096;
constexpr size_t kMaxBodyContains = 512;
constexpr size_t kMaxRanges = 16;
constexpr uint32_t kMaxThreshold = 100;
constexpr absl::Duration kMinInterval = absl::Seconds(1);
constexpr absl::Duration kMaxInterval = absl::Hours(24);
constexpr absl::Duration kDefaultInterval = absl::Seconds(10);
constexpr absl::Duration kDefaultTimeout = absl::Seconds(5);
constexpr absl::Duration kMinTimeout = absl::Milliseconds(1);
constexpr absl::Duration kMaxDeregister = absl::Hours(24 * 365);

// One check, and how its fields are called.
class CheckRules {
 public:
  CheckRules(const v1::Check& check, FieldRef ref, uint32_t port)
      : check_(check), ref_(ref), port_(port) {}

  absl::Status All() const {
    if (auto s = Text("id", check_.id(), 1, kMaxId); !s.ok()) return s;
    if (auto s = Text("name", check_.name(), 0, kMaxCheckName); !s.ok()) return s;
    if (auto s = Kind(); !s.ok()) return s;
    if (auto s = check_.has_ttl() ? NoRuns() : Runs(); !s.ok()) return s;
    if (check_.has_deregister_after_critical()) {
      auto s = CheckDuration(Ref("deregister_after_critical"), check_.deregister_after_critical(),
                             kMinInterval, kMaxDeregister);
      if (!s.ok()) return s;
    }
    if (v1::Health_IsValid(check_.initial_status())) return absl::OkStatus();
    return FieldError(Ref("initial_status"), absl::StrCat("is ", check_.initial_status(),
                                                          "; allowed: PASSING, WARNING, CRITICAL"));
  }

 private:
  FieldRef Ref(std::string_view part) const {
    FieldRef out = ref_;
    out.part = part;
    return out;
  }

  absl::Status Text(std::string_view part, std::string_view text, size_t min, size_t max) const {
    return CheckText(Ref(part), text, min, max);
  }

  absl::Status Kind() const {
    switch (check_.kind_case()) {
      case v1::Check::kHttp:
        return Http(check_.http());
      case v1::Check::kTcp:
        if (auto s = Target("tcp.target", check_.tcp().target()); !s.ok()) return s;
        return ServerName("tcp.tls_server_name", check_.tcp().tls_server_name());
      case v1::Check::kGrpc:
        if (auto s = Target("grpc.target", check_.grpc().target()); !s.ok()) return s;
        if (auto s = Text("grpc.service", check_.grpc().service(), 0, kMaxTarget); !s.ok()) {
          return s;
        }
        return ServerName("grpc.tls_server_name", check_.grpc().tls_server_name());
      case v1::Check::kTtl:
        return CheckDuration(Ref("ttl.ttl"), check_.ttl().ttl(), kMinInterval, kMaxInterval);
      case v1::Check::KIND_NOT_SET:
        break;
    }
    return FieldError(Ref("kind"), "is not set; allowed: http, tcp, grpc, ttl");
  }

  absl::Status NoPort(std::string_view part, std::string_view what) const {
    return FieldError(Ref(part), absl::StrCat(base::Av(what), ", and the instance has no port"));
  }

  absl::Status Target(std::string_view part, const std::string& target) const {
    if (target.empty()) {
      return port_ == 0 ? NoPort(part, "is empty") : absl::OkStatus();
    }
    if (auto s = Text(part, target, 0, kMaxTarget); !s.ok()) return s;
    const auto parsed = ParseCheckTarget(target);
    return parsed.ok() ? absl::OkStatus()
                       : FieldError(Ref(part), base::Sv(parsed.status().message()));
  }

  absl::Status ServerName(std::string_view part, const std::string& name) const {
    return name.empty() ? absl::OkStatus() : CheckAddress(Ref(part), name);
  }

  absl::Status Http(const v1::Check::Http& http) const {
    if (auto s = Url(http); !s.ok()) return s;
    if (auto s = Text("http.method", http.method(), 0, kMaxMethod); !s.ok()) return s;
    if (!http.method().empty() && !IsHttpToken(http.method())) {
      return FieldError(Ref("http.method"), absl::StrCat("is ", Quoted(http.method()),
                                                         "; allowed: a method such as GET, HEAD"));
    }
    if (auto s = ServerName("http.tls_server_name", http.tls_server_name()); !s.ok()) return s;
    if (auto s = Headers(http); !s.ok()) return s;
    if (http.body().size() > kMaxBody) {
      return FieldError(Ref("http.body"),
                        absl::StrCat("has ", http.body().size(), " bytes; at most ", kMaxBody));
    }
    if (http.body_contains().size() > kMaxBodyContains) {
      return FieldError(
          Ref("http.body_contains"),
          absl::StrCat("has ", http.body_contains().size(), " bytes; at most ", kMaxBodyContains));
    }
    return Ranges(http);
  }

  absl::Status Url(const v1::Check::Http& http) const {
    if (auto s = Text("http.url", http.url(), 1, kMaxUrl); !s.ok()) return s;
    const auto target = ParseHttpTarget(http.url());
    if (!target.ok()) return FieldError(Ref("http.url"), base::Sv(target.status().message()));
    if (target->own && port_ == 0) return NoPort("http.url", "is a path");
    if (!target->own && http.tls() && !target->tls) {
      return FieldError(Ref("http.tls"), "is set and the URL says http; write https there");
    }
    return absl::OkStatus();
  }

  absl::Status Headers(const v1::Check::Http& http) const {
    size_t bytes = 0;
    for (const auto& [name, value] : http.headers()) bytes += name.size() + value.size() + 4;
    if (http.headers().size() > kMaxHeaders || bytes > kMaxHeaderBytes) {
      return FieldError(Ref("http.headers"),
                        absl::StrCat("has ", http.headers().size(), " items of ", bytes,
                                     " bytes; at most ", kMaxHeaders, " of ", kMaxHeaderBytes));
    }
    auto each = CheckEach(
        http.headers(),
        [this](const std::string& name, const std::string& value) { return Header(name, value); });
    if (!each.ok()) return each;
    std::set<std::string> names;
    for (const auto& [name, value] : http.headers()) {
      if (names.insert(base::AsciiLower(name)).second) continue;
      return FieldError(Ref("http.headers"),
                        absl::StrCat("has ", base::AsciiLower(name), " twice; names have no case"));
    }
    return absl::OkStatus();
  }

  absl::Status Header(const std::string& name, const std::string& value) const {
    if (!IsHttpToken(name)) {
      return FieldError(Ref("http.headers"), absl::StrCat("has the name ", Quoted(name),
                                                          "; allowed: letters, digits, - and _"));
    }
    for (const std::string_view own : {"Connection", "Content-Length", "Transfer-Encoding"}) {
      if (!absl::EqualsIgnoreCase(name, base::Av(own))) continue;
      return FieldError(Ref("http.headers"),
                        absl::StrCat("has ", base::Av(own), ", which the server sets itself"));
    }
    const auto bad = std::find_if(value.begin(), value.end(), [](char c) {
      return absl::ascii_iscntrl(static_cast<unsigned char>(c)) && c != '\t';
    });
    if (bad == value.end()) return absl::OkStatus();
    return FieldError(
        Ref("http.headers"),
        absl::StrCat("has in ", name, " the character ",
                     base::CharacterAt(value, static_cast<size_t>(bad - value.begin()))));
  }

  absl::Status Ranges(const v1::Check::Http& http) const {
    const auto count = static_cast<size_t>(http.expected_status_size());
    if (auto s = CheckCount(Ref("http.expected_status"), count, kMaxRanges); !s.ok()) return s;
    for (const auto& range : http.expected_status()) {
      if (range.first() >= 100 && range.first() <= range.last() && range.last() <= 599) continue;
      return FieldError(
          Ref("http.expected_status"),
          absl::StrCat("has ", range.first(), " to ", range.last(), "; allowed: 100 to 599"));
    }
    return absl::OkStatus();
  }

  // What the server runs has times and thresholds.
  absl::Status Runs() const {
    if (check_.has_interval()) {
      auto s = CheckDuration(Ref("interval"), check_.interval(), kMinInterval, kMaxInterval);
      if (!s.ok()) return s;
    }
    if (check_.has_failing_interval()) {
      auto s = CheckDuration(Ref("failing_interval"), check_.failing_interval(), kMinInterval,
                             kMaxInterval);
      if (!s.ok()) return s;
    }
    const CheckTimes times = TimesOf(check_);
    if (check_.has_timeout()) {
      auto s = CheckDuration(Ref("timeout"), check_.timeout(), kMinTimeout,
                             std::min(times.interval, times.failing_interval));
      if (!s.ok()) return s;
    }
    for (const auto& [part, value] :
         {std::pair<std::string_view, uint32_t>("success_before_passing",
                                                check_.success_before_passing()),
          {"failures_before_critical", check_.failures_before_critical()},
          {"failures_before_warning", check_.failures_before_warning()}}) {
      if (auto s = CheckNumber(Ref(part), value, kMaxThreshold); !s.ok()) return s;
    }
    const uint32_t critical = std::max(check_.failures_before_critical(), 1U);
    if (check_.failures_before_warning() <= critical) return absl::OkStatus();
    return FieldError(Ref("failures_before_warning"),
                      absl::StrCat("is ", check_.failures_before_warning(),
                                   "; at most failures_before_critical, which is ", critical));
  }

  // What is reported to the server has none.
  absl::Status NoRuns() const {
    for (const auto& [part, set] :
         {std::pair<std::string_view, bool>("interval", check_.has_interval()),
          {"timeout", check_.has_timeout()},
          {"failing_interval", check_.has_failing_interval()},
          {"success_before_passing", check_.success_before_passing() != 0},
          {"failures_before_warning", check_.failures_before_warning() != 0},
          {"failures_before_critical", check_.failures_before_critical() != 0}}) {
      if (set) return FieldError(Ref(part), "is set; a ttl check has ttl.ttl only");
    }
    return absl::OkStatus();
  }

  const v1::Check& check_;
  const FieldRef ref_;
  const uint32_t port_;
};

// Discarding walks the whole message by reflection; nearly none has any.
bool HasUnknownFields(const v1::Check& check) {
  const auto any = [](const google::protobuf::Message& message) {
    return !message.GetReflection()->GetUnknownFields(message).empty();
  };
  if (any(check) || (check.has_interval() && any(check.interval())) ||
      (check.has_timeout() && any(check.timeout())) ||
      (check.has_failing_interval() && any(check.failing_interval())) ||
      (check.has_deregister_after_critical() && any(check.deregister_after_critical()))) {
    return true;
  }
  switch (check.kind_case()) {
    case v1::Check::kHttp:
      return any(check.http()) || std::any_of(check.http().expected_status().begin(),
                                              check.http().expected_status().end(), any);
    case v1::Check::kTcp:
      return any(check.tcp());
    case v1::Check::kGrpc:
      return any(check.grpc());
    case v1::Check::kTtl:
      return any(check.ttl()) || any(check.ttl().ttl());
    case v1::Check::KIND_NOT_SET:
      break;
  }
  return false;
}

}  // namespace

absl::Status NormaliseCheck(v1::Check& check, const FieldRef& ref, uint32_t port) {
  if (HasUnknownFields(check)) check.DiscardUnknownFields();
  return CheckRules(check, ref, port).All();
}

absl::Status NormaliseChecks(Checks& checks, uint32_t port) {
  const auto count = static_cast<size_t>(checks.size());
  if (auto s = CheckCount({"instance", "checks"}, count, kMaxChecks); !s.ok()) return s;
  absl::flat_hash_map<std::string_view, size_t> seen;
  for (size_t i = 0; i < count; ++i) {
    v1::Check& check = checks[static_cast<int>(i)];
    if (check.id().empty()) check.set_id(absl::StrCat("check-", i + 1));
    if (auto s = NormaliseCheck(check, {"instance", "checks", i}, port); !s.ok()) return s;
    if (count == 1) break;  // nothing to differ from
    if (const auto [it, is_new] = seen.try_emplace(check.id(), i); !is_new) {
      return FieldError({"instance", "checks", i, "id"},
                        absl::StrCat("is ", Quoted(check.id()), ", as that of checks[", it->second,
                                     "]; ids have to differ"));
    }
  }
  return absl::OkStatus();
}

CheckTimes TimesOf(const v1::Check& check) {
  CheckTimes out;
  out.interval = check.has_interval() ? FromProto(check.interval()) : kDefaultInterval;
  out.failing_interval =
      check.has_failing_interval() ? FromProto(check.failing_interval()) : out.interval;
  out.timeout = check.has_timeout()
                    ? FromProto(check.timeout())
                    : std::min({out.interval, out.failing_interval, kDefaultTimeout});
  return out;
}

v1::Health InitialStatus(const v1::Check& check) {
  return check.initial_status() == v1::HEALTH_UNSPECIFIED ? v1::CRITICAL : check.initial_status();
}

}  // namespace muster::core
