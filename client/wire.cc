#include "client/wire.h"

#include <google/protobuf/util/time_util.h>

namespace muster::client {
namespace {

// A server that is newer than this program may know more of each.
Endpoint::Health HealthOf(v1::Health health) {
  switch (health) {
    case v1::PASSING:
      return Endpoint::Health::kPassing;
    case v1::WARNING:
      return Endpoint::Health::kWarning;
    default:
      return Endpoint::Health::kCritical;
  }
}

Endpoint::State StateOf(v1::State state) {
  switch (state) {
    case v1::ACTIVE:
      return Endpoint::State::kActive;
    case v1::DRAINING:
      return Endpoint::State::kDraining;
    default:
      return Endpoint::State::kMaintenance;
  }
}

v1::Selector::MinHealth ToWire(Query::MinHealth health) {
  switch (health) {
    case Query::MinHealth::kPassing:
      return v1::Selector::PASSING;
    case Query::MinHealth::kWarning:
      return v1::Selector::WARNING;
    case Query::MinHealth::kAny:
      return v1::Selector::ANY;
  }
  return v1::Selector::PASSING;
}

}  // namespace

Endpoint FromWire(const v1::Endpoint& wire) {
  Endpoint out;
  out.id = wire.id();
  out.node = wire.node();
  out.address = {wire.address(), static_cast<uint16_t>(wire.port())};
  out.more_hosts.assign(wire.additional_addresses().begin(), wire.additional_addresses().end());
  for (const auto& [name, port] : wire.named_ports()) {
    out.named_ports[name] = static_cast<uint16_t>(port);
  }
  out.tags.assign(wire.tags().begin(), wire.tags().end());
  out.metadata.insert(wire.metadata().begin(), wire.metadata().end());
  out.version = wire.version();
  out.protocol = wire.protocol();
  out.region = wire.locality().region();
  out.zone = wire.locality().zone();
  out.sub_zone = wire.locality().sub_zone();
  out.passing_weight = wire.weight().passing();
  out.warning_weight = wire.weight().warning();
  out.health = HealthOf(wire.health());
  out.state = StateOf(wire.state());
  out.revision = wire.revision();
  return out;
}

v1::Endpoint ToWire(const Endpoint& endpoint) {
  v1::Endpoint out;
  out.set_id(endpoint.id);
  out.set_node(endpoint.node);
  out.set_address(endpoint.address.host);
  out.set_port(endpoint.address.port);
  for (const std::string& host : endpoint.more_hosts) out.add_additional_addresses(host);
  for (const auto& [name, port] : endpoint.named_ports) (*out.mutable_named_ports())[name] = port;
  for (const std::string& tag : endpoint.tags) out.add_tags(tag);
  for (const auto& [key, value] : endpoint.metadata) (*out.mutable_metadata())[key] = value;
  out.set_version(endpoint.version);
  out.set_protocol(endpoint.protocol);
  if (!(endpoint.region + endpoint.zone + endpoint.sub_zone).empty()) {
    out.mutable_locality()->set_region(endpoint.region);
    out.mutable_locality()->set_zone(endpoint.zone);
    out.mutable_locality()->set_sub_zone(endpoint.sub_zone);
  }
  out.mutable_weight()->set_passing(endpoint.passing_weight);
  out.mutable_weight()->set_warning(endpoint.warning_weight);
  out.set_health(static_cast<v1::Health>(endpoint.health));
  out.set_state(static_cast<v1::State>(endpoint.state));
  out.set_revision(endpoint.revision);
  return out;
}

google::protobuf::Duration ToWire(absl::Duration duration) {
  return google::protobuf::util::TimeUtil::NanosecondsToDuration(
      absl::ToInt64Nanoseconds(duration));
}

v1::Subscribe ToSubscribe(const Query& query) {
  v1::Subscribe out;
  out.set_namespace_(query.ns);
  out.set_service(query.service);
  v1::Selector& selector = *out.mutable_selector();
  for (const std::string& tag : query.tags) selector.add_all_tags(tag);
  for (const auto& [key, value] : query.metadata) (*selector.mutable_metadata())[key] = value;
  selector.set_version(query.version);
  selector.set_min_health(ToWire(query.min_health));
  selector.set_include_draining(query.include_draining);
  return out;
}

}  // namespace muster::client
