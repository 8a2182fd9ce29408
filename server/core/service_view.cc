#include "server/core/service_view.h"

#include <algorithm>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"

namespace muster::core {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

constexpr uint8_t kEndpointsTag = (1 << 3) | 2;  // field 1, length-delimited
constexpr size_t kMaxHead = 1 + 5;               // with its length

// Three tags of one byte, two enums and a 64-bit number.
constexpr size_t kMaxTail = 3 + 2 * 10 + 10;
// Of enums below 128 and a seq below 2^56: seqs count from a time in microseconds.
constexpr size_t kUsualTail = 3 + 2 + 8;
constexpr size_t kMaxLoose = 64;  // bytes of a leaf that may stay unused

// What a view knows of an endpoint beside its definition, as fields of a v1::Endpoint. Returns the
// end.
uint8_t* EncodeTail(const EndpointState& endpoint, uint8_t* out) {
  if (endpoint.health != 0) {
    out = WireFormatLite::WriteEnumToArray(v1::Endpoint::kHealthFieldNumber, endpoint.health, out);
  }
  if (endpoint.state != 0) {
    out = WireFormatLite::WriteEnumToArray(v1::Endpoint::kStateFieldNumber, endpoint.state, out);
  }
  if (endpoint.seq != 0) {
    out = WireFormatLite::WriteUInt64ToArray(v1::Endpoint::kRevisionFieldNumber, endpoint.seq, out);
  }
  return out;
}

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

// Appends one endpoint. The keys are the first fields of an encoded endpoint, but are written here
// so that their place is known whatever the definition holds.
void AppendEndpoint(const EndpointState& state, Leaf& leaf) {
  uint8_t tail[kMaxTail];
  uint8_t* const tail_end = EncodeTail(state, tail);
  const size_t body_size = state.definition.size() + static_cast<size_t>(tail_end - tail);
  EndpointEntry e;
  e.offset = static_cast<uint32_t>(leaf.bytes.size());
  uint8_t head[kMaxHead] = {kEndpointsTag};
  leaf.bytes.append(
      head, CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(body_size), head + 1));
  e.body = static_cast<uint32_t>(leaf.bytes.size());
  leaf.bytes.append(state.definition);
  leaf.bytes.append(tail, tail_end);
  e.size = static_cast<uint32_t>(leaf.bytes.size()) - e.offset;
  e.health = state.health;
  e.state = state.state;
  e.seq = state.seq;
  e.hash = EndpointHash(state.node, state.id, state.seq);
  leaf.entries.push_back(e);
}

// Finds node and id in the encoded endpoint: fields 1 and 2 come first and are short.
void LocateKey(const std::string& bytes, EndpointEntry& e) {
  const auto* begin = reinterpret_cast<const uint8_t*>(bytes.data()) + e.body;
  google::protobuf::io::CodedInputStream in(begin, static_cast<int>(e.offset + e.size - e.body));
  e.node_offset = e.id_offset = e.body;
  e.node_size = e.id_size = 0;
  while (const uint32_t tag = in.ReadTag()) {
    const int field = WireFormatLite::GetTagFieldNumber(tag);
    uint32_t size = 0;
    if (field > 2 || !in.ReadVarint32(&size)) return;
    const auto at = static_cast<uint32_t>(e.body + in.CurrentPosition());
    (field == 1 ? e.node_offset : e.id_offset) = at;
    (field == 1 ? e.node_size : e.id_size) = static_cast<uint16_t>(size);
    if (!in.Skip(static_cast<int>(size))) return;
  }
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

// Copies the entries [begin, end) with their bytes, which stand together, to the end of `to`.
void CopyEntries(const Leaf& from, size_t begin, size_t end, Leaf& to) {
  if (begin == end) return;
  const uint32_t first = from.entries[begin].offset;
  const EndpointEntry& last = from.entries[end - 1];
  const auto shift = static_cast<uint32_t>(to.bytes.size()) - first;
  to.bytes.append(from.bytes, first, last.offset + last.size - first);
  const size_t copied = to.entries.size();
  const auto entries = absl::MakeSpan(from.entries).subspan(begin, end - begin);
  to.entries.insert(to.entries.end(), entries.begin(), entries.end());
  if (shift == 0) return;
  for (EndpointEntry& e : absl::MakeSpan(to.entries).subspan(copied)) {
    e.offset += shift;
    e.body += shift;
    e.node_offset += shift;
    e.id_offset += shift;
  }
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

  // `old` may be null.
  static Leaf Merge(const Leaf* old, Changes changes) {
    Leaf out;
    Reserve(old, changes, out);
    const size_t n = old == nullptr ? 0 : old->entries.size();
    size_t i = 0;  // of the old entries: the first that is neither copied nor replaced
    for (const Change& change : changes) {
      const EndpointState& endpoint = change.endpoint;
      if (i < n) {
        const size_t at = LowerBoundIn(*old, i, endpoint.node, endpoint.id);
        CopyEntries(*old, i, at, out);
        i = at < n && HasKey(*old, at, endpoint.node, endpoint.id) ? at + 1 : at;
      }
      if (change.remove) continue;
      AppendEndpoint(endpoint, out);
      LocateKey(out.bytes, out.entries.back());
    }
    if (i < n) CopyEntries(*old, i, n, out);
    return out;
  }

  static void Append(Leaf merged, absl::InlinedVector<LeafRef, 1>& leaves) {
    const size_t n = merged.entries.size();
    if (n == 0) return;
    const size_t parts = (n + kMaxLeafEndpoints - 1) / kMaxLeafEndpoints;
    if (parts == 1) {
      // Endpoints that were replaced or removed left room: what is kept long is kept tight.
      const bool tight = merged.bytes.capacity() <= merged.bytes.size() + kMaxLoose;
      leaves.push_back(MakeRef(tight ? std::make_shared<const Leaf>(std::move(merged))
                                     : std::make_shared<const Leaf>(std::as_const(merged))));
      return;
    }
    for (size_t p = 0; p < parts; ++p) {
      auto part = std::make_shared<Leaf>();
      CopyEntries(merged, n * p / parts, n * (p + 1) / parts, *part);
      leaves.push_back(MakeRef(std::move(part)));
    }
  }

 private:
  // Room for what may come: nearly always just what does.
  static void Reserve(const Leaf* old, Changes changes, Leaf& out) {
    size_t bytes = old == nullptr ? 0 : old->bytes.size();
    size_t entries = old == nullptr ? 0 : old->entries.size();
    for (const Change& change : changes) {
      if (change.remove) continue;
      bytes += kMaxHead + change.endpoint.definition.size() + kUsualTail;
      ++entries;
    }
    out.bytes.reserve(bytes);
    out.entries.reserve(entries);
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
  if (n == 0) return Merger::Append(Merger::Merge(nullptr, changes), view.leaves_);
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
      Merger::Append(Merger::Merge(base_->leaves_[l].leaf.get(), of_leaf), view.leaves_);
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
