// crash_child write DIR: opens the store and writes for ever, three proposals in flight. Each
// acknowledged unit is told on stdout as two 8-byte words, index and seq, in one write.
//
// crash_child full DIR: the same, with a limit on the size of files that makes a write fail; then
// checks that the engine is read-only, and exits with 0 when it is.
//
// Unit i puts instances/"k<i>" with payload "v<i>"; when i is a multiple of 3 it also deletes
// instances/"k<i-1>".
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/errors.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "storage/rocksdb/rocksdb_engine.h"

namespace {

using namespace muster;
using namespace muster::storage;

class NullSink : public CommitSink {
 public:
  void OnOpen(const Revision&, const StoreRecordView&) override {}
  void OnReplay(Family, std::string_view, std::string_view) override {}
  void OnReplayed() override {}
  void OnCommits(absl::Span<const Commit>) override {}
};

Unit UnitOf(uint64_t i) {
  Unit unit{.ops = {Put(Family::kInstances, "k" + std::to_string(i),
                        EncodeValue("v" + std::to_string(i)))}};
  if (i % 3 == 0) unit.ops.push_back(Delete(Family::kInstances, "k" + std::to_string(i - 1)));
  return unit;
}

void Tell(uint64_t index, uint64_t seq) {
  char bytes[16];
  std::memcpy(bytes, &index, 8);
  std::memcpy(bytes + 8, &seq, 8);
  if (::write(STDOUT_FILENO, bytes, sizeof(bytes)) != sizeof(bytes)) ::_exit(3);
}

// Three in flight; stops at the first unit that isn't committed.
class Writer {
 public:
  explicit Writer(Engine& engine) : engine_(engine) {}

  UnitResult WriteUntilFailure(uint64_t first) {
    base::MutexLock lock(mu_);
    for (uint64_t i = first; failure_.status.ok(); ++i) {
      ++in_flight_;
      engine_.Propose({{UnitOf(i)}}, WriteClass::kUser,
                      [this, i](std::vector<UnitResult> results) { Settle(i, results[0]); });
      while (in_flight_ >= 3) settled_.Wait(mu_);
    }
    while (in_flight_ > 0) settled_.Wait(mu_);
    return failure_;
  }

 private:
  void Settle(uint64_t index, const UnitResult& result) {
    if (result.verdict == UnitResult::Verdict::kCommitted) Tell(index, result.seq);
    base::MutexLock lock(mu_);
    // One that was proposed when the engine had just frozen may be refused before the one whose
    // write failed is told so.
    const bool is_first = result.verdict == UnitResult::Verdict::kUnknown || failure_.status.ok();
    if (result.verdict != UnitResult::Verdict::kCommitted && is_first) failure_ = result;
    --in_flight_;
    settled_.NotifyAll();
  }

  Engine& engine_;
  base::Mutex mu_;
  base::CondVar settled_;
  int in_flight_ = 0;
  UnitResult failure_;
};

void LimitFileSize() {
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{64 << 10, 64 << 10};
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

int CheckFrozen(Engine& engine, const UnitResult& failure) {
  if (failure.verdict != UnitResult::Verdict::kUnknown) return 4;
  if (!engine.Stats().frozen) return 5;
  if (!engine.Get(Family::kInstances, "k1").ok()) return 6;
  Writer writer(engine);
  const UnitResult later = writer.WriteUntilFailure(1);
  if (later.verdict != UnitResult::Verdict::kNotCommitted) return 7;
  return base::ReasonOf(later.status) == base::Reason::kStorageReadOnly ? 0 : 8;
}

uint64_t FirstFree(const Engine& engine) {
  uint64_t next = 1;
  while (engine.Get(Family::kInstances, "k" + std::to_string(next)).ok() ||
         engine.Get(Family::kInstances, "k" + std::to_string(next + 1)).ok()) {
    ++next;
  }
  return next;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string_view mode = argv[1];
  base::SystemRng rng;
  NullSink sink;
  RocksDbEngine engine({.data_dir = argv[2], .clock = base::RealClock(), .rng = rng});
  if (!engine.Open({&sink}).ok()) return 1;
  if (mode == "full") LimitFileSize();
  Writer writer(engine);
  const UnitResult failure = writer.WriteUntilFailure(FirstFree(engine));
  return mode == "full" ? CheckFrozen(engine, failure) : 9;
}
