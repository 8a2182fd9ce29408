// RecordView: what views and leases need of a stored InstanceRecord, read where it stands: neither
// checks nor endpoint are parsed, nothing is copied. A start reads every record.
//
//   storage::Op op = Put(…, EncodeInstanceValue(words, SerializeRecord(record)));
//   const std::optional<RecordView> view = ReadRecord(decoded->payload);
//
// Thread safety: pure. Ownership: a RecordView points into the payload that it was read from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "muster/storage/v1/storage.pb.h"
#include "server/core/instance.h"
#include "server/core/lease.h"

namespace muster::core {

struct RecordView {
  std::string_view endpoint;
  std::string_view life;
  uint64_t ttl_ms = 0;
  v1::Health health = v1::HEALTH_UNSPECIFIED;
  v1::State state = v1::STATE_UNSPECIFIED;
  Digest digest;  // of endpoint and checks: that of DigestOf
  std::vector<Superseded> superseded;
  bool never_reported = false;
};

// Deterministic, so that equal definitions have equal bytes and one digest.
std::string SerializeRecord(const storage::v1::InstanceRecord& record);

// An InstanceRecord less endpoint and checks. Ownership: points to texts of others.
struct RecordRest {
  std::string_view life;
  uint64_t ttl_ms = 0;
  v1::Health health = v1::HEALTH_UNSPECIFIED;
  v1::State state = v1::STATE_UNSPECIFIED;
  std::string_view origin;
  google::protobuf::RepeatedPtrField<storage::v1::SupersededLife> superseded;
  bool never_reported = false;
  bool draining = false;
};

// How many bytes AppendRecord appends at most.
size_t MaxRecordSize(const NormalInstance& instance, const RecordRest& rest);

// Appends the bytes of SerializeRecord, of a record whose endpoint and checks are the instance's.
void AppendRecord(const NormalInstance& instance, const RecordRest& rest, std::string& out);

// nullopt for bytes that are no InstanceRecord.
std::optional<RecordView> ReadRecord(std::string_view payload);

// What the lease of an instance is that was stored so.
LeaseSpec MakeLeaseSpec(std::string_view key, uint64_t mod_seq, uint64_t incarnation,
                        const RecordView& record);

}  // namespace muster::core
