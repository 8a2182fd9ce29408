// FieldWriter: Protobuf fields written straight into memory, for the few messages that every
// registration writes and nobody needs as objects. Written in the order of their numbers, and maps
// in the order of their keys, the bytes are those of AppendDeterministic.
//
//   AppendFields(bytes, /*most=*/FieldWriter::kMaxHead + node.size() + FieldWriter::kMaxNumber,
//                [&](FieldWriter& out) {
//                  out.Text(v1::Endpoint::kNodeFieldNumber, node);
//                  out.Number(v1::Endpoint::kPortFieldNumber, port);
//                });
//
// As in proto3, empty texts and zeroes are not written, unless the name says so.
//
// Thread safety: none. REQUIRES: field numbers below 16, texts below 2^32 bytes, and room for what
// is written, which kMaxNumber and kMaxHead bound: the process ends where there is none.
#pragma once

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace muster::core {

class FieldWriter {
 public:
  static constexpr size_t kMaxNumber = 1 + 10;  // a number with its tag
  static constexpr size_t kMaxHead = 1 + 5;     // what stands before a text

  FieldWriter(uint8_t* at, size_t most) : begin_(at), at_(at), end_(at + most) {}
  size_t written() const { return static_cast<size_t>(at_ - begin_); }

  void Text(int field, std::string_view text) {
    if (!text.empty()) AnyText(field, text);
  }
  void AnyText(int field, std::string_view text) {
    Head(field, text.size());
    Need(text.size());
    std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }
  void Number(int field, uint64_t number) {
    if (number != 0) AnyNumber(field, number);
  }
  void AnyNumber(int field, uint64_t number) {
    Tag(field, Wire::WIRETYPE_VARINT);
    at_ = Coded::WriteVarint64ToArray(number, at_);
  }
  void Fixed64(int field, uint64_t number) {
    if (number == 0) return;
    Tag(field, Wire::WIRETYPE_FIXED64);
    at_ = Coded::WriteLittleEndian64ToArray(number, at_);
  }
  // Of a message of `size` bytes, whose fields come next.
  void Head(int field, size_t size) {
    Tag(field, Wire::WIRETYPE_LENGTH_DELIMITED);
    at_ = Coded::WriteVarint32ToArray(static_cast<uint32_t>(size), at_);
  }

  // What the calls above write.
  static size_t TextSize(std::string_view text) { return text.empty() ? 0 : AnyTextSize(text); }
  static size_t AnyTextSize(std::string_view text) {
    return 1 + Coded::VarintSize32(static_cast<uint32_t>(text.size())) + text.size();
  }
  static size_t NumberSize(uint64_t number) { return number == 0 ? 0 : AnyNumberSize(number); }
  static size_t AnyNumberSize(uint64_t number) { return 1 + Coded::VarintSize64(number); }

 private:
  using Wire = google::protobuf::internal::WireFormatLite;
  using Coded = google::protobuf::io::CodedOutputStream;

  void Need(size_t bytes) const {
    if (bytes > static_cast<size_t>(end_ - at_)) std::abort();
  }
  // And room for the number or the length behind it.
  void Tag(int field, Wire::WireType type) {
    assert(field < 16);
    Need(type == Wire::WIRETYPE_LENGTH_DELIMITED ? kMaxHead : kMaxNumber);
    *at_++ = static_cast<uint8_t>(Wire::MakeTag(field, type));
  }

  uint8_t* const begin_;
  uint8_t* at_;
  uint8_t* const end_;
};

// Appends what `write` writes: at most `most` bytes.
template <typename Write>
void AppendFields(std::string& out, size_t most, Write write) {
  const size_t begin = out.size();
  out.resize(begin + most);
  FieldWriter writer(reinterpret_cast<uint8_t*>(out.data()) + begin, most);
  write(writer);
  out.resize(begin + writer.written());
}

}  // namespace muster::core
