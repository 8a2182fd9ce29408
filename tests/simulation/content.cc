#include "tests/simulation/content.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace muster::simulation {

std::vector<CheckSpec> ChecksOf(const Content& content) {
  switch (content.checks) {
    case 1:
      return {{"c1", v1::PASSING, 10}};
    case 2:
      return {{"c1", v1::PASSING, 10}, {"c2", v1::WARNING, 10}};
    case 3:
      return {{"c1", v1::CRITICAL, 20}};
    default:
      return {};
  }
}

v1::Endpoint EndpointOf(const storage::InstanceKey& key, const Content& content) {
  const int n = content.variant;
  v1::Endpoint out;
  out.set_node(key.node);
  out.set_id(key.id);
  out.set_address(absl::StrCat("10.0.0.", n + 1));
  out.set_port(static_cast<uint32_t>(8000 + n / 2));
  out.add_tags(absl::StrCat("t", n % 3));
  if (n % 2 == 1) out.add_tags("blue");
  if (n % 3 == 0) (*out.mutable_metadata())["ring"] = absl::StrCat(n % 2);
  if (n % 4 == 1) (*out.mutable_named_ports())["admin"] = 9000;
  out.mutable_weight()->set_passing(n % 4 == 3 ? 0 : 1);
  out.mutable_weight()->set_warning(n % 4 == 3 ? 5 : 1);
  out.mutable_locality()->set_region(absl::StrCat("r", n % 2));
  out.mutable_locality()->set_zone(absl::StrCat("z", n % 4));
  out.set_version(absl::StrCat(n / 4));
  return out;
}

v1::Instance InstanceOf(const storage::InstanceKey& key, const std::string& display,
                        const Content& content) {
  const v1::Endpoint endpoint = EndpointOf(key, content);
  v1::Instance out;
  out.set_namespace_(key.ns);
  out.set_service(display);
  out.set_node(key.node);
  out.set_id(key.id);
  out.set_address(endpoint.address());
  out.set_port(endpoint.port());
  *out.mutable_tags() = endpoint.tags();
  *out.mutable_metadata() = endpoint.metadata();
  *out.mutable_named_ports() = endpoint.named_ports();
  if (content.variant % 4 == 3) *out.mutable_weight() = endpoint.weight();
  *out.mutable_locality() = endpoint.locality();
  out.set_version(endpoint.version());
  for (const CheckSpec& spec : ChecksOf(content)) {
    v1::Check* check = out.add_checks();
    check->set_id(spec.id);
    check->mutable_ttl()->mutable_ttl()->set_seconds(spec.ttl_s);
    check->set_initial_status(spec.initial);
  }
  return out;
}

v1::Selector SelectorOf(int index) {
  v1::Selector out;
  switch (index) {
    case 1:
      out.set_min_health(v1::Selector::ANY);
      out.set_include_draining(true);
      break;
    case 2:
      out.add_all_tags("t0");
      break;
    case 3:
      out.add_all_tags("blue");
      out.set_min_health(v1::Selector::ANY);
      break;
    case 4:
      out.set_version("1");
      out.set_min_health(v1::Selector::WARNING);
      break;
    case 5:
      (*out.mutable_metadata())["ring"] = "0";
      break;
    case 6:
      out.set_min_health(v1::Selector::WARNING);
      break;
    default:
      break;
  }
  return out;
}

bool SelectsDefinition(int index, const v1::Endpoint& endpoint) {
  const auto tagged = [&](const char* tag) {
    return std::count(endpoint.tags().begin(), endpoint.tags().end(), tag) > 0;
  };
  switch (index) {
    case 2:
      return tagged("t0");
    case 3:
      return tagged("blue");
    case 4:
      return endpoint.version() == "1";
    case 5: {
      const auto ring = endpoint.metadata().find("ring");
      return ring != endpoint.metadata().end() && ring->second == "0";
    }
    default:
      return true;
  }
}

bool Selects(int index, const v1::Endpoint& endpoint) {
  const bool any = index == 1 || index == 3;
  const bool warning = index == 4 || index == 6;
  if (!any && endpoint.health() == v1::CRITICAL) return false;
  if (!any && !warning && endpoint.health() == v1::WARNING) return false;
  return SelectsDefinition(index, endpoint);
}

std::string BytesOf(const v1::Endpoint& endpoint) {
  std::string out;
  google::protobuf::io::StringOutputStream stream(&out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  endpoint.SerializeToCodedStream(&coded);
  coded.Trim();
  return out;
}

}  // namespace muster::simulation
