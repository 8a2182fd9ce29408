// ServiceView: the immutable, ordered picture of one service at one revision.
//
// A view is a spine of leaves of at most 128 endpoints. Each leaf holds its endpoints' bytes as
// they stand in DiscoverResponse.endpoints, Snapshot.endpoints and Change.upserted (all field 1),
// so that answers share them. A change copies one leaf and the spine.
//
// Thread safety: immutable. Ownership: shared. Cost: see ViewBuilder.
#pragma once

#include <cstdint>
#include <forward_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "muster/v1/types.pb.h"
#include "server/core/selector.h"

namespace muster::core {

inline constexpr size_t kMaxLeafEndpoints = 128;
inline constexpr size_t kMaxTombstoneChunk = 64;

// One endpoint in a leaf. Offsets are into the leaf's bytes.
struct EndpointEntry {
  uint32_t offset = 0;  // of the field's tag
  uint32_t size = 0;    // with tag and length
  uint32_t body = 0;    // of the encoded Endpoint
  uint16_t node_size = 0;
  uint16_t id_size = 0;
  uint32_t node_offset = 0;
  uint32_t id_offset = 0;
  v1::Health health = v1::PASSING;
  v1::State state = v1::ACTIVE;
  uint64_t seq = 0;   // last visible change
  uint64_t hash = 0;  // what the endpoint adds to a checksum
};

// Bytes and entries stand behind it, in the same block of memory: whoever reads them waits once.
struct Leaf {
  Leaf() = default;
  Leaf(const Leaf&) = delete;
  Leaf& operator=(const Leaf&) = delete;

  std::string_view bytes;
  absl::Span<const EndpointEntry> entries;  // by (node, id)

  std::string_view node(const EndpointEntry& e) const {
    return bytes.substr(e.node_offset, e.node_size);
  }
  std::string_view id(const EndpointEntry& e) const { return bytes.substr(e.id_offset, e.id_size); }
  // The encoded v1::Endpoint.
  std::string_view endpoint(const EndpointEntry& e) const {
    return bytes.substr(e.body, e.offset + e.size - e.body);
  }
  // The same with the tag of field 1 and its length.
  std::string_view field(const EndpointEntry& e) const { return bytes.substr(e.offset, e.size); }
};

// What the spine knows of a leaf without touching it.
struct LeafRef {
  std::shared_ptr<const Leaf> leaf;
  uint64_t max_seq = 0;
  uint64_t checksum = 0;         // of the endpoints that the default selector takes
  uint32_t default_matches = 0;  // how many those are
};

struct Tombstone {
  std::string node;
  std::string id;
  uint64_t seq = 0;
};

// Ascending by seq; a chunk is shared between views until it is appended to.
using TombstoneChunk = std::vector<Tombstone>;

class ServiceView {
 public:
  uint64_t seq() const { return seq_; }
  uint64_t floor() const { return floor_; }
  size_t size() const { return size_; }
  // Of the default selector.
  uint64_t default_checksum() const { return default_checksum_; }
  size_t default_matches() const { return default_matches_; }
  // Endpoints by health (index: v1::Health) and how many are not ACTIVE.
  uint32_t count(v1::Health health) const { return counts_[health]; }
  uint32_t inactive() const { return inactive_; }

  absl::Span<const LeafRef> leaves() const { return leaves_; }
  const std::vector<std::shared_ptr<const TombstoneChunk>>& tombstones() const {
    return tombstones_;
  }
  size_t tombstone_count() const { return tombstone_count_; }

  struct Position {
    const Leaf* leaf;
    const EndpointEntry* entry;
  };
  std::optional<Position> Find(std::string_view node, std::string_view id) const;
  // The index of the first (leaf, entry) with a key greater than (node, id).
  std::pair<size_t, size_t> UpperBound(std::string_view node, std::string_view id) const;

 private:
  friend class ViewBuilder;
  uint64_t seq_ = 0;
  uint64_t floor_ = 0;
  size_t size_ = 0;
  uint64_t default_checksum_ = 0;
  size_t default_matches_ = 0;
  uint32_t counts_[4] = {0, 0, 0, 0};
  uint32_t inactive_ = 0;
  size_t tombstone_count_ = 0;
  absl::InlinedVector<LeafRef, 1> leaves_;  // nearly all services have one
  std::vector<std::shared_ptr<const TombstoneChunk>> tombstones_;
};

// An endpoint to be put into a view. `definition` is an encoded v1::Endpoint with fields 1-12.
struct EndpointState {
  std::string_view node;
  std::string_view id;
  std::string_view definition;
  v1::Health health = v1::PASSING;
  v1::State state = v1::ACTIVE;
  uint64_t seq = 0;
};

// Makes the next view of a service out of the last one and a group of changes. Copies the leaves
// that change, once each, and the spine. The last change of an endpoint counts.
class ViewBuilder {
 public:
  // Who keeps the texts of changes until Build: the builder, or the caller, which is cheaper.
  enum class Texts : uint8_t { kCopied, kStay };

  // `base` may be null: an empty view.
  explicit ViewBuilder(std::shared_ptr<const ServiceView> base, Texts texts = Texts::kCopied);
  // A copy's changes would point to the other's texts.
  ViewBuilder(ViewBuilder&&) noexcept = default;
  ViewBuilder& operator=(ViewBuilder&&) noexcept = default;

  void Upsert(const EndpointState& endpoint);
  // Removes the endpoint, if any, and keeps a tombstone of `seq`.
  void Remove(std::string_view node, std::string_view id, uint64_t seq);
  // Seqs may come in any order here (replay).
  void AddTombstone(std::string_view node, std::string_view id, uint64_t seq);
  // Drops tombstones at or below `floor`. A floor never goes down.
  void SetFloor(uint64_t floor);
  // The view's revision becomes at least `seq`.
  void Touch(uint64_t seq);

  // Once.
  std::shared_ptr<const ServiceView> Build();

 private:
  struct Change {
    bool remove = false;
    EndpointState endpoint;
  };
  class Merger;

  void Add(bool remove, EndpointState endpoint);
  void SortChanges();
  void BuildLeaves(ServiceView& view) const;
  void BuildTombstones(ServiceView& view);

  std::shared_ptr<const ServiceView> base_;
  Texts texts_;
  absl::InlinedVector<Change, 1> changes_;  // in the order in which they came, until Build
  std::forward_list<std::string> copies_;   // what they point to
  std::vector<Tombstone> tombstones_;
  bool tombstones_sorted_ = true;
  uint64_t floor_ = 0;
  uint64_t seq_ = 0;
};

// FNV-1a-64 over node, a zero byte, id, a zero byte, seq (8 bytes, little-endian), then mixed, so
// that sums of such hashes tell sets apart (docs/grpc-api.md, "Checksum").
uint64_t EndpointHash(std::string_view node, std::string_view id, uint64_t seq);

}  // namespace muster::core
