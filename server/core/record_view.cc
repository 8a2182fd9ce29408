#include "server/core/record_view.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>

namespace muster::core {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using storage::v1::InstanceRecord;

// The bytes of a length-delimited field whose tag was just read.
bool ReadBytes(CodedInputStream& in, std::string_view payload, std::string_view& out) {
  uint32_t size = 0;
  if (!in.ReadVarint32(&size)) return false;
  const auto at = static_cast<size_t>(in.CurrentPosition());
  if (!in.Skip(static_cast<int>(size))) return false;
  out = payload.substr(at, size);
  return true;
}

template <typename T>
bool ReadNumber(CodedInputStream& in, T& out) {
  uint64_t value = 0;
  if (!in.ReadVarint64(&value)) return false;
  out = static_cast<T>(value);
  return true;
}

bool CopyLife(std::string_view from, LifeId& to) {
  if (from.size() != to.size()) return false;
  std::copy(from.begin(), from.end(), to.begin());
  return true;
}

bool ReadSuperseded(std::string_view bytes, std::vector<Superseded>& out) {
  storage::v1::SupersededLife old;
  if (!old.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return false;
  Superseded& superseded = out.emplace_back();
  superseded.incarnation = old.incarnation();
  CopyLife(old.life(), superseded.life);
  return true;
}

// Of a tag below 16 and a size below 2^32.
constexpr size_t kMaxFieldHead = 6;

void AppendBytes(int field, std::string_view bytes, std::string& out) {
  uint8_t head[kMaxFieldHead];
  uint8_t* end =
      WireFormatLite::WriteTagToArray(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED, head);
  end = google::protobuf::io::CodedOutputStream::WriteVarint32ToArray(
      static_cast<uint32_t>(bytes.size()), end);
  out.append(head, end);
  out.append(bytes);
}

// One field into `record`, or into `checks`.
bool ReadField(uint32_t tag, CodedInputStream& in, std::string_view payload, RecordView& record,
               std::vector<std::string_view>& checks) {
  const auto is = [tag](int field, WireFormatLite::WireType type) {
    return tag == WireFormatLite::MakeTag(field, type);
  };
  constexpr auto kBytes = WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
  constexpr auto kNumber = WireFormatLite::WIRETYPE_VARINT;
  if (is(InstanceRecord::kEndpointFieldNumber, kBytes)) {
    return ReadBytes(in, payload, record.endpoint);
  }
  if (is(InstanceRecord::kChecksFieldNumber, kBytes)) {
    return ReadBytes(in, payload, checks.emplace_back());
  }
  if (is(InstanceRecord::kLifeFieldNumber, kBytes)) return ReadBytes(in, payload, record.life);
  if (is(InstanceRecord::kTtlMsFieldNumber, kNumber)) return ReadNumber(in, record.ttl_ms);
  if (is(InstanceRecord::kHealthFieldNumber, kNumber)) return ReadNumber(in, record.health);
  if (is(InstanceRecord::kStateFieldNumber, kNumber)) return ReadNumber(in, record.state);
  if (is(InstanceRecord::kNeverReportedFieldNumber, kNumber)) {
    return ReadNumber(in, record.never_reported);
  }
  if (is(InstanceRecord::kSupersededFieldNumber, kBytes)) {
    std::string_view bytes;
    return ReadBytes(in, payload, bytes) && ReadSuperseded(bytes, record.superseded);
  }
  return WireFormatLite::SkipField(&in, tag);
}

}  // namespace

std::string SerializeRecord(const InstanceRecord& record) {
  std::string out;
  AppendDeterministic(record, out);
  return out;
}

void AppendRecord(const NormalInstance& instance, const InstanceRecord& rest, std::string& out) {
  // These come first: their numbers are the lowest.
  static_assert(InstanceRecord::kEndpointFieldNumber == 1);
  static_assert(InstanceRecord::kChecksFieldNumber == 2);
  size_t size = instance.endpoint.size() + kMaxFieldHead + rest.ByteSizeLong();
  for (const NormalCheck& check : instance.checks) size += check.encoded.size() + kMaxFieldHead;
  out.reserve(out.size() + size);
  if (!instance.endpoint.empty()) {
    AppendBytes(InstanceRecord::kEndpointFieldNumber, instance.endpoint, out);
  }
  for (const NormalCheck& check : instance.checks) {
    AppendBytes(InstanceRecord::kChecksFieldNumber, check.encoded, out);
  }
  AppendDeterministic(rest, out);
}

std::optional<RecordView> ReadRecord(std::string_view payload) {
  RecordView record;
  std::vector<std::string_view> checks;
  CodedInputStream in(reinterpret_cast<const uint8_t*>(payload.data()),
                      static_cast<int>(payload.size()));
  while (const uint32_t tag = in.ReadTag()) {
    if (!ReadField(tag, in, payload, record, checks)) return std::nullopt;
  }
  if (!in.ConsumedEntireMessage()) return std::nullopt;
  record.digest = DigestOfEncoded(record.endpoint, checks);
  return record;
}

LeaseSpec MakeLeaseSpec(std::string_view key, uint64_t mod_seq, uint64_t incarnation,
                        const RecordView& record) {
  LeaseSpec spec;
  spec.key = std::string(key);
  spec.mod_seq = mod_seq;
  spec.incarnation = incarnation;
  spec.fenced = CopyLife(record.life, spec.life);
  spec.digest = record.digest;
  spec.ttl = absl::Milliseconds(record.ttl_ms);
  spec.superseded = record.superseded;
  spec.never_reported = record.never_reported;
  return spec;
}

}  // namespace muster::core
