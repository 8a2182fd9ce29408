// The identity of a store, as kept in meta/"store".
//
// Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/rng.h"
#include "storage/schema.h"

namespace muster::storage {

// A new epoch. Its seqs begin above `last_seq` and not below the time in µs since 1970, so that
// seq never goes back, whatever store stood there before.
StoreRecordView NewStoreRecord(const base::Clock& clock, base::Rng& rng, uint64_t last_seq);

// A whole value; its modify seq is the record's base seq.
std::string EncodeStoreRecord(const StoreRecordView& record);
// Errors: see DecodeValue; DATA_LOSS for a payload that isn't a StoreRecord or has no epoch.
absl::StatusOr<StoreRecordView> DecodeStoreRecord(std::string_view value);

}  // namespace muster::storage
