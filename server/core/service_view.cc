#include "server/core/service_view.h"

#include <algorithm>
#include <utility>

#include "server/core/leaf_writer.h"

namespace muster::core {
namespace {

int CompareKeys(std::string_view node_a, std::string_view id_a, std::string_view node_b,
                std::string_view id_b) {
  const int by_node = node_a.compare(node_b);
  return by_node != 0 ? by_node : id_a.compare(id_b);
}

// The index of the first entry, `from` or later, whose key is not less.
size_t LowerBoundIn(const Leaf& leaf, size_t from, std::string_view node, std::string_view id) {
  auto it = std::partition_point(
      leaf.entries.begin() + static_cast<std::ptrdiff_t>(from), leaf.entries.end(),
      [&](const EndpointEntry& e) { return CompareKeys(leaf.node(e), leaf.id(e), node, id) < 0; });
  return static_cast<size_t>(it - leaf.entries.begin());
}

bool HasKey(const Leaf& leaf, size_t entry, std::string_view node, std::string_view id) {
  const EndpointEntry& e = leaf.entries[entry];
  return leaf.node(e) == node && leaf.id(e) == id;
}

// The last leaf whose first key is not greater than (node, id); 0 when there is none.
size_t LeafIndex(absl::Span<const LeafRef> leaves, std::string_view node, std::string_view id) {
  auto it = std::partition_point(leaves.begin(), leaves.end(), [&](const LeafRef& ref) {
    const Leaf& leaf = *ref.leaf;
    const EndpointEntry& first = leaf.entries.front();
    return CompareKeys(leaf.node(first), leaf.id(first), node, id) <= 0;
  });
  return it == leaves.begin() ? 0 : static_cast<size_t>(it - leaves.begin()) - 1;
}

bool DefaultMatches(const EndpointEntry& e) {
  return e.health == v1::PASSING && e.state == v1::ACTIVE;
}

LeafRef MakeRef(std::shared_ptr<const Leaf> leaf) {
  LeafRef ref;
  for (const EndpointEntry& e : leaf->entries) {
    ref.max_seq = std::max(ref.max_seq, e.seq);
    if (DefaultMatches(e)) {
      ref.checksum += e.hash;
      ++ref.default_matches;
    }
  }
  ref.leaf = std::move(leaf);
  return ref;
}

void DropBelow(uint64_t floor, std::vector<std::shared_ptr<const TombstoneChunk>>& chunks) {
  const auto gone = std::find_if(chunks.begin(), chunks.end(),
                                 [&](const auto& c) { return c->back().seq > floor; });
  chunks.erase(chunks.begin(), gone);
  if (chunks.empty() || chunks.front()->front().seq > floor) return;
  auto rest = std::make_shared<TombstoneChunk>();
  for (const Tombstone& t : *chunks.front()) {
    if (t.seq > floor) rest->push_back(t);
  }
  chunks.front() = std::move(rest);
}

// MurmurHash3's finalizer: every bit of the input changes every bit of the output.
uint64_t Mix(uint64_t h) {
  h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53ULL;
  return h ^ (h >> 33);
}

}  // namespace

uint64_t EndpointHash(std::string_view node, std::string_view id, uint64_t seq) {
  uint64_t hash = 14695981039346656037ULL;
  const auto add = [&hash](uint8_t byte) { hash = (hash ^ byte) * 1099511628211ULL; };
  for (char c : node) add(static_cast<uint8_t>(c));
  add(0);
  for (char c : id) add(static_cast<uint8_t>(c));
  add(0);
  for (int i = 0; i < 8; ++i) add(static_cast<uint8_t>(seq >> (8 * i)));
  return Mix(hash);
}

std::optional<ServiceView::Position> ServiceView::Find(std::string_view node,
                                                       std::string_view id) const {
  if (leaves_.empty()) return std::nullopt;
  const Leaf& leaf = *leaves_[LeafIndex(leaves_, node, id)].leaf;
  const size_t i = LowerBoundIn(leaf, 0, node, id);
  if (i == leaf.entries.size()) return std::nullopt;
  if (!HasKey(leaf, i, node, id)) return std::nullopt;
  return Position{&leaf, &leaf.entries[i]};
}

std::pair<size_t, size_t> ServiceView::UpperBound(std::string_view node,
                                                  std::string_view id) const {
  if (leaves_.empty()) return {0, 0};
  const size_t l = LeafIndex(leaves_, node, id);
  const Leaf& leaf = *leaves_[l].leaf;
  size_t i = LowerBoundIn(leaf, 0, node, id);
  if (i < leaf.entries.size() && HasKey(leaf, i, node, id)) ++i;
  return i == leaf.entries.size() ? std::pair<size_t, size_t>{l + 1, 0}
                                  : std::pair<size_t, size_t>{l, i};
}

// Merges changes, in the order of their keys, with leaves.
class ViewBuilder::Merger {
 public:
  using Changes = absl::Span<const Change>;

