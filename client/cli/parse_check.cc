#include "client/cli/parse_check.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/duration_text.h"
#include "base/text.h"
#include "client/cli/parse.h"

namespace muster::cli {

const char kCheckHelp[] =
    "A SPEC is KIND[:TARGET][,KEY=VALUE...]: http:/health, http:https://10.0.0.7:8443/ready, tcp,\n"
    "tcp:10.0.0.7:6379, grpc, grpc:10.0.0.7:50051, ttl:30s. Without TARGET it is the instance's "
    "own\n"
    "address and port. A comma of a value is written \\,\n"
    "Keys: id, name, initial (passing, warning, critical), deregister-after; of http, tcp, grpc:\n"
    "interval, timeout, failing-interval, success, warning, failures (how many in a row), tls,\n"
    "skip-verify, server-name; of http: method, header (\"Name: value\"), body, expect (200-299),\n"
    "contains; of grpc: service.";

namespace {

// Bits of a set of kinds.
enum Kinds : uint8_t { kHttp = 1, kTcp = 2, kGrpc = 4, kTtl = 8, kProbes = 7, kAll = 15 };

struct KindName {
  std::string_view name;
  Kinds bit;
};
constexpr KindName kKinds[] = {{"http", kHttp}, {"tcp", kTcp}, {"grpc", kGrpc}, {"ttl", kTtl}};

// What is allowed; "" = the value was, and has been taken.
using Allowed = std::string_view;
using Setter = Allowed (*)(const std::string& value, v1::Check& check);

constexpr Allowed kTaken = "";
constexpr uint32_t kMostInARow = 100;

template <auto kMutable>
Allowed TakeDuration(const std::string& value, v1::Check& check) {
  const auto duration = base::ParseDuration(value);
  if (!duration.ok()) return "a duration such as 250ms, 30s, 1h30m";
  SetDuration(*duration, (check.*kMutable)());
  return kTaken;
}

template <auto kSet>
Allowed TakeCount(const std::string& value, v1::Check& check) {
  uint32_t count = 0;
  if (!absl::SimpleAtoi(value, &count) || count > kMostInARow) return "a number, 0 to 100";
  (check.*kSet)(count);
  return kTaken;
}

// Does it to the message of the check's kind, where each that is probed has the same fields.
template <typename Do>
void OfProbe(v1::Check& check, Do apply) {
  if (check.has_http()) apply(*check.mutable_http());
  if (check.has_tcp()) apply(*check.mutable_tcp());
  if (check.has_grpc()) apply(*check.mutable_grpc());
}

template <typename Set>
Allowed TakeBool(const std::string& value, Set set) {
  const std::string lower = base::AsciiLower(value);
  if (lower != "true" && lower != "false") return "true, false, or the key alone";
  set(lower == "true");
  return kTaken;
}

Allowed TakeInitial(const std::string& value, v1::Check& check) {
  const auto health = ParseHealth(value);
  if (!health.ok()) return "passing, warning, critical";
  check.set_initial_status(*health);
  return kTaken;
}

Allowed TakeHeader(const std::string& value, v1::Check& check) {
  const size_t colon = value.find(':');
  const auto strip = [](const std::string& text) {
    return std::string(absl::StripAsciiWhitespace(text));
  };
  const std::string name = strip(value.substr(0, colon));
  if (colon == std::string::npos || name.empty()) return "\"Name: value\"";
  auto& headers = *check.mutable_http()->mutable_headers();
  for (const auto& [other, unused] : headers) {
    if (absl::EqualsIgnoreCase(other, name)) return "each header once";
  }
  headers[name] = strip(value.substr(colon + 1));
  return kTaken;
}

bool ParseStatus(const std::string& text, uint32_t* status) {
  return text.size() == 3 && absl::SimpleAtoi(text, status) && *status >= 100 && *status <= 599;
}

Allowed TakeExpect(const std::string& value, v1::Check& check) {
  const size_t dash = value.find('-');
  uint32_t first = 0;
  uint32_t last = 0;
  const bool good = ParseStatus(value.substr(0, dash), &first) &&
                    ParseStatus(dash == std::string::npos ? value : value.substr(dash + 1), &last);
  if (!good || first > last) return "a status or range of 100 to 599, such as 200 or 200-299";
  v1::Check::StatusRange& range = *check.mutable_http()->add_expected_status();
  range.set_first(first);
  range.set_last(last);
  return kTaken;
}

struct Key {
  std::string_view name;
  Kinds kinds;
  Setter set;
  bool alone = false;  // means true
  bool repeats = false;
};

constexpr Key kKeys[] = {
    {"id", kAll,
     [](const std::string& value, v1::Check& check) {
       check.set_id(value);
       return kTaken;
     }},
    {"name", kAll,
     [](const std::string& value, v1::Check& check) {
       check.set_name(value);
       return kTaken;
     }},
    {"initial", kAll, TakeInitial},
    {"deregister-after", kAll, TakeDuration<&v1::Check::mutable_deregister_after_critical>},
    {"interval", kProbes, TakeDuration<&v1::Check::mutable_interval>},
    {"timeout", kProbes, TakeDuration<&v1::Check::mutable_timeout>},
    {"failing-interval", kProbes, TakeDuration<&v1::Check::mutable_failing_interval>},
    {"success", kProbes, TakeCount<&v1::Check::set_success_before_passing>},
    {"warning", kProbes, TakeCount<&v1::Check::set_failures_before_warning>},
    {"failures", kProbes, TakeCount<&v1::Check::set_failures_before_critical>},
    {"tls", kProbes,
     [](const std::string& value, v1::Check& check) {
       return TakeBool(value, [&](bool on) { OfProbe(check, [on](auto& of) { of.set_tls(on); }); });
     },
     true},
    {"skip-verify", kProbes,
     [](const std::string& value, v1::Check& check) {
       return TakeBool(
           value, [&](bool on) { OfProbe(check, [on](auto& of) { of.set_tls_skip_verify(on); }); });
     },
     true},
    {"server-name", kProbes,
     [](const std::string& value, v1::Check& check) {
       OfProbe(check, [&](auto& of) { of.set_tls_server_name(value); });
       return kTaken;
     }},
    {"method", kHttp,
     [](const std::string& value, v1::Check& check) {
       check.mutable_http()->set_method(value);
       return kTaken;
     }},
    {"header", kHttp, TakeHeader, false, true},
    {"body", kHttp,
     [](const std::string& value, v1::Check& check) {
       check.mutable_http()->set_body(value);
       return kTaken;
     }},
    {"expect", kHttp, TakeExpect, false, true},
    {"contains", kHttp,
     [](const std::string& value, v1::Check& check) {
       check.mutable_http()->set_body_contains(value);
       return kTaken;
     }},
    {"service", kGrpc,
     [](const std::string& value, v1::Check& check) {
       check.mutable_grpc()->set_service(value);
       return kTaken;
     }},
};

std::vector<std::string> KindNames(Kinds of) {
  std::vector<std::string> names;
  for (const KindName& kind : kKinds) {
    if ((kind.bit & of) != 0) names.emplace_back(kind.name);
  }
  return names;
}

std::vector<std::string_view> KeyNames(Kinds of) {
  std::vector<std::string_view> names;
  for (const Key& key : kKeys) {
    if ((key.kinds & of) != 0) names.push_back(key.name);
  }
  return names;
}

// At commas, of which those behind a backslash are part of a value.
std::vector<std::string> Split(const std::string& spec) {
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < spec.size(); ++i) {
    if (spec[i] == ',') {
      parts.emplace_back();
    } else if (spec[i] == '\\' && i + 1 < spec.size() && spec[i + 1] == ',') {
      parts.back() += spec[++i];
    } else {
      parts.back() += spec[i];
    }
  }
  return parts;
}

// One text, read once.
class SpecReader {
 public:
  explicit SpecReader(const std::string& spec) : spec_(spec) {}

