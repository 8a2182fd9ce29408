#include "server/core/check_rules.h"

#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "server/core/field_rules.h"

namespace muster::core {
namespace {

constexpr size_t kMaxChecks = 32;
constexpr size_t kMaxId = 64;
constexpr size_t kMaxCheckName = 128;
constexpr size_t kMaxUrl = 2048;
constexpr size_t kMaxMethod = 32;
constexpr size_t kMaxTarget = 512;
constexpr size_t kMaxHeader = 4096;
constexpr size_t kMaxBody = 4096;
constexpr absl::Duration kMinInterval = absl::Seconds(1);
constexpr absl::Duration kMaxInterval = absl::Hours(24);
constexpr absl::Duration kDefaultInterval = absl::Seconds(10);
constexpr absl::Duration kMinTimeout = absl::Milliseconds(1);
constexpr absl::Duration kMaxDeregister = absl::Hours(24 * 365);

// One check, and how its fields are called.
class CheckRules {
 public:
  CheckRules(const v1::Check& check, size_t index) : check_(check), index_(index) {}

  absl::Status All() const {
    if (auto s = Text("id", check_.id(), 1, kMaxId); !s.ok()) return s;
    if (auto s = Text("name", check_.name(), 0, kMaxCheckName); !s.ok()) return s;
    if (auto s = Kind(); !s.ok()) return s;
    if (auto s = Times(); !s.ok()) return s;
    if (v1::Health_IsValid(check_.initial_status())) return absl::OkStatus();
    return FieldError(Ref("initial_status"), absl::StrCat("is ", check_.initial_status(),
                                                          "; allowed: PASSING, WARNING, CRITICAL"));
  }

 private:
  FieldRef Ref(std::string_view part) const { return {"instance", "checks", index_, part}; }

  absl::Status Text(std::string_view part, std::string_view text, size_t min, size_t max) const {
    return CheckText(Ref(part), text, min, max);
  }

  absl::Status Kind() const {
    switch (check_.kind_case()) {
      case v1::Check::kHttp:
        return Http(check_.http());
      case v1::Check::kTcp:
        if (auto s = Text("tcp.target", check_.tcp().target(), 0, kMaxTarget); !s.ok()) return s;
        return Text("tcp.tls_server_name", check_.tcp().tls_server_name(), 0, kMaxTarget);
      case v1::Check::kGrpc:
        if (auto s = Text("grpc.target", check_.grpc().target(), 0, kMaxTarget); !s.ok()) return s;
        if (auto s = Text("grpc.service", check_.grpc().service(), 0, kMaxTarget); !s.ok()) {
          return s;
        }
        return Text("grpc.tls_server_name", check_.grpc().tls_server_name(), 0, kMaxTarget);
      case v1::Check::kTtl:
        return CheckDuration(Ref("ttl.ttl"), check_.ttl().ttl(), kMinInterval, kMaxInterval);
      case v1::Check::KIND_NOT_SET:
        break;
    }
    return FieldError(Ref("kind"), "is not set; allowed: http, tcp, grpc, ttl");
  }

  absl::Status Http(const v1::Check::Http& http) const {
    if (auto s = Text("http.url", http.url(), 1, kMaxUrl); !s.ok()) return s;
    if (auto s = Text("http.method", http.method(), 0, kMaxMethod); !s.ok()) return s;
    if (auto s = Text("http.tls_server_name", http.tls_server_name(), 0, kMaxTarget); !s.ok()) {
      return s;
    }
    auto headers =
        CheckEach(http.headers(), [this](const std::string& name, const std::string& value) {
          auto s = Text("http.headers", name, 1, kMaxHeader);
          return s.ok() ? Text("http.headers", value, 0, kMaxHeader) : s;
        });
    if (!headers.ok()) return headers;
    if (http.body().size() > kMaxBody) {
      return FieldError(Ref("http.body"),
                        absl::StrCat("has ", http.body().size(), " bytes; at most ", kMaxBody));
    }
    for (const auto& range : http.expected_status()) {
      if (range.first() >= 100 && range.first() <= range.last() && range.last() <= 599) continue;
      return FieldError(
          Ref("http.expected_status"),
          absl::StrCat("has ", range.first(), " to ", range.last(), "; allowed: 100 to 599"));
    }
    return absl::OkStatus();
  }

  absl::Status Times() const {
    absl::Duration interval = kDefaultInterval;
    if (check_.has_interval()) {
      auto s = CheckDuration(Ref("interval"), check_.interval(), kMinInterval, kMaxInterval);
      if (!s.ok()) return s;
      interval = FromProto(check_.interval());
    }
    if (check_.has_timeout()) {
      auto s = CheckDuration(Ref("timeout"), check_.timeout(), kMinTimeout, interval);
      if (!s.ok()) return s;
    }
    if (check_.has_failing_interval()) {
      auto s = CheckDuration(Ref("failing_interval"), check_.failing_interval(), kMinInterval,
                             kMaxInterval);
      if (!s.ok()) return s;
    }
    if (!check_.has_deregister_after_critical()) return absl::OkStatus();
    return CheckDuration(Ref("deregister_after_critical"), check_.deregister_after_critical(),
                         kMinInterval, kMaxDeregister);
  }

  const v1::Check& check_;
  const size_t index_;
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

absl::Status NormaliseChecks(Checks& checks) {
  const auto count = static_cast<size_t>(checks.size());
  if (auto s = CheckCount({"instance", "checks"}, count, kMaxChecks); !s.ok()) return s;
  absl::flat_hash_map<std::string_view, size_t> seen;
  for (size_t i = 0; i < count; ++i) {
    v1::Check& check = checks[static_cast<int>(i)];
    if (HasUnknownFields(check)) check.DiscardUnknownFields();
    if (check.id().empty()) check.set_id(absl::StrCat("check-", i + 1));
    if (auto s = CheckRules(check, i).All(); !s.ok()) return s;
    if (count == 1) break;  // nothing to differ from
    if (const auto [it, is_new] = seen.try_emplace(check.id(), i); !is_new) {
      return FieldError({"instance", "checks", i, "id"},
                        absl::StrCat("is ", Quoted(check.id()), ", as that of checks[", it->second,
                                     "]; ids have to differ"));
    }
  }
  return absl::OkStatus();
}

v1::Health InitialStatus(const v1::Check& check) {
  return check.initial_status() == v1::HEALTH_UNSPECIFIED ? v1::CRITICAL : check.initial_status();
}

}  // namespace muster::core