  static LeafWriter Merge(const Leaf& old, Changes changes) {
    Places places;
    LeafWriter out = RoomFor(old, changes, places);
    size_t copied = 0;  // of the old entries, or replaced
    for (size_t i = 0; i < changes.size(); ++i) {
      const Place& place = places[i];
      out.Copy(old, copied, place.at);
      copied = place.at + (place.taken ? 1 : 0);
      if (!changes[i].remove) out.Append(changes[i].endpoint);
    }
    out.Copy(old, copied, old.entries.size());
    return out;
  }

  static void Append(LeafWriter written, absl::InlinedVector<LeafRef, 1>& leaves) {
    const Leaf& merged = written.leaf();
    const size_t n = merged.entries.size();
    if (n == 0) return;
    const size_t parts = (n + kMaxLeafEndpoints - 1) / kMaxLeafEndpoints;
    if (parts == 1) return leaves.push_back(MakeRef(std::move(written).Take()));
    for (size_t p = 0; p < parts; ++p) {
      const size_t begin = n * p / parts;
      const size_t end = n * (p + 1) / parts;
      const EndpointEntry& last = merged.entries[end - 1];
      LeafWriter part(last.offset + last.size - merged.entries[begin].offset, end - begin);
      part.Copy(merged, begin, end);
      leaves.push_back(MakeRef(std::move(part).Take()));
    }
  }

 private:
  // Where a change belongs among the old entries, and whether one of its key is there.
  struct Place {
    size_t at;
    bool taken;
  };
  using Places = absl::InlinedVector<Place, 4>;