  absl::StatusOr<v1::Check> Read() {
    if (!base::IsUtf8(spec_)) return Wrong("is not UTF-8");
    const std::vector<std::string> parts = Split(spec_);
    if (absl::Status status = ReadKind(parts[0]); !status.ok()) return status;
    for (size_t i = 1; i < parts.size(); ++i) {
      if (absl::Status status = ReadPart(parts[i]); !status.ok()) return status;
    }
    return check_;
  }

 private:
  absl::Status Wrong(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat("check ", base::Quoted(spec_), ": ", what));
  }

  absl::Status ReadKind(const std::string& text) {
    const size_t colon = text.find(':');
    const std::string name = base::AsciiLower(text.substr(0, colon));
    const auto* const kind =
        std::find_if(std::begin(kKinds), std::end(kKinds),
                     [&](const KindName& known) { return known.name == base::Sv(name); });
    if (kind == std::end(kKinds)) return UnknownKind(text.substr(0, colon));
    kind_ = kind->bit;
    const bool has_target = colon != std::string::npos;
    const std::string target = has_target ? text.substr(colon + 1) : "";
    if (has_target && target.empty()) {
      return Wrong(absl::StrCat("nothing follows \"", name, ":\"; allowed: ", TargetAllowed()));
    }
    return SetTarget(target);
  }

