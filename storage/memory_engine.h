// The engine in memory: the reference implementation of the contract, for tests and for
// `--storage memory`. Nothing outlives the process; a MemoryStore outlives an engine, which makes
// a restart.
//
//   auto store = std::make_shared<MemoryStore>();
//   MemoryEngine engine({.clock = clock, .rng = rng, .threaded = false}, store);
//   engine.Open({&catalog});
//   engine.Propose(…);
//   engine.RunPending();  // judged, applied to the sinks, completed
//
// Thread safety: as Engine; RunPending from one thread at a time.
// Cost: a snapshot copies the store.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "storage/engine.h"
#include "storage/strand.h"

namespace muster::storage {

// The data of a memory engine. Open by one engine at a time. A new store gets a new epoch when it
// is first opened.
class MemoryStore : public GroupStore {
 public:
  using Table = std::map<std::string, std::string, std::less<>>;

  // `last_seq`: where a store that stood here before had come to.
  explicit MemoryStore(uint64_t last_seq = 0) : seq_(last_seq) {}

  // From now on every Write fails so; OK ends it.
  void FailWrites(absl::Status status);

  // For the engine.
  absl::StatusOr<StoreRecordView> OpenStore(const base::Clock& clock, base::Rng& rng);
  uint64_t seq() const;
  std::array<Table, kFamilyCount> Copy(uint64_t* seq) const;
  absl::StatusOr<std::optional<std::string>> Read(Family family,
                                                  std::string_view key) const override;
  absl::Status Write(absl::Span<const Commit> commits) override;

 private:
  mutable base::Mutex mu_;
  std::array<Table, kFamilyCount> tables_ MUSTER_GUARDED_BY(mu_);
  uint64_t seq_ MUSTER_GUARDED_BY(mu_);
  absl::Status fail_ MUSTER_GUARDED_BY(mu_);
};

struct MemoryEngineOptions {
  const base::Clock& clock;
  base::Rng& rng;
  bool threaded = true;  // false: RunPending does the work
  EngineLimits limits{};
};

class MemoryEngine : public Engine {
 public:
  explicit MemoryEngine(const MemoryEngineOptions& options,
                        std::shared_ptr<MemoryStore> store = std::make_shared<MemoryStore>());
  ~MemoryEngine() override;

  absl::Status Open(std::vector<CommitSink*> sinks) override;
  void Propose(Batch batch, WriteClass write_class, Done done) override;
  absl::StatusOr<std::string> Get(Family family, std::string_view key) const override;
  absl::StatusOr<std::unique_ptr<Snapshot>> GetSnapshot() const override;
  Revision revision() const override { return strand_.revision(); }
  size_t max_unit_ops() const override { return strand_.limits().max_unit_ops; }
  size_t max_unit_bytes() const override { return strand_.limits().max_unit_bytes; }
  EngineStats Stats() const override { return strand_.Stats("memory"); }
  void Close() override { strand_.Close(); }

  // Not threaded: groups, judges, applies and completes all that waits, on the calling thread,
  // what sinks and completions propose meanwhile included. Returns how many units it settled.
  size_t RunPending() { return strand_.RunPending(); }

 private:
  const MemoryEngineOptions options_;
  const std::shared_ptr<MemoryStore> store_;
  Strand strand_;
};

}  // namespace muster::storage
