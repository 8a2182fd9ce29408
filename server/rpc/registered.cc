#include "server/rpc/registered.h"

#include <string>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/time/time.h"
#include "muster/v1/registry.pb.h"
#include "server/core/field_writer.h"
#include "server/rpc/errors.h"
#include "server/rpc/slices.h"

namespace muster::rpc {
namespace {

using core::FieldWriter;
using google::protobuf::Duration;
using v1::InstanceKey;
using v1::RegisterResponse;

// How many heartbeats a lease's TTL has room for.
constexpr int kBeatsOfTtl = 3;
constexpr size_t kUsualSize = 512;

void WriteRevision(const storage::Revision& revision, FieldWriter& out) {
  out.Head(RegisterResponse::kRevisionFieldNumber,
           FieldWriter::NumberSize(revision.epoch) + FieldWriter::NumberSize(revision.seq));
  out.Number(v1::Revision::kEpochFieldNumber, revision.epoch);
  out.Number(v1::Revision::kSeqFieldNumber, revision.seq);
}

void WriteDuration(int field, absl::Duration duration, FieldWriter& out) {
  const auto us = static_cast<uint64_t>(absl::ToInt64Microseconds(duration));
  const uint64_t seconds = us / 1'000'000;
  const uint64_t nanos = us % 1'000'000 * 1000;
  out.Head(field, FieldWriter::NumberSize(seconds) + FieldWriter::NumberSize(nanos));
  out.Number(Duration::kSecondsFieldNumber, seconds);
  out.Number(Duration::kNanosFieldNumber, nanos);
}

void WriteKey(const storage::InstanceKey& key, FieldWriter& out) {
  out.Head(RegisterResponse::kKeyFieldNumber,
           FieldWriter::TextSize(key.ns) + FieldWriter::TextSize(key.service) +
               FieldWriter::TextSize(key.node) + FieldWriter::TextSize(key.id));
  out.Text(InstanceKey::kNamespaceFieldNumber, key.ns);
  out.Text(InstanceKey::kServiceFieldNumber, key.service);
  out.Text(InstanceKey::kNodeFieldNumber, key.node);
  out.Text(InstanceKey::kIdFieldNumber, key.id);
}

void Write(const core::Registered& registered, FieldWriter& out) {
  out.Number(RegisterResponse::kIncarnationFieldNumber, registered.incarnation);
  const bool leased = registered.ttl > absl::ZeroDuration();
  if (leased) out.Fixed64(RegisterResponse::kLeaseHandleFieldNumber, registered.incarnation);
  WriteRevision(registered.revision, out);
  if (leased) {
    WriteDuration(RegisterResponse::kTtlFieldNumber, registered.ttl, out);
    WriteDuration(RegisterResponse::kHeartbeatIntervalFieldNumber, registered.ttl / kBeatsOfTtl,
                  out);
  }
  out.Number(RegisterResponse::kChangedFieldNumber, registered.changed ? 1 : 0);
  WriteKey(registered.key, out);
}

// What Write writes at most.
size_t MostOf(const core::Registered& registered) {
  constexpr size_t kNumbers = 9;  // three, and two in each of three messages
  constexpr size_t kTexts = 4;
  constexpr size_t kMessages = 4;
  const storage::InstanceKey& key = registered.key;
  return kNumbers * FieldWriter::kMaxNumber + (kTexts + kMessages) * FieldWriter::kMaxHead +
         key.ns.size() + key.service.size() + key.node.size() + key.id.size();
}

}  // namespace

grpc::ByteBuffer EncodeRegistered(const core::Registered& registered) {
  absl::InlinedVector<uint8_t, kUsualSize> bytes(MostOf(registered));
  FieldWriter out(bytes.data(), bytes.size());
  Write(registered, out);
  grpc::Slice slice(bytes.data(), out.written());
  return {&slice, 1};
}

grpc::ByteBuffer EncodeBatch(absl::Span<const absl::StatusOr<core::Registered>> results) {
  std::string all;
  std::string response;
  std::string status;
  for (const auto& result : results) {
    response.clear();
    if (result.ok()) {
      core::AppendFields(response, MostOf(*result), [&](FieldWriter& out) { Write(*result, out); });
    }
    status = result.ok() ? "" : ToStatusProto(result.status()).SerializeAsString();
    const size_t size = FieldWriter::AnyTextSize(status) + FieldWriter::TextSize(response);
    core::AppendFields(all, FieldWriter::kMaxHead + size, [&](FieldWriter& out) {
      out.Head(v1::BatchRegisterResponse::kResultsFieldNumber, size);
      out.AnyText(v1::BatchRegisterResult::kStatusFieldNumber, status);
      out.Text(v1::BatchRegisterResult::kResponseFieldNumber, response);
    });
  }
  const grpc::Slice slice = OwnedSlice(std::move(all));
  return {&slice, 1};
}

}  // namespace muster::rpc