  std::string TargetAllowed() const {
    if (kind_ == kHttp) return "http:/health, http:https://10.0.0.7:8443/ready";
    if (kind_ == kTcp) return "tcp, tcp:10.0.0.7:6379";
    return kind_ == kGrpc ? "grpc, grpc:10.0.0.7:50051" : "ttl:30s";
  }

  absl::Status SetTarget(const std::string& target) {
    if (kind_ == kTcp) check_.mutable_tcp()->set_target(target);
    if (kind_ == kGrpc) check_.mutable_grpc()->set_target(target);
    if (kind_ == kTcp || kind_ == kGrpc) return absl::OkStatus();
    const char* const what = kind_ == kHttp ? "a path or URL" : "a duration";
    if (target.empty()) {
      return Wrong(absl::StrCat(what, " is missing; allowed: ", TargetAllowed()));
    }
    if (kind_ == kHttp) {
      check_.mutable_http()->set_url(target);
      return absl::OkStatus();
    }
    const auto ttl = base::ParseDuration(target);
    if (!ttl.ok()) {
      return Wrong(
          absl::StrCat("ttl is ", base::Quoted(target), "; allowed: a duration such as 30s"));
    }
    SetDuration(*ttl, check_.mutable_ttl()->mutable_ttl());
    return absl::OkStatus();
  }

  absl::Status UnknownKind(const std::string& given) const {
    if (base::AsciiLower(given) == "https") {
      return Wrong("no kind \"https\"; allowed: http:/PATH,tls and http:https://HOST:PORT/PATH");
    }
    std::vector<std::string_view> names;
    for (const KindName& kind : kKinds) names.push_back(kind.name);
    const std::string nearest = base::NearestName(base::AsciiLower(given), names);
    return Wrong(absl::StrCat("no kind ", base::Quoted(given),
                              nearest.empty() ? "; allowed: http, tcp, grpc, ttl"
                                              : absl::StrCat("; did you mean '", nearest, "'?")));
  }

  absl::Status ReadPart(const std::string& part) {
    const size_t equals = part.find('=');
    const std::string name = base::AsciiLower(part.substr(0, equals));
    const auto* const key = std::find_if(std::begin(kKeys), std::end(kKeys), [&](const Key& known) {
      return known.name == base::Sv(name);
    });
    if (key == std::end(kKeys)) return UnknownKey(part.substr(0, equals));
    if ((key->kinds & kind_) == 0) {
      return Wrong(absl::StrCat("key '", name, "' goes with ",
                                absl::StrJoin(KindNames(key->kinds), ", "), " only"));
    }
    if (!key->repeats && !seen_.insert(name).second) {
      return Wrong(absl::StrCat("key '", name, "' is given twice"));
    }
    const bool alone = equals == std::string::npos;
    if (alone && !key->alone) return Wrong(absl::StrCat("key '", name, "' has no value"));
    const std::string value = alone ? "true" : part.substr(equals + 1);
    if (value.empty()) return Wrong(absl::StrCat("key '", name, "' has an empty value"));
    const Allowed allowed = key->set(value, check_);
    if (allowed.empty()) return absl::OkStatus();
    return Wrong(absl::StrCat(name, " is ", base::Quoted(value), "; allowed: ", base::Av(allowed)));
  }

  absl::Status UnknownKey(const std::string& given) const {
    if (given.empty()) {
      return Wrong("a key is missing; allowed: KEY=VALUE, and \\, for a comma of a value");
    }
    const std::vector<std::string_view> names = KeyNames(kind_);
    const std::string nearest = base::NearestName(base::AsciiLower(given), names);
    std::vector<std::string> allowed(names.begin(), names.end());
    return Wrong(absl::StrCat("no key ", base::Quoted(given),
                              nearest.empty()
                                  ? absl::StrCat("; allowed: ", absl::StrJoin(allowed, ", "))
                                  : absl::StrCat("; did you mean '", nearest, "'?")));
  }

  const std::string& spec_;
  Kinds kind_ = kAll;
  std::set<std::string> seen_;
  v1::Check check_;
};

}  // namespace

absl::StatusOr<v1::Check> ParseCheck(const std::string& spec) { return SpecReader(spec).Read(); }

absl::StatusOr<v1::Check> ParseProbe(const std::string& spec, const std::string& instead) {
  auto check = ParseCheck(spec);
  if (!check.ok() || !check->has_ttl()) return check;
  return absl::InvalidArgumentError(
      absl::StrCat("check ", base::Quoted(spec),
                   ": no server runs a ttl check; allowed: http, tcp, grpc, and ", instead));
}

}  // namespace muster::cli
