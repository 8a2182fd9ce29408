// CheckDirectory: which checks there are, followed on the commit stream.
//
// On the strand it costs a look-up for each instance without checks, and a copy of those with some
// when their definition changes; changes of status cost the look-up.
//
// Thread safety: the CommitSink's members on the strand, Take on any other thread.
// Ownership: `wake` is called on the strand whenever there is something to Take; it only enqueues.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"
#include "server/health/check_scheduler.h"
#include "storage/engine.h"

namespace muster::health {

// An instance whose checks are other ones now.
struct DirectoryChange {
  std::string key;
  std::string value;   // of family `instances`; "" = it is gone
  bool fresh = false;  // it was written now, not replayed
};

class CheckDirectory : public storage::CommitSink {
 public:
  explicit CheckDirectory(std::function<void()> wake) : wake_(std::move(wake)) {}

  void OnOpen(const storage::Revision&, const storage::StoreRecordView&) override {}
  void OnReplay(storage::Family family, std::string_view key, std::string_view value) override;
  void OnReplayed() override { wake_(); }
  void OnCommits(absl::Span<const storage::Commit> commits) override;

  // What changed since the last call, in order.
  std::vector<DirectoryChange> Take();

 private:
  // True: it is to be told.
  bool Note(std::string_view key, std::string_view value, bool fresh);

  const std::function<void()> wake_;
  // Instances with checks, and when their definition last changed.
  absl::flat_hash_map<std::string, uint64_t> known_;
  base::Mutex mu_;
  std::vector<DirectoryChange> changes_ MUSTER_GUARDED_BY(mu_);
};

// What a change says. nullopt: the record can't be read, or there are no checks. `results` of the
// definitions are not set.
struct InstanceChecks {
  Followed instance;
  std::vector<CheckScheduler::Definition> checks;
};
std::optional<InstanceChecks> ReadChecks(const DirectoryChange& change);

}  // namespace muster::health
