#include "server/core/service_view.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#include "base/log.h"
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

// Memory for one T with so many bytes behind it: std::allocate_shared of libstdc++ and of libc++
// puts the T last in its block.
template <typename T>
struct WithRoomBehind {
  using value_type = T;
  explicit WithRoomBehind(size_t bytes) : room(bytes) {}
  template <typename U>
  WithRoomBehind(const WithRoomBehind<U>& other) : room(other.room) {}  // as of the standard's
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T) + room)); }
  void deallocate(T* block, size_t) { ::operator delete(block); }
  template <typename U>
  friend bool operator==(const WithRoomBehind&, const WithRoomBehind<U>&) {
    return true;
  }
  size_t room;
};

// A leaf while it is written: appends to its end, in a block that has room for just so much.
class LeafWriter {
 public:
  LeafWriter(size_t bytes, size_t entries)
      : max_bytes_(bytes),
        max_entries_(entries),
        leaf_(std::allocate_shared<Leaf>(
            WithRoomBehind<Leaf>(Aligned(bytes) + entries * sizeof(EndpointEntry)))),
        text_(reinterpret_cast<char*>(leaf_.get() + 1)),
        entries_(reinterpret_cast<EndpointEntry*>(text_ + Aligned(bytes))) {}
  LeafWriter(LeafWriter&&) noexcept = default;

  size_t size() const { return leaf_->bytes.size(); }
  // What was written.
  const Leaf& leaf() const { return *leaf_; }
  void Append(std::string_view text) {
    if (text.size() > max_bytes_ - size()) NoRoom();
    if (!text.empty()) std::memcpy(text_ + size(), text.data(), text.size());
    leaf_->bytes = {text_, size() + text.size()};
  }
  // Returns the copies, whose offsets are still those of where they came from.
  absl::Span<EndpointEntry> Add(absl::Span<const EndpointEntry> entries) {
    const size_t n = leaf_->entries.size();
    if (entries.size() > max_entries_ - n) NoRoom();
    std::uninitialized_copy(entries.begin(), entries.end(), entries_ + n);
    leaf_->entries = {entries_, n + entries.size()};
    return {entries_ + n, entries.size()};
  }
  std::shared_ptr<const Leaf> Take() && { return std::move(leaf_); }

 private:
  [[noreturn]] static void NoRoom() {
    base::Log(base::LogLevel::kError, "a leaf is larger than was reckoned: that is a defect");
    std::abort();
  }
  static size_t Aligned(size_t bytes) {
    constexpr size_t kTo = alignof(EndpointEntry);
    return (bytes + kTo - 1) / kTo * kTo;
  }
  const size_t max_bytes_;
  const size_t max_entries_;
  std::shared_ptr<Leaf> leaf_;
  char* const text_;
  EndpointEntry* const entries_;
};

static_assert(std::is_trivially_destructible_v<EndpointEntry>, "nobody destroys them");
static_assert(alignof(EndpointEntry) <= alignof(Leaf), "they stand behind a Leaf");

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

// What an endpoint takes among the bytes of a leaf.
size_t FieldBytes(const EndpointState& endpoint) {
  uint8_t tail[kMaxTail];
  const auto of_tail = static_cast<size_t>(EncodeTail(endpoint, tail) - tail);
  const size_t body = endpoint.definition.size() + of_tail;
  return 1 + CodedOutputStream::VarintSize32(static_cast<uint32_t>(body)) + body;
}

std::string_view TextOf(const uint8_t* begin, const uint8_t* end) {
  return {reinterpret_cast<const char*>(begin), static_cast<size_t>(end - begin)};
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

// Finds node and id in the encoded endpoint: fields 1 and 2 come first and are short.
void LocateKey(std::string_view bytes, EndpointEntry& e) {
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

// Appends one endpoint. The keys are the first fields of an encoded endpoint, but are written here
// so that their place is known whatever the definition holds.
void AppendEndpoint(const EndpointState& state, LeafWriter& leaf) {
  uint8_t tail[kMaxTail];
  uint8_t* const tail_end = EncodeTail(state, tail);
  const size_t body_size = state.definition.size() + static_cast<size_t>(tail_end - tail);
  EndpointEntry e;
  e.offset = static_cast<uint32_t>(leaf.size());
  uint8_t head[kMaxHead] = {kEndpointsTag};
  leaf.Append(TextOf(
      head, CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(body_size), head + 1)));
  e.body = static_cast<uint32_t>(leaf.size());
  leaf.Append(state.definition);
  leaf.Append(TextOf(tail, tail_end));
  e.size = static_cast<uint32_t>(leaf.size()) - e.offset;
  e.health = state.health;
  e.state = state.state;
  e.seq = state.seq;
  e.hash = EndpointHash(state.node, state.id, state.seq);
  LocateKey(leaf.leaf().bytes, e);
  leaf.Add({&e, 1});
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
void CopyEntries(const Leaf& from, size_t begin, size_t end, LeafWriter& to) {
  if (begin == end) return;
  const uint32_t first = from.entries[begin].offset;
  const EndpointEntry& last = from.entries[end - 1];
  const auto shift = static_cast<uint32_t>(to.size()) - first;
  to.Append(from.bytes.substr(first, last.offset + last.size - first));
  const auto copies = to.Add(from.entries.subspan(begin, end - begin));
  if (shift == 0) return;
  for (EndpointEntry& e : copies) {
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

  static LeafWriter Merge(const Leaf& old, Changes changes) {
    Places places;
    LeafWriter out = RoomFor(old, changes, places);
    size_t copied = 0;  // of the old entries, or replaced
    for (size_t i = 0; i < changes.size(); ++i) {
      const Place& place = places[i];
      CopyEntries(old, copied, place.at, out);
      copied = place.at + (place.taken ? 1 : 0);
      if (!changes[i].remove) AppendEndpoint(changes[i].endpoint, out);
    }
    CopyEntries(old, copied, old.entries.size(), out);
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
      CopyEntries(merged, begin, end, part);
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
      bytes += FieldBytes(endpoint);
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
