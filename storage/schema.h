// The schema of the store: families, keys, value headers. The only file that names them.
//
// The numbers and bytes below are on users' disks: never change them, only add. The test
// tests/unit/storage/schema_test.cc pins examples; docs/storage-format.md shows them.
//
// A value is   format byte (1) | modify seq (8 bytes, little-endian) | words | payload
// where `instances` has four words of 8 bytes, little-endian (see InstanceWords) and the other
// families none; the payload is a message of muster/storage/v1/storage.proto. A word of zero means
// "the modify seq": a proposer doesn't know the seq that its write will get.
//
// Keys: parts in order, each but the last ended by a zero byte (names can't hold one), so that
// byte order is tuple order. Namespace and service are in lower case.
//
// Thread safety: pure functions. Cost: one allocation each.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace muster::storage {

enum class Family : uint8_t {
  kMeta = 0,
  kServices = 1,
  kNodes = 2,
  kInstances = 3,
  kTombstones = 4,
  kChecks = 5,
  kTransitions = 6,  // not replayed
  kAccess = 7,
};
inline constexpr int kFamilyCount = 8;
inline constexpr std::array<std::string_view, kFamilyCount> kFamilyNames = {
    "meta", "services", "nodes", "instances", "tombstones", "checks", "transitions", "access"};

inline constexpr uint8_t kFormat = 1;
inline constexpr size_t kHeaderBytes = 9;
inline constexpr size_t kInstanceHeaderBytes = kHeaderBytes + 4 * 8;
// In meta: the store's identity, and a value whose modify seq is that of the last time that a
// service was forgotten (what happened to unknown services up to then is not known).
inline constexpr std::string_view kStoreKey = "store";
inline constexpr std::string_view kForgottenKey = "forgotten";
// In meta, an empty payload whose modify seq is the store's latest seq, which deletions don't take
// back. The engine's own: never replayed, scanned or backed up.
inline constexpr std::string_view kSeqKey = "seq";

// Identity of a store; decoded form of StoreRecord.
struct StoreRecordView {
  uint64_t epoch = 0;
  uint64_t base_seq = 0;
};

struct InstanceKey {
  std::string ns;       // lower case
  std::string service;  // lower case
  std::string node;
  std::string id;
  friend bool operator==(const InstanceKey&, const InstanceKey&) = default;
  friend auto operator<=>(const InstanceKey&, const InstanceKey&) = default;
};

// ns \0 service \0 node \0 id: instances and tombstones.
std::string EncodeInstanceKey(const InstanceKey& key);
std::string EncodeInstanceKey(std::string_view ns, std::string_view service, std::string_view node,
                              std::string_view id);
// Views into `key`; nullopt when it isn't one.
struct InstanceKeyView {
  std::string_view ns, service, node, id;
};
std::optional<InstanceKeyView> DecodeInstanceKey(std::string_view key);
// ns \0 service \0: what every instance key of a service begins with.
std::string InstancePrefix(std::string_view ns, std::string_view service);
// ns \0 service: services.
std::string EncodeServiceKey(std::string_view ns, std::string_view service);
struct ServiceKeyView {
  std::string_view ns, service;
};
std::optional<ServiceKeyView> DecodeServiceKey(std::string_view key);
// The key of an instance's service, which an instance's key begins with; "" of what is no such key.
std::string_view ServiceKeyOf(std::string_view instance_key);
// ns \0 node: nodes.
std::string EncodeNodeKey(std::string_view ns, std::string_view node);
struct NodeKeyView {
  std::string_view ns, node;
};
std::optional<NodeKeyView> DecodeNodeKey(std::string_view key);
// ns \0 node \0 service \0 id: nodes too, what is kept of an instance there. `node` may be empty.
std::string EncodeNodeInstanceKey(std::string_view ns, std::string_view node,
                                  std::string_view service, std::string_view id);
std::optional<InstanceKeyView> DecodeNodeInstanceKey(std::string_view key);
// instance key \0 check id: checks.
std::string EncodeCheckKey(std::string_view instance_key, std::string_view check_id);
// instance key \0: what every check key of an instance begins with.
std::string CheckPrefix(std::string_view instance_key);
// The check id of a check key; nullopt when it isn't one.
struct CheckKeyView {
  std::string_view instance_key, check_id;
};
std::optional<CheckKeyView> DecodeCheckKey(std::string_view key);
// check key \0 seq (8 bytes, big-endian): transitions.
std::string EncodeTransitionKey(std::string_view check_key, uint64_t seq);

// The words of an `instances` value. Zero = the modify seq.
struct InstanceWords {
  uint64_t create_seq = 0;
  uint64_t definition_seq = 0;  // last change of the definition
  uint64_t visible_seq = 0;     // last change that a discovering client can see
  uint64_t incarnation = 0;     // when this life registered
};

// Header with modify seq zero, then `payload`. `room`: bytes that the caller is about to append.
std::string EncodeValue(std::string_view payload);
std::string EncodeInstanceValue(const InstanceWords& words, std::string_view payload,
                                size_t room = 0);

// Writes `seq` into the header. REQUIRES: value.size() >= kHeaderBytes.
void StampModSeq(std::string& value, uint64_t seq);
// 0 when the value is too short to hold one.
uint64_t ModSeqOf(std::string_view value);

struct ValueView {
  uint64_t mod_seq = 0;
  std::string_view payload;
};
struct InstanceValueView {
  uint64_t mod_seq = 0;
  InstanceWords words;  // zeroes replaced by mod_seq
  std::string_view payload;
};
// Errors: FAILED_PRECONDITION for a newer format ("format 2 is newer than 1…"), DATA_LOSS for a
// value that is cut.
absl::StatusOr<ValueView> DecodeValue(std::string_view value);
absl::StatusOr<InstanceValueView> DecodeInstanceValue(std::string_view value);

}  // namespace muster::storage
