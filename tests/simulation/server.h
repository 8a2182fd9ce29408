// The real thing under simulation: the core on a memory engine in one thread, with a store that
// fails on command, and two pairs of eyes: one on what is proposed, one on what is committed.
//
// Thread safety: none. Ownership: the clock, the store and the log outlive the server.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fake_clock.h"
#include "base/rng.h"
#include "server/core/applier.h"
#include "server/core/catalog.h"
#include "server/core/held_set.h"
#include "server/core/lease_table.h"
#include "server/core/registry.h"
#include "server/core/watch_hub.h"
#include "storage/memory_engine.h"

namespace muster::simulation {

using storage::Family;

struct LoggedCommit {
  uint64_t seq = 0;
  std::vector<storage::Op> ops;
};

// Defects that a self-test plants, to see that they are noticed.
enum class Sabotage {
  kNone,
  kLostRemoval,       // one removal of an instance does not reach the views
  kLostWake,          // watchers are not woken for removals
  kLostWrite,         // a restart forgets the last commit
  kEarlyExpiry,       // a lease is taken a second before its time
  kNoFencing,         // late calls of dead lives are taken for those of the present one
  kForgottenDeletion  // tombstones are gone, and the floor does not say so
};
inline constexpr int kSabotages = 7;
const char* NameOf(Sabotage sabotage);

// What outlives a server. A write may fail before or after it is durable; then, as with a log whose
// sync failed, it is seen only by the next server.
class FaultyStore : public storage::MemoryStore {
 public:
  explicit FaultyStore(uint64_t last_seq = 0) : MemoryStore(last_seq) {}

  // Every write after the next `writes` fails.
  void FailAfter(int writes, bool durable);
  bool failing() const { return fail_after_.has_value(); }

  // For the next server. What it will see and no client was told of goes to `unheard`.
  absl::Status Reopen(std::vector<LoggedCommit>& unheard);

  absl::Status Write(absl::Span<const storage::Commit> commits) override;

 private:
  std::optional<int> fail_after_;
  bool durable_ = false;
  std::vector<LoggedCommit> stash_;
};

// Passes everything on and remembers what was proposed. Expiries of one moment go in the order of
// their keys: the server's depends on where the process was loaded.
class Spy : public storage::Engine {
 public:
  explicit Spy(storage::Engine& engine) : engine_(engine) {}

  std::vector<storage::Unit> TakeProposed() { return std::move(proposed_); }

  absl::Status Open(std::vector<storage::CommitSink*> sinks) override {
    return engine_.Open(std::move(sinks));
  }
  void Propose(storage::Batch batch, storage::WriteClass write_class, storage::Done done) override;
  absl::StatusOr<std::string> Get(Family family, std::string_view key) const override {
    return engine_.Get(family, key);
  }
  absl::StatusOr<std::unique_ptr<storage::Snapshot>> GetSnapshot() const override {
    return engine_.GetSnapshot();
  }
  storage::Revision revision() const override { return engine_.revision(); }
  size_t max_unit_ops() const override { return engine_.max_unit_ops(); }
  size_t max_unit_bytes() const override { return engine_.max_unit_bytes(); }
  storage::EngineStats Stats() const override { return engine_.Stats(); }
  void Close() override { engine_.Close(); }

 private:
  storage::Engine& engine_;
  std::vector<storage::Unit> proposed_;
};

// Stands before the applier: hands on what comes and writes it down.
class Recorder : public storage::CommitSink {
 public:
  Recorder(storage::CommitSink& applier, std::vector<LoggedCommit>& log, Sabotage sabotage)
      : applier_(applier), log_(log), sabotage_(sabotage) {}

  void OnOpen(const storage::Revision& revision, const storage::StoreRecordView& store) override {
    applier_.OnOpen(revision, store);
  }
  void OnReplay(Family family, std::string_view key, std::string_view value) override {
    applier_.OnReplay(family, key, value);
  }
  void OnReplayed() override { applier_.OnReplayed(); }
  void OnCommits(absl::Span<const storage::Commit> commits) override;

 private:
  std::vector<LoggedCommit> Spoil(absl::Span<const storage::Commit> commits);

  storage::CommitSink& applier_;
  std::vector<LoggedCommit>& log_;
  const Sabotage sabotage_;
  bool spoilt_ = false;
};

struct ServerOptions {
  core::RegistryOptions registry;
  storage::EngineLimits limits;
  Sabotage sabotage = Sabotage::kNone;
};

class Server {
 public:
  Server(base::FakeClock& clock, base::Rng& rng, const ServerOptions& options,
         std::shared_ptr<FaultyStore> store, std::vector<LoggedCommit>& log);
  // What waits is written, unless the store fails.
  ~Server() { engine.Close(); }

  absl::Status Open() { return spy.Open({&recorder}); }
  void Run() { engine.RunPending(); }

  core::Catalog catalog;
  core::WatchHub hub;
  core::LeaseTable leases;
  core::HeldSet held;
  core::Applier applier;
  Recorder recorder;
  storage::MemoryEngine engine;
  Spy spy;
  core::Registry registry;
};

}  // namespace muster::simulation
