#include "server/core/definition.h"

#include <google/protobuf/io/coded_stream.h>
#include <xxhash.h>

#include <algorithm>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "server/core/field_writer.h"

namespace muster::core {
namespace {

using v1::Endpoint;

constexpr uint32_t kDefaultWeight = 1;
constexpr size_t kUsualEntries = 16;

// Of entries of maps.
constexpr int kKey = 1;
constexpr int kValue = 2;

// The map's entries in the order of their keys.
template <typename Map>
auto Sorted(const Map& map) {
  absl::InlinedVector<const typename Map::value_type*, kUsualEntries> entries;
  for (const auto& entry : map) entries.push_back(&entry);
  std::sort(entries.begin(), entries.end(),
            [](const auto* a, const auto* b) { return a->first < b->first; });
  return entries;
}

void WritePorts(const v1::Instance& instance, FieldWriter& out) {
  for (const auto* port : Sorted(instance.named_ports())) {
    out.Head(Endpoint::kNamedPortsFieldNumber,
             FieldWriter::AnyTextSize(port->first) + FieldWriter::AnyNumberSize(port->second));
    out.AnyText(kKey, port->first);
    out.AnyNumber(kValue, port->second);
  }
}

void WriteMetadata(const v1::Instance& instance, FieldWriter& out) {
  for (const auto* entry : Sorted(instance.metadata())) {
    out.Head(Endpoint::kMetadataFieldNumber,
             FieldWriter::AnyTextSize(entry->first) + FieldWriter::AnyTextSize(entry->second));
    out.AnyText(kKey, entry->first);
    out.AnyText(kValue, entry->second);
  }
}

void WriteWeight(const v1::Instance& instance, FieldWriter& out) {
  const bool given = instance.has_weight();
  const uint32_t passing = given ? instance.weight().passing() : kDefaultWeight;
  const uint32_t warning = given ? instance.weight().warning() : kDefaultWeight;
  out.Head(Endpoint::kWeightFieldNumber,
           FieldWriter::NumberSize(passing) + FieldWriter::NumberSize(warning));
  out.Number(v1::Weight::kPassingFieldNumber, passing);
  out.Number(v1::Weight::kWarningFieldNumber, warning);
}

void WriteLocality(const v1::Locality& locality, FieldWriter& out) {
  const size_t size = FieldWriter::TextSize(locality.region()) +
                      FieldWriter::TextSize(locality.zone()) +
                      FieldWriter::TextSize(locality.sub_zone());
  if (size == 0) return;
  out.Head(Endpoint::kLocalityFieldNumber, size);
  out.Text(v1::Locality::kRegionFieldNumber, locality.region());
  out.Text(v1::Locality::kZoneFieldNumber, locality.zone());
  out.Text(v1::Locality::kSubZoneFieldNumber, locality.sub_zone());
}

// What an endpoint takes at most, less node, id and address.
size_t MostOf(const v1::Instance& instance) {
  constexpr size_t kHead = FieldWriter::kMaxHead;
  constexpr size_t kNumber = FieldWriter::kMaxNumber;
  const v1::Locality& locality = instance.locality();
  size_t most = 3 * kHead + kNumber + (kHead + 2 * kNumber);  // names, port, weight
  most +=
      4 * kHead + locality.region().size() + locality.zone().size() + locality.sub_zone().size();
  most += 2 * kHead + instance.version().size() + instance.protocol().size();
  for (const std::string& more : instance.additional_addresses()) most += kHead + more.size();
  for (const std::string& tag : instance.tags()) most += kHead + tag.size();
  for (const auto& [name, port] : instance.named_ports()) most += 2 * kHead + name.size() + kNumber;
  for (const auto& [key, value] : instance.metadata()) {
    most += 3 * kHead + key.size() + value.size();
  }
  return most;
}

}  // namespace

Digest DigestOf(std::string_view endpoint,
                const google::protobuf::RepeatedPtrField<v1::Check>& checks) {
  std::vector<std::string> encoded;
  for (const v1::Check& check : checks) AppendDeterministic(check, encoded.emplace_back());
  return DigestOfEncoded(endpoint, std::vector<std::string_view>(encoded.begin(), encoded.end()));
}

Digest DigestOfEncoded(std::string_view endpoint, absl::Span<const std::string_view> checks) {
  const auto hash = [](const void* bytes, size_t size) {
    const XXH128_hash_t h = XXH3_128bits(bytes, size);
    return Digest{h.low64, h.high64};
  };
  // A digest of each part first: where a part ends is part of the whole.
  absl::InlinedVector<Digest, 4> parts = {hash(endpoint.data(), endpoint.size())};
  for (const std::string_view check : checks) parts.push_back(hash(check.data(), check.size()));
  return hash(parts.data(), parts.size() * sizeof(Digest));
}

void AppendDeterministic(const google::protobuf::MessageLite& message, std::string& out) {
  const size_t size = message.ByteSizeLong();
  const size_t begin = out.size();
  out.resize(begin + size);
  auto* const at = reinterpret_cast<uint8_t*>(out.data()) + begin;
  google::protobuf::io::EpsCopyOutputStream stream(at, static_cast<int>(size),
                                                   /*deterministic=*/true);
  message._InternalSerialize(at, &stream);
}

std::string EncodeEndpoint(const v1::Instance& instance, const storage::InstanceKey& key,
                           std::string_view address) {
  const size_t names = key.node.size() + key.id.size() + address.size();
  std::string bytes;
  AppendFields(bytes, names + MostOf(instance), [&](FieldWriter& out) {
    out.Text(Endpoint::kNodeFieldNumber, key.node);
    out.Text(Endpoint::kIdFieldNumber, key.id);
    out.Text(Endpoint::kAddressFieldNumber, address);
    for (const std::string& more : instance.additional_addresses()) {
      out.AnyText(Endpoint::kAdditionalAddressesFieldNumber, more);
    }
    out.Number(Endpoint::kPortFieldNumber, instance.port());
    WritePorts(instance, out);
    for (const std::string& tag : instance.tags()) out.AnyText(Endpoint::kTagsFieldNumber, tag);
    WriteMetadata(instance, out);
    WriteWeight(instance, out);
    WriteLocality(instance.locality(), out);
    out.Text(Endpoint::kVersionFieldNumber, instance.version());
    out.Text(Endpoint::kProtocolFieldNumber, instance.protocol());
  });
  return bytes;
}

}  // namespace muster::core
