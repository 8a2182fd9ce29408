#include "server/core/record_view.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>

#include "absl/container/inlined_vector.h"
#include "server/core/field_writer.h"
#include "server/core/zone_tag.h"

namespace muster::core {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using storage::v1::InstanceRecord;
using Checks = absl::InlinedVector<std::string_view, 4>;

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

size_t SizeOf(const storage::v1::SupersededLife& old) {
  return FieldWriter::TextSize(old.life()) + FieldWriter::NumberSize(old.incarnation());
}

// What WriteRest writes at most.
size_t MostOf(const RecordRest& rest) {
  size_t size = rest.life.size() + rest.origin.size() + 2 * FieldWriter::kMaxHead +
                5 * FieldWriter::kMaxNumber;
  for (const auto& old : rest.superseded) size += FieldWriter::kMaxHead + SizeOf(old);
  return size;
}

void WriteRest(const RecordRest& rest, FieldWriter& out) {
  out.Text(InstanceRecord::kLifeFieldNumber, rest.life);
  out.Number(InstanceRecord::kTtlMsFieldNumber, rest.ttl_ms);
  out.Number(InstanceRecord::kHealthFieldNumber, rest.health);
  out.Number(InstanceRecord::kStateFieldNumber, rest.state);
  out.Text(InstanceRecord::kOriginFieldNumber, rest.origin);
  for (const auto& old : rest.superseded) {
    out.Head(InstanceRecord::kSupersededFieldNumber, SizeOf(old));
    out.Text(storage::v1::SupersededLife::kLifeFieldNumber, old.life());
    out.Number(storage::v1::SupersededLife::kIncarnationFieldNumber, old.incarnation());
  }
  out.Number(InstanceRecord::kNeverReportedFieldNumber, rest.never_reported ? 1 : 0);
  out.Number(InstanceRecord::kDrainingFieldNumber, rest.draining ? 1 : 0);
}

// One field into `record`, or into `checks`.
bool ReadField(uint32_t tag, CodedInputStream& in, std::string_view payload, RecordView& record,
               Checks& checks) {
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

size_t MaxRecordSize(const NormalInstance& instance, const RecordRest& rest) {
  size_t most = FieldWriter::kMaxHead + instance.endpoint.size() + MostOf(rest);
  for (const NormalCheck& check : instance.checks) {
    most += FieldWriter::kMaxHead + check.encoded.size();
  }
  return most;
}

void AppendRecord(const NormalInstance& instance, const RecordRest& rest, std::string& out) {
  AppendFields(out, MaxRecordSize(instance, rest), [&](FieldWriter& writer) {
    writer.Text(InstanceRecord::kEndpointFieldNumber, instance.endpoint);
    for (const NormalCheck& check : instance.checks) {
      writer.AnyText(InstanceRecord::kChecksFieldNumber, check.encoded);
    }
    WriteRest(rest, writer);
  });
}

std::optional<RecordView> ReadRecord(std::string_view payload) {
  RecordView record;
  Checks checks;
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
  spec.zone = ZoneTag(ZoneOf(record.endpoint));
  return spec;
}

}  // namespace muster::core
