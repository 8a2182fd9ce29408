#include "client/lease/instance_request.h"

#include <set>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/names.h"
#include "base/net_address.h"
#include "base/text.h"
#include "client/lease/check_wire.h"
#include "client/wire.h"

namespace muster::client {
namespace {

constexpr absl::Duration kShortest = absl::Seconds(1);
constexpr absl::Duration kLongest = absl::Hours(24);
constexpr uint32_t kMaxWeight = 65'535;

absl::Status Invalid(std::string_view field, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", std::string(why)));
}

absl::Status CheckText(std::string_view field, const std::string& text) {
  if (base::IsUtf8(text)) return absl::OkStatus();
  return Invalid(field, base::Quoted(text) + " is no UTF-8");
}

absl::Status CheckTexts(const Instance& instance) {
  absl::Status status;
  const auto check = [&status](std::string_view field, const std::string& text) {
    if (status.ok()) status = CheckText(field, text);
  };
  check("node", instance.node);
  check("id", instance.id);
  check("version", instance.version);
  check("protocol", instance.protocol);
  check("region", instance.region);
  check("zone", instance.zone);
  check("sub_zone", instance.sub_zone);
  for (const std::string& tag : instance.tags) check("tags", tag);
  for (const auto& [name, port] : instance.named_ports) check("named_ports", name);
  for (const auto& [key, value] : instance.metadata) {
    check("metadata", key);
    check("metadata", value);
  }
  return status;
}

absl::Status CheckHost(std::string_view field, const std::string& host) {
  const base::IpKind kind = base::KindOfIp(host);
  if (kind == base::IpKind::kUnspecified) {
    return Invalid(field, base::Quoted(host) + " is nowhere that a client could connect to");
  }
  if (kind != base::IpKind::kNone) return absl::OkStatus();
  const std::string problem = base::HostNameProblem(host);
  return problem.empty() ? absl::OkStatus() : Invalid(field, problem);
}

absl::Status CheckDuration(std::string_view field, absl::Duration duration) {
  if (duration >= kShortest && duration <= kLongest) return absl::OkStatus();
  return Invalid(field, base::FormatDuration(duration) + "; allowed: 1s to 24h");
}

absl::Status CheckNames(const Instance& instance) {
  absl::Status status = base::CheckName("service", instance.service);
  if (!status.ok()) return absl::InvalidArgumentError(status.message());
  if (!instance.ns.empty()) status = base::CheckName("ns", instance.ns);
  if (!status.ok()) return absl::InvalidArgumentError(status.message());
  if (!instance.address.host.empty()) status = CheckHost("address", instance.address.host);
  for (const std::string& host : instance.more_hosts) {
    if (status.ok()) status = CheckHost("more_hosts", host);
  }
  return status;
}

absl::Status CheckWeight(std::string_view field, uint32_t weight) {
  if (weight <= kMaxWeight) return absl::OkStatus();
  return Invalid(field, absl::StrCat(weight, "; allowed: 0 to ", kMaxWeight));
}

absl::Status CheckTtlChecks(const std::vector<TtlCheck>& checks) {
  std::set<std::string> ids;
  for (const TtlCheck& check : checks) {
    if (check.id.empty()) return Invalid("ttl_checks", "one has no id");
    if (absl::Status status = CheckText("ttl_checks", check.id); !status.ok()) return status;
    if (!ids.insert(check.id).second) {
      return Invalid("ttl_checks", base::Quoted(check.id) + " is there twice");
    }
    const std::string field = absl::StrCat("ttl of the check ", base::Quoted(check.id));
    if (absl::Status status = CheckDuration(field, check.ttl); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckInstance(const Instance& instance, const RegisterOptions& options) {
  absl::Status status = CheckNames(instance);
  if (status.ok()) status = CheckTexts(instance);
  if (status.ok()) status = CheckWeight("passing_weight", instance.passing_weight);
  if (status.ok()) status = CheckWeight("warning_weight", instance.warning_weight);
  if (status.ok()) status = CheckTtlChecks(instance.ttl_checks);
  if (status.ok()) status = CheckServerChecks(instance);
  if (status.ok()) status = CheckDuration("ttl", options.ttl);
  if (status.ok() && options.drain < absl::ZeroDuration()) {
    status = Invalid("drain", "is below 0");
  }
  if (status.ok() && options.leave_within < absl::ZeroDuration()) {
    status = Invalid("leave_within", "is below 0");
  }
  return status;
}

}  // namespace

absl::StatusOr<v1::RegisterRequest> ToRegister(const Instance& instance,
                                               const RegisterOptions& options) {
  if (absl::Status status = CheckInstance(instance, options); !status.ok()) return status;
  v1::RegisterRequest request;
  *request.mutable_ttl() = ToWire(options.ttl);
  v1::Instance& out = *request.mutable_instance();
  out.set_namespace_(instance.ns);
  out.set_service(instance.service);
  out.set_node(instance.node);
  out.set_id(instance.id);
  out.set_address(instance.address.host);
  out.set_port(instance.address.port);
  for (const std::string& host : instance.more_hosts) out.add_additional_addresses(host);
  for (const auto& [name, port] : instance.named_ports) (*out.mutable_named_ports())[name] = port;
  for (const std::string& tag : instance.tags) out.add_tags(tag);
  for (const auto& [key, value] : instance.metadata) (*out.mutable_metadata())[key] = value;
  out.mutable_weight()->set_passing(instance.passing_weight);
  out.mutable_weight()->set_warning(instance.warning_weight);
  if (!(instance.region + instance.zone + instance.sub_zone).empty()) {
    out.mutable_locality()->set_region(instance.region);
    out.mutable_locality()->set_zone(instance.zone);
    out.mutable_locality()->set_sub_zone(instance.sub_zone);
  }
  out.set_version(instance.version);
  out.set_protocol(instance.protocol);
  for (const TtlCheck& check : instance.ttl_checks) {
    v1::Check& wire = *out.add_checks();
    wire.set_id(check.id);
    *wire.mutable_ttl()->mutable_ttl() = ToWire(check.ttl);
  }
  for (const Check& check : instance.checks) *out.add_checks() = ToWire(check);
  return request;
}

}  // namespace muster::client
