#include "server/core/delta.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"

namespace muster::core {
namespace {

v1::EmptyReason WhyEmpty(const ServiceView& view, bool definition_matched) {
  if (view.size() == 0) return v1::NO_INSTANCES;
  return definition_matched ? v1::ALL_UNHEALTHY : v1::FILTERED_OUT;
}

void AppendRemoved(const ServiceView& view, uint64_t from, DeltaResult& out) {
  const auto& chunks = view.tombstones();
  auto chunk = std::partition_point(chunks.begin(), chunks.end(),
                                    [&](const auto& c) { return c->back().seq <= from; });
  // A key that came and went often has a tombstone for each time.
  absl::flat_hash_set<std::pair<absl::string_view, absl::string_view>> seen;
  for (; chunk != chunks.end(); ++chunk) {
    for (const Tombstone& t : **chunk) {
      // The key may have come back since: then the endpoint itself tells.
      if (t.seq <= from || view.Find(t.node, t.id)) continue;
      if (seen.emplace(t.node, t.id).second) out.removed.push_back({t.node, t.id});
    }
  }
}

}  // namespace

Selection Select(const ServiceView* view, const Selector& selector) {
  Selection out;
  if (view == nullptr) {
    out.empty_reason = v1::UNKNOWN_SERVICE;
    return out;
  }
  if (selector.is_default()) {
    out.checksum = view->default_checksum();
    out.size = view->default_matches();
    if (out.size == 0) out.empty_reason = WhyEmpty(*view, true);
    return out;
  }
  bool definition_matched = !selector.has_definition_part();
  for (const LeafRef& ref : view->leaves()) {
    for (const EndpointEntry& e : ref.leaf->entries) {
      const bool healthy = selector.MatchesHealth(e);
      if (!healthy && definition_matched) continue;
      const bool defined =
          !selector.has_definition_part() || selector.MatchesDefinition(ref.leaf->endpoint(e));
      definition_matched |= defined;
      if (!healthy || !defined) continue;
      out.checksum += e.hash;
      ++out.size;
    }
  }
  if (out.size == 0) out.empty_reason = WhyEmpty(*view, definition_matched);
  return out;
}

DeltaResult Delta(const ServiceView& view, const Selector& selector, uint64_t from) {
  DeltaResult out;
  for (const LeafRef& ref : view.leaves()) {
    if (ref.max_seq <= from) continue;
    const Leaf& leaf = *ref.leaf;
    for (const EndpointEntry& e : leaf.entries) {
      if (e.seq <= from) continue;
      if (selector.Matches(e, leaf.endpoint(e))) {
        out.upserted.push_back(leaf.field(e));
      } else {
        out.removed.push_back({leaf.node(e), leaf.id(e)});
      }
    }
  }
  AppendRemoved(view, from, out);
  return out;
}

}  // namespace muster::core
