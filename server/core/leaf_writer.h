// LeafWriter: makes a leaf of a view in one block of memory, from copies of another's entries and
// new endpoints, in the order in which they are given.
//
//   LeafWriter writer(bytes, entries);     // exactly what follows
//   writer.Copy(old, 0, at);
//   writer.Append(endpoint);               // takes BytesOf(endpoint)
//   std::shared_ptr<const Leaf> leaf = std::move(writer).Take();
//
// Thread safety: none. REQUIRES: what is written has room: the process ends where it has none.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/types/span.h"
#include "server/core/service_view.h"

namespace muster::core {

class LeafWriter {
 public:
  LeafWriter(size_t bytes, size_t entries);
  LeafWriter(LeafWriter&&) noexcept = default;

  // What an endpoint takes among the bytes.
  static size_t BytesOf(const EndpointState& endpoint);

  void Append(const EndpointState& endpoint);
  // The entries [begin, end) with their bytes, which stand together.
  void Copy(const Leaf& from, size_t begin, size_t end);

  // What was written.
  const Leaf& leaf() const { return *leaf_; }
  std::shared_ptr<const Leaf> Take() && { return std::move(leaf_); }

 private:
  size_t size() const { return leaf_->bytes.size(); }
  void AddBytes(std::string_view text);
  // Returns the copies, whose offsets are still those of where they came from.
  absl::Span<EndpointEntry> AddEntries(absl::Span<const EndpointEntry> entries);

  const size_t max_bytes_;
  const size_t max_entries_;
  std::shared_ptr<Leaf> leaf_;
  char* const text_;
  EndpointEntry* const entries_;
};

}  // namespace muster::core
