#include "server/core/leaf_writer.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
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

static_assert(std::is_trivially_destructible_v<EndpointEntry>, "nobody destroys them");
static_assert(alignof(EndpointEntry) <= alignof(Leaf), "they stand behind a Leaf");

size_t Aligned(size_t bytes) {
  constexpr size_t kTo = alignof(EndpointEntry);
  return (bytes + kTo - 1) / kTo * kTo;
}

[[noreturn]] void NoRoom() {
  base::Log(base::LogLevel::kError, "a leaf is larger than was reckoned: that is a defect");
  std::abort();
}

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

std::string_view TextOf(const uint8_t* begin, const uint8_t* end) {
  return {reinterpret_cast<const char*>(begin), static_cast<size_t>(end - begin)};
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

}  // namespace

LeafWriter::LeafWriter(size_t bytes, size_t entries)
    : max_bytes_(bytes),
      max_entries_(entries),
      leaf_(std::allocate_shared<Leaf>(
          WithRoomBehind<Leaf>(Aligned(bytes) + entries * sizeof(EndpointEntry)))),
      text_(reinterpret_cast<char*>(leaf_.get() + 1)),
      entries_(reinterpret_cast<EndpointEntry*>(text_ + Aligned(bytes))) {}

size_t LeafWriter::BytesOf(const EndpointState& endpoint) {
  uint8_t tail[kMaxTail];
  const auto of_tail = static_cast<size_t>(EncodeTail(endpoint, tail) - tail);
  const size_t body = endpoint.definition.size() + of_tail;
  return 1 + CodedOutputStream::VarintSize32(static_cast<uint32_t>(body)) + body;
}

void LeafWriter::AddBytes(std::string_view text) {
  if (text.size() > max_bytes_ - size()) NoRoom();
  if (!text.empty()) std::memcpy(text_ + size(), text.data(), text.size());
  leaf_->bytes = {text_, size() + text.size()};
}

absl::Span<EndpointEntry> LeafWriter::AddEntries(absl::Span<const EndpointEntry> entries) {
  const size_t n = leaf_->entries.size();
  if (entries.size() > max_entries_ - n) NoRoom();
  std::uninitialized_copy(entries.begin(), entries.end(), entries_ + n);
  leaf_->entries = {entries_, n + entries.size()};
  return {entries_ + n, entries.size()};
}

// The keys are the first fields of an encoded endpoint, but are written here
// so that their place is known whatever the definition holds.
void LeafWriter::Append(const EndpointState& state) {
  uint8_t tail[kMaxTail];
  uint8_t* const tail_end = EncodeTail(state, tail);
  const size_t body_size = state.definition.size() + static_cast<size_t>(tail_end - tail);
  EndpointEntry e;
  e.offset = static_cast<uint32_t>(size());
  uint8_t head[kMaxHead] = {kEndpointsTag};
  AddBytes(TextOf(
      head, CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(body_size), head + 1)));
  e.body = static_cast<uint32_t>(size());
  AddBytes(state.definition);
  AddBytes(TextOf(tail, tail_end));
  e.size = static_cast<uint32_t>(size()) - e.offset;
  e.health = state.health;
  e.state = state.state;
  e.seq = state.seq;
  e.hash = EndpointHash(state.node, state.id, state.seq);
  LocateKey(leaf_->bytes, e);
  AddEntries({&e, 1});
}

void LeafWriter::Copy(const Leaf& from, size_t begin, size_t end) {
  if (begin == end) return;
  const uint32_t first = from.entries[begin].offset;
  const EndpointEntry& last = from.entries[end - 1];
  const auto shift = static_cast<uint32_t>(size()) - first;
  AddBytes(from.bytes.substr(first, last.offset + last.size - first));
  const auto copies = AddEntries(from.entries.subspan(begin, end - begin));
  if (shift == 0) return;
  for (EndpointEntry& e : copies) {
    e.offset += shift;
    e.body += shift;
    e.node_offset += shift;
    e.id_offset += shift;
  }
}

}  // namespace muster::core
