#include "server/core/instance.h"

#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/names.h"
#include "base/net_address.h"
#include "base/text.h"
#include "server/core/check_rules.h"
#include "server/core/field_rules.h"

namespace muster::core {
namespace {

constexpr size_t kMaxNode = 255;
constexpr size_t kMaxId = 255;
constexpr size_t kMaxAddresses = 8;
constexpr size_t kMaxNamedPorts = 16;
constexpr size_t kMaxPortName = 64;
constexpr size_t kMaxTags = 64;
constexpr size_t kMaxMetadata = 64;
constexpr size_t kMaxLocalityPart = 128;
constexpr size_t kMaxProtocol = 32;
constexpr uint32_t kMaxPort = 65535;
constexpr uint32_t kMaxWeight = 65535;
constexpr std::string_view kParent = "instance";

// Of a message with these three fields: v1::InstanceKey or v1::Instance.
template <typename Message>
absl::StatusOr<storage::InstanceKey> NamesOf(const Message& key, std::string_view field) {
  storage::InstanceKey out;
  const std::string_view ns = key.namespace_().empty() ? kDefaultNamespace : key.namespace_();
  if (auto s = base::CheckName("namespace", ns); !s.ok()) {
    return base::WithField(s, FieldRef{field, "namespace"}.Path());
  }
  if (auto s = base::CheckName("service name", key.service()); !s.ok()) {
    return base::WithField(s, FieldRef{field, "service"}.Path());
  }
  if (auto s = CheckText({field, "node"}, key.node(), 0, kMaxNode); !s.ok()) return s;
  out.ns = base::AsciiLower(ns);
  out.service = base::AsciiLower(key.service());
  out.node = key.node();
  return out;
}

// The same for every start of the same process, so that a crash loop doesn't fill the service.
std::string DefaultId(std::string_view service, std::string_view address, uint32_t port) {
  const std::string text = absl::StrCat(base::Av(address), ":", port);
  const uint64_t hash = XXH3_64bits(text.data(), text.size());
  return absl::StrCat(base::Av(service), "-", absl::Hex(hash, absl::kZeroPad16));
}

absl::StatusOr<std::string> AddressOf(const v1::Instance& instance, std::string_view peer_address,
                                      bool loopback_peer_ok) {
  const FieldRef field{kParent, "address"};
  if (!instance.address().empty()) {
    if (auto s = CheckAddress(field, instance.address()); !s.ok()) return s;
    return instance.address();
  }
  if (!peer_address.empty() && base::IsLoopback(peer_address) && !loopback_peer_ok) {
    return FieldError(field,
                      absl::StrCat("is empty and the call came from ", base::Av(peer_address),
                                   ", which other machines can't connect to; give one"));
  }
  if (auto s = CheckAddress(field, peer_address); !s.ok()) return s;
  return std::string(peer_address);
}

absl::Status CheckAddresses(const v1::Instance& instance) {
  const auto& addresses = instance.additional_addresses();
  const auto count = static_cast<size_t>(addresses.size());
  if (auto s = CheckCount({kParent, "additional_addresses"}, count, kMaxAddresses); !s.ok()) {
    return s;
  }
  for (size_t i = 0; i < count; ++i) {
    auto s = CheckAddress({kParent, "additional_addresses", i}, addresses[static_cast<int>(i)]);
    if (!s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status CheckPorts(const v1::Instance& instance) {
  if (auto s = CheckNumber({kParent, "port"}, instance.port(), kMaxPort); !s.ok()) return s;
  const FieldRef field{kParent, "named_ports"};
  if (auto s = CheckCount(field, instance.named_ports().size(), kMaxNamedPorts); !s.ok()) return s;
  return CheckEach(instance.named_ports(), [&](const std::string& name, uint32_t port) {
    auto s = CheckText(field, name, 1, kMaxPortName);
    return s.ok() ? CheckNumber(field, port, kMaxPort) : s;
  });
}

absl::Status CheckTags(const v1::Instance& instance) {
  const auto count = static_cast<size_t>(instance.tags_size());
  if (auto s = CheckCount({kParent, "tags"}, count, kMaxTags); !s.ok()) return s;
  for (size_t i = 0; i < count; ++i) {
    auto s = CheckText({kParent, "tags", i}, instance.tags(static_cast<int>(i)), 1, kMaxTag);
    if (!s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status CheckMetadata(const v1::Instance& instance) {
  const FieldRef field{kParent, "metadata"};
  if (auto s = CheckCount(field, instance.metadata().size(), kMaxMetadata); !s.ok()) return s;
  return CheckEach(instance.metadata(), [&](const std::string& key, const std::string& value) {
    auto s = CheckText(field, key, 1, kMaxMetadataKey);
    return s.ok() ? CheckText(field, value, 0, kMaxMetadataValue) : s;
  });
}

absl::Status CheckHints(const v1::Instance& instance) {
  const v1::Weight& weight = instance.weight();
  if (auto s = CheckNumber({kParent, "weight.passing"}, weight.passing(), kMaxWeight); !s.ok()) {
    return s;
  }
  if (auto s = CheckNumber({kParent, "weight.warning"}, weight.warning(), kMaxWeight); !s.ok()) {
    return s;
  }
  const v1::Locality& locality = instance.locality();
  for (const auto& [name, value] :
       {std::pair<std::string_view, const std::string&>{"locality.region", locality.region()},
        {"locality.zone", locality.zone()},
        {"locality.sub_zone", locality.sub_zone()}}) {
    if (auto s = CheckText({kParent, name}, value, 0, kMaxLocalityPart); !s.ok()) return s;
  }
  if (auto s = CheckText({kParent, "version"}, instance.version(), 0, kMaxVersion); !s.ok()) {
    return s;
  }
  return CheckText({kParent, "protocol"}, instance.protocol(), 0, kMaxProtocol);
}

absl::Status CheckFields(const v1::Instance& instance) {
  for (const auto check : {CheckAddresses, CheckPorts, CheckTags, CheckMetadata, CheckHints}) {
    if (auto s = check(instance); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> NormalName(std::string_view what, std::string_view name,
                                       std::string_view field) {
  if (auto s = base::CheckName(what, name); !s.ok()) return base::WithField(s, field);
  return base::AsciiLower(name);
}

absl::StatusOr<std::string> NormalNamespace(std::string_view ns, std::string_view field) {
  return NormalName("namespace", ns.empty() ? kDefaultNamespace : ns, field);
}

absl::StatusOr<storage::InstanceKey> NormalKey(const v1::InstanceKey& key, std::string_view field) {
  auto out = NamesOf(key, field);
  if (!out.ok()) return out;
  if (auto s = CheckText({field, "id"}, key.id(), 1, kMaxId); !s.ok()) return s;
  out->id = key.id();
  return out;
}

absl::StatusOr<NormalInstance> Normalise(v1::Instance&& instance, std::string_view peer_address,
                                         bool loopback_peer_ok) {
  if (const size_t bytes = instance.ByteSizeLong(); bytes > kMaxInstanceBytes) {
    return FieldError({"", kParent},
                      absl::StrCat("has ", bytes, " bytes; at most ", kMaxInstanceBytes),
                      base::Reason::kInstanceTooLarge);
  }
  auto key = NamesOf(instance, kParent);
  if (!key.ok()) return key.status();
  auto address = AddressOf(instance, peer_address, loopback_peer_ok);
  if (!address.ok()) return address.status();
  key->id = instance.id().empty() ? DefaultId(key->service, *address, instance.port())
                                  : std::move(*instance.mutable_id());
  if (auto s = CheckText({kParent, "id"}, key->id, 1, kMaxId); !s.ok()) return s;
  if (auto s = CheckFields(instance); !s.ok()) return s;
  if (auto s = NormaliseChecks(*instance.mutable_checks(), instance.port()); !s.ok()) return s;

  NormalInstance out;
  out.display_name = std::move(*instance.mutable_service());
  out.endpoint = EncodeEndpoint(instance, *key, *address);
  out.key = *std::move(key);
  absl::InlinedVector<std::string_view, 4> encoded;
  out.checks.reserve(static_cast<size_t>(instance.checks_size()));
  for (const v1::Check& check : instance.checks()) {
    NormalCheck& normal = out.checks.emplace_back();
    normal.id = check.id();
    normal.initial_status = InitialStatus(check);
    AppendDeterministic(check, normal.encoded);
    encoded.push_back(normal.encoded);
    out.initial_health = std::max(out.initial_health, normal.initial_status);
  }
  out.digest = DigestOfEncoded(out.endpoint, encoded);
  return out;
}

absl::StatusOr<NormalInstance> Normalise(const v1::Instance& instance,
                                         std::string_view peer_address, bool loopback_peer_ok) {
  return Normalise(v1::Instance(instance), peer_address, loopback_peer_ok);
}

v1::Instance ToInstance(const storage::InstanceKeyView& key, std::string_view display_name,
                        const storage::v1::InstanceRecord& record) {
  v1::Endpoint endpoint;
  // Bytes of our own; of damaged ones what could be read is shown.
  (void)endpoint.ParseFromString(record.endpoint());
  v1::Instance out;
  out.set_namespace_(std::string(key.ns));
  out.set_service(std::string(display_name.empty() ? key.service : display_name));
  out.set_node(std::string(key.node));
  out.set_id(std::string(key.id));
  out.set_address(endpoint.address());
  *out.mutable_additional_addresses() = endpoint.additional_addresses();
  out.set_port(endpoint.port());
  *out.mutable_named_ports() = endpoint.named_ports();
  *out.mutable_tags() = endpoint.tags();
  *out.mutable_metadata() = endpoint.metadata();
  if (endpoint.has_weight()) *out.mutable_weight() = endpoint.weight();
  if (endpoint.has_locality()) *out.mutable_locality() = endpoint.locality();
  out.set_version(endpoint.version());
  out.set_protocol(endpoint.protocol());
  *out.mutable_checks() = record.checks();
  return out;
}

v1::InstanceKey ToProto(const storage::InstanceKeyView& key) {
  v1::InstanceKey out;
  out.set_namespace_(std::string(key.ns));
  out.set_service(std::string(key.service));
  out.set_node(std::string(key.node));
  out.set_id(std::string(key.id));
  return out;
}

}  // namespace muster::core
