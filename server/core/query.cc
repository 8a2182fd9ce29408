#include "server/core/query.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <array>
#include <utility>

namespace muster::core {
using google::protobuf::internal::WireFormatLite;

v1::Locality LocalityOf(std::string_view endpoint) {
  v1::Locality out;
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(endpoint.data()),
                                            static_cast<int>(endpoint.size()));
  while (const uint32_t tag = in.ReadTag()) {
    if (WireFormatLite::GetTagFieldNumber(tag) != v1::Endpoint::kLocalityFieldNumber) {
      if (!WireFormatLite::SkipField(&in, tag)) break;
      continue;
    }
    uint32_t size = 0;
    if (!in.ReadVarint32(&size)) break;
    const auto limit = in.PushLimit(static_cast<int>(size));
    if (!out.MergeFromCodedStream(&in)) break;
    in.PopLimit(limit);
  }
  return out;
}

namespace {

constexpr uint32_t kGroups = 3;

struct Where {
  size_t leaf;
  size_t entry;
};

uint32_t GroupOf(const v1::Locality& near, std::string_view endpoint) {
  const v1::Locality at = LocalityOf(endpoint);
  const bool region = near.region().empty() || near.region() == at.region();
  if (!near.zone().empty() && region && near.zone() == at.zone()) return 0;
  if (!near.region().empty() && region) return 1;
  return 2;
}

// Appends until the page is full.
class PageBuilder {
 public:
  PageBuilder(const ServiceView& view, const Query& query, QueryPage& page)
      : view_(view), query_(query), page_(page) {}

  // All of a leaf at once, if all of it matches the default selector and fits with room to spare.
  bool AddWhole(size_t leaf) {
    const LeafRef& ref = view_.leaves()[leaf];
    const size_t count = ref.leaf->entries.size();
    const std::string_view fields = ref.leaf->bytes;
    if (full_ || ref.default_matches != count) return false;
    if (query_.limit > 0 && page_.count + count >= query_.limit) return false;
    if (query_.max_bytes > 0 && page_.bytes + fields.size() >= query_.max_bytes) return false;
    page_.runs.push_back({ref.leaf, fields});
    page_.count += count;
    page_.bytes += fields.size();
    return true;
  }

  // False: the page was full before this endpoint.
  bool Add(uint32_t group, Where where) {
    if (full_) {
      page_.more = true;
      return false;
    }
    const LeafRef& ref = view_.leaves()[where.leaf];
    const EndpointEntry& entry = ref.leaf->entries[where.entry];
    const std::string_view field = ref.leaf->field(entry);
    EndpointRun* run = page_.runs.empty() ? nullptr : &page_.runs.back();
    if (run != nullptr && run->leaf == ref.leaf &&
        run->fields.data() + run->fields.size() == field.data()) {
      run->fields = {run->fields.data(), run->fields.size() + field.size()};
    } else {
      page_.runs.push_back({ref.leaf, field});
    }
    ++page_.count;
    page_.bytes += field.size();
    full_ = (query_.limit > 0 && page_.count == query_.limit) ||
            (query_.max_bytes > 0 && page_.bytes >= query_.max_bytes);
    if (full_) {
      page_.last = {group, std::string(ref.leaf->node(entry)), std::string(ref.leaf->id(entry))};
    }
    return true;
  }

 private:
  const ServiceView& view_;
  const Query& query_;
  QueryPage& page_;
  bool full_ = false;
};

// Calls `visit(Where)` for each match in the leaf, from `entry` on, until it returns false.
template <typename Visit>
bool ForEachMatch(const ServiceView& view, const Selector& selector, size_t leaf, size_t entry,
                  Visit visit) {
  const Leaf& present = *view.leaves()[leaf].leaf;
  for (; entry < present.entries.size(); ++entry) {
    const EndpointEntry& e = present.entries[entry];
    if (selector.Matches(e, present.endpoint(e)) && !visit(Where{leaf, entry})) return false;
  }
  return true;
}

std::pair<size_t, size_t> Start(const ServiceView& view, const QueryPosition* after) {
  if (after == nullptr) return {0, 0};
  return view.UpperBound(after->node, after->id);
}

void QueryInOrder(const ServiceView& view, const Query& query, PageBuilder& builder) {
  auto [leaf, entry] = Start(view, query.after);
  for (; leaf < view.leaves().size(); ++leaf, entry = 0) {
    if (entry == 0 && query.selector->is_default() && builder.AddWhole(leaf)) continue;
    if (!ForEachMatch(view, *query.selector, leaf, entry,
                      [&](Where where) { return builder.Add(0, where); })) {
      return;
    }
  }
}

void QueryInGroups(const ServiceView& view, const Query& query, PageBuilder& builder) {
  std::array<std::vector<Where>, kGroups> groups;
  const uint32_t first = query.after == nullptr ? 0 : query.after->group;
  const auto start = Start(view, query.after);
  const auto file = [&](Where where) {
    const Leaf& leaf = *view.leaves()[where.leaf].leaf;
    const uint32_t group = GroupOf(query.near, leaf.endpoint(leaf.entries[where.entry]));
    const bool done_before = group < first || (query.after != nullptr && group == first &&
                                               std::pair(where.leaf, where.entry) < start);
    if (!done_before) groups[group].push_back(where);
    return true;
  };
  for (size_t leaf = 0; leaf < view.leaves().size(); ++leaf) {
    ForEachMatch(view, *query.selector, leaf, 0, file);
  }
  for (uint32_t group = first; group < kGroups; ++group) {
    for (const Where where : groups[group]) {
      if (!builder.Add(group, where)) return;
    }
  }
}

}  // namespace

QueryPage RunQuery(const ServiceView& view, const Query& query) {
  QueryPage page;
  PageBuilder builder(view, query, page);
  if (query.near.zone().empty() && query.near.region().empty()) {
    QueryInOrder(view, query, builder);
  } else {
    QueryInGroups(view, query, builder);
  }
  return page;
}

}  // namespace muster::core
