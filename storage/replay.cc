#include "storage/replay.h"

namespace muster::storage {

absl::Status ReplayStore(const Snapshot& snapshot, const StoreRecordView& record,
                         const std::vector<CommitSink*>& sinks) {
  for (CommitSink* sink : sinks) sink->OnOpen(snapshot.revision(), record);
  for (int i = 0; i < kFamilyCount; ++i) {
    const Family family = static_cast<Family>(i);
    if (family == Family::kTransitions) continue;
    absl::Status damage;
    const absl::Status scanned =
        snapshot.Scan(family, "", [&](std::string_view key, std::string_view value) {
          damage = DecodeValue(value).status();
          if (!damage.ok()) return false;
          for (CommitSink* sink : sinks) sink->OnReplay(family, key, value);
          return true;
        });
    if (!scanned.ok()) return scanned;
    if (!damage.ok()) return damage;
  }
  for (CommitSink* sink : sinks) sink->OnReplayed();
  return absl::OkStatus();
}

}  // namespace muster::storage