  // Room for just what comes.
  static LeafWriter RoomFor(const Leaf& old, Changes changes, Places& places) {
    size_t bytes = old.bytes.size();
    size_t entries = old.entries.size();
    places.reserve(changes.size());
    size_t at = 0;
    for (const Change& change : changes) {
      const EndpointState& endpoint = change.endpoint;
      at = LowerBoundIn(old, at, endpoint.node, endpoint.id);
      const bool taken = at < old.entries.size() && HasKey(old, at, endpoint.node, endpoint.id);
      places.push_back({at, taken});
      if (taken) {
        bytes -= old.entries[at].size;
        --entries;
      }
      if (change.remove) continue;
      bytes += LeafWriter::BytesOf(endpoint);
      ++entries;
    }
    return {bytes, entries};
  }
};

ViewBuilder::ViewBuilder(std::shared_ptr<const ServiceView> base, Texts texts)
    : base_(std::move(base)), texts_(texts) {
  if (base_ == nullptr) return;
  floor_ = base_->floor_;
  seq_ = base_->seq_;
}

void ViewBuilder::Add(bool remove, EndpointState endpoint) {
  if (texts_ == Texts::kCopied) {
    std::string& copy = copies_.emplace_front();
    copy.reserve(endpoint.node.size() + endpoint.id.size() + endpoint.definition.size());
    for (std::string_view* text : {&endpoint.node, &endpoint.id, &endpoint.definition}) {
      const size_t begin = copy.size();
      copy.append(*text);
      *text = std::string_view(copy).substr(begin);
    }
  }
  changes_.push_back({remove, endpoint});
}

void ViewBuilder::Upsert(const EndpointState& endpoint) {
  Touch(endpoint.seq);
  Add(/*remove=*/false, endpoint);
}

void ViewBuilder::Remove(std::string_view node, std::string_view id, uint64_t seq) {
  Add(/*remove=*/true, {.node = node, .id = id, .definition = {}});
  AddTombstone(node, id, seq);
}

void ViewBuilder::AddTombstone(std::string_view node, std::string_view id, uint64_t seq) {
  if (!tombstones_.empty() && tombstones_.back().seq > seq) tombstones_sorted_ = false;
  tombstones_.push_back(Tombstone{std::string(node), std::string(id), seq});
  Touch(seq);
}

void ViewBuilder::SetFloor(uint64_t floor) { floor_ = std::max(floor_, floor); }

void ViewBuilder::Touch(uint64_t seq) { seq_ = std::max(seq_, seq); }

void ViewBuilder::SortChanges() {
  const auto order = [](const Change& a, const Change& b) {
    return CompareKeys(a.endpoint.node, a.endpoint.id, b.endpoint.node, b.endpoint.id);
  };
  const auto not_after = [&](const Change& a, const Change& b) { return order(a, b) >= 0; };
  // Of one service a group mostly has one, and a replay has them in order.
  if (std::adjacent_find(changes_.begin(), changes_.end(), not_after) == changes_.end()) return;
  std::stable_sort(changes_.begin(), changes_.end(),
                   [&](const Change& a, const Change& b) { return order(a, b) < 0; });
  // The last of equals stays.
  auto out = changes_.begin();
  for (auto it = changes_.begin(); it != changes_.end(); ++it) {
    const auto next = it + 1;
    if (next == changes_.end() || order(*it, *next) != 0) *out++ = *it;
  }
  changes_.erase(out, changes_.end());
}

void ViewBuilder::BuildLeaves(ServiceView& view) const {
  Merger::Changes changes = changes_;
  const size_t n = base_ == nullptr ? 0 : base_->leaves_.size();
  if (n == 0) return Merger::Append(Merger::Merge(Leaf(), changes), view.leaves_);
  view.leaves_.reserve(n);
  for (size_t l = 0; l < n; ++l) {
    Merger::Changes of_leaf = changes;
    if (l + 1 < n) {
      const Leaf& next = *base_->leaves_[l + 1].leaf;
      const EndpointEntry& first = next.entries.front();
      const auto end = std::partition_point(changes.begin(), changes.end(), [&](const Change& c) {
        return CompareKeys(c.endpoint.node, c.endpoint.id, next.node(first), next.id(first)) < 0;
      });
      of_leaf = changes.first(static_cast<size_t>(end - changes.begin()));
    }
    changes.remove_prefix(of_leaf.size());
    if (of_leaf.empty()) {
      view.leaves_.push_back(base_->leaves_[l]);
    } else {
      Merger::Append(Merger::Merge(*base_->leaves_[l].leaf, of_leaf), view.leaves_);
    }
  }
}

void ViewBuilder::BuildTombstones(ServiceView& view) {
  if (base_ != nullptr) view.tombstones_ = base_->tombstones_;
  if (!tombstones_sorted_) {
    std::sort(tombstones_.begin(), tombstones_.end(),
              [](const Tombstone& a, const Tombstone& b) { return a.seq < b.seq; });
  }
  auto& chunks = view.tombstones_;
  for (size_t i = 0; i < tombstones_.size();) {
    auto chunk = std::make_shared<TombstoneChunk>();
    if (!chunks.empty() && chunks.back()->size() < kMaxTombstoneChunk) {
      *chunk = *chunks.back();
      chunks.pop_back();
    }
    while (i < tombstones_.size() && chunk->size() < kMaxTombstoneChunk) {
      chunk->push_back(std::move(tombstones_[i++]));
    }
    chunks.push_back(std::move(chunk));
  }
  DropBelow(view.floor_, chunks);
  for (const auto& chunk : chunks) view.tombstone_count_ += chunk->size();
}

std::shared_ptr<const ServiceView> ViewBuilder::Build() {
  auto view = std::make_shared<ServiceView>();
  view->seq_ = seq_;
  view->floor_ = floor_;
  SortChanges();
  BuildLeaves(*view);
  BuildTombstones(*view);
  for (const LeafRef& ref : view->leaves_) {
    view->size_ += ref.leaf->entries.size();
    view->default_checksum_ += ref.checksum;
    view->default_matches_ += ref.default_matches;
  }
  // Counts by health change with the leaves that were copied; the others keep theirs.
  for (const LeafRef& ref : view->leaves_) {
    if (ref.default_matches == ref.leaf->entries.size()) {
      view->counts_[v1::PASSING] += ref.default_matches;
      continue;
    }
    for (const EndpointEntry& e : ref.leaf->entries) {
      ++view->counts_[e.health];
      if (e.state != v1::ACTIVE) ++view->inactive_;
    }
  }
  return view;
}

}  // namespace muster::core
