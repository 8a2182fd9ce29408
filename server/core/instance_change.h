// What one registration or removal does to one instance: pure decisions over the stored state. The
// Registry reads that state, asks here, and proposes the answer.
//
// Thread safety: pure. Errors: base::Reason in each status.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "muster/storage/v1/storage.pb.h"
#include "muster/v1/registry.pb.h"
#include "server/core/instance.h"
#include "server/core/lease.h"
#include "storage/engine.h"

namespace muster::core {

// An instance as the store holds it.
struct StoredInstance {
  uint64_t mod_seq = 0;
  storage::InstanceWords words;
  storage::v1::InstanceRecord record;
};

absl::StatusOr<StoredInstance> DecodeStored(std::string_view value);

// What the lease of a stored instance is.
LeaseSpec MakeLeaseSpec(std::string key, uint64_t mod_seq, uint64_t incarnation,
                        const storage::v1::InstanceRecord& record);

// The latest result of a check of the instance, if it ever had one.
using ReadCheck =
    absl::FunctionRef<std::optional<storage::v1::CheckRecord>(std::string_view check_id)>;

// A registration that was found valid.
struct Registration {
  NormalInstance instance;
  std::string_view key;                       // storage::EncodeInstanceKey; somebody else's
  std::string life;                           // 16 bytes or empty
  absl::Duration ttl = absl::ZeroDuration();  // zero = permanent
  v1::Precondition precondition;
  std::string origin;
  bool in_maintenance = false;  // by an operator's word
};

// What is to be written; without ops: nothing changes.
struct Change {
  storage::Unit unit;
  bool changed = false;
  // Zero = the seq that the unit gets.
  uint64_t incarnation = 0;
};

// Checks that need no record: precondition and superseded lives. OK = go on.
absl::Status CheckPreconditions(const Registration& registration, const LeaseSpec* present);

// The same content, life and TTL as what is present.
bool IsNoOp(const Registration& registration, const LeaseSpec& present);

// `present` null: a new key. `buried`: the store may have a tombstone of it.
Change ChangeFor(const Registration& registration, const StoredInstance* present, bool buried,
                 ReadCheck read_check);

// Removes the instance. `now_ms` since 1970.
Change RemovalOf(std::string_view key, const StoredInstance& present, ReadCheck read_check,
                 uint64_t now_ms);
// The same, without the store. REQUIRES: nobody has ever reported.
Change RemovalOf(const Lease& lease, uint64_t now_ms);

// FAILED_PRECONDITION (STALE_INCARNATION) when `given` is lower than `present`, NOT_FOUND when
// higher; 0 = whichever.
absl::Status CheckIncarnation(uint64_t given, uint64_t present, const storage::InstanceKey& key);

}  // namespace muster::core
