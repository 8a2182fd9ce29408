#include "tests/unit/server/core/view_model.h"

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "muster/v1/discovery.pb.h"

namespace muster::core {

std::string EncodeDefinition(const v1::Endpoint& endpoint) {
  std::string out;
  google::protobuf::io::StringOutputStream stream(&out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  endpoint.SerializeToCodedStream(&coded);
  coded.Trim();
  return out;
}

v1::Endpoint ParseField(std::string_view field) {
  v1::DiscoverResponse response;
  if (!response.ParseFromArray(field.data(), static_cast<int>(field.size())) ||
      response.endpoints_size() != 1) {
    return {};
  }
  return response.endpoints(0);
}

ClientSet SnapshotOf(const ServiceView* view, const Selector& selector) {
  ClientSet out;
  if (view == nullptr) return out;
  for (const LeafRef& ref : view->leaves()) {
    for (const EndpointEntry& e : ref.leaf->entries) {
      if (!selector.Matches(e, ref.leaf->endpoint(e))) continue;
      out[{std::string(ref.leaf->node(e)), std::string(ref.leaf->id(e))}] =
          std::string(ref.leaf->field(e));
    }
  }
  return out;
}

void ApplyDelta(const ServiceView& view, const Selector& selector, uint64_t from, ClientSet& set) {
  const DeltaResult delta = Delta(view, selector, from);
  for (std::string_view field : delta.upserted) {
    const v1::Endpoint endpoint = ParseField(field);
    set[{endpoint.node(), endpoint.id()}] = std::string(field);
  }
  for (const auto& key : delta.removed) set.erase({std::string(key.node), std::string(key.id)});
}

uint64_t ChecksumOf(const ClientSet& set) {
  uint64_t sum = 0;
  for (const auto& [key, field] : set) {
    sum += EndpointHash(key.first, key.second, ParseField(field).revision());
  }
  return sum;
}

}  // namespace muster::core
