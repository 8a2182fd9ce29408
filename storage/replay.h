// Replays an opened store to the sinks, as Engine::Open promises.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "storage/engine.h"

namespace muster::storage {

// OnOpen, OnReplay for every record of every family but transitions, OnReplayed, for each sink.
// Checks each value's header on the way. Errors: see Engine::Open.
absl::Status ReplayStore(const Snapshot& snapshot, const StoreRecordView& record,
                         const std::vector<CommitSink*>& sinks);

}  // namespace muster::storage
