#include "tests/simulation/server.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace muster::simulation {
namespace {

std::vector<LoggedCommit> CopyOf(absl::Span<const storage::Commit> commits) {
  std::vector<LoggedCommit> out;
  for (const storage::Commit& commit : commits) {
    out.push_back({commit.seq, {commit.ops.begin(), commit.ops.end()}});
  }
  return out;
}

std::vector<storage::Commit> Refer(const std::vector<LoggedCommit>& commits) {
  std::vector<storage::Commit> out;
  for (const LoggedCommit& commit : commits) out.push_back({commit.seq, commit.ops});
  return out;
}

// Only expiries are proposed in one batch of this class.
void SortExpiries(storage::Batch& batch, storage::Done& done) {
  std::vector<size_t> order(batch.units.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const auto key = [&](size_t i) {
      const auto& ops = batch.units[i].ops;
      return ops.empty() ? std::string() : ops.front().key;
    };
    return key(a) < key(b);
  });
  std::vector<storage::Unit> sorted;
  for (const size_t i : order) sorted.push_back(std::move(batch.units[i]));
  batch.units = std::move(sorted);
  done = [order, done = std::move(done)](std::vector<storage::UnitResult> results) {
    std::vector<storage::UnitResult> as_asked(results.size());
    for (size_t i = 0; i < results.size(); ++i) as_asked[order[i]] = std::move(results[i]);
    done(std::move(as_asked));
  };
}

}  // namespace

const char* NameOf(Sabotage sabotage) {
  switch (sabotage) {
    case Sabotage::kLostRemoval:
      return "lost-removal";
    case Sabotage::kLostWake:
      return "lost-wake";
    case Sabotage::kLostWrite:
      return "lost-write";
    case Sabotage::kEarlyExpiry:
      return "early-expiry";
    case Sabotage::kNoFencing:
      return "no-fencing";
    case Sabotage::kForgottenDeletion:
      return "forgotten-deletion";
    default:
      return "none";
  }
}

void FaultyStore::FailAfter(int writes, bool durable) {
  fail_after_ = writes;
  durable_ = durable;
}

absl::Status FaultyStore::Write(absl::Span<const storage::Commit> commits) {
  if (!fail_after_) return MemoryStore::Write(commits);
  if (*fail_after_ > 0) {
    --*fail_after_;
    return MemoryStore::Write(commits);
  }
  // The engine writes no more after the first failure.
  if (durable_) stash_ = CopyOf(commits);
  return absl::DataLossError("the simulated disk failed");
}

absl::Status FaultyStore::Reopen(std::vector<LoggedCommit>& unheard) {
  fail_after_.reset();
  unheard = std::exchange(stash_, {});
  return unheard.empty() ? absl::OkStatus() : MemoryStore::Write(Refer(unheard));
}

void Spy::Propose(storage::Batch batch, storage::WriteClass write_class, storage::Done done) {
  if (write_class == storage::WriteClass::kInternal) SortExpiries(batch, done);
  proposed_.insert(proposed_.end(), batch.units.begin(), batch.units.end());
  engine_.Propose(std::move(batch), write_class, std::move(done));
}

void Recorder::OnCommits(absl::Span<const storage::Commit> commits) {
  for (LoggedCommit& commit : CopyOf(commits)) log_.push_back(std::move(commit));
  if (sabotage_ == Sabotage::kNone) return applier_.OnCommits(commits);
  applier_.OnCommits(Refer(Spoil(commits)));
}

std::vector<LoggedCommit> Recorder::Spoil(absl::Span<const storage::Commit> commits) {
  std::vector<LoggedCommit> out = CopyOf(commits);
  for (LoggedCommit& commit : out) {
    std::erase_if(commit.ops, [&](const storage::Op& op) {
      const bool removal = op.family == Family::kInstances && op.kind == storage::Op::Kind::kDelete;
      if (sabotage_ != Sabotage::kLostRemoval || !removal || spoilt_) return false;
      spoilt_ = true;
      return true;
    });
  }
  return out;
}

Server::Server(base::FakeClock& clock, base::Rng& rng, const ServerOptions& options,
               std::shared_ptr<FaultyStore> store, std::vector<LoggedCommit>& log)
    : leases(clock, rng, {}),
      held(catalog, leases, hub, clock),
      applier(catalog, leases, hub),
      recorder(applier, log, options.sabotage),
      engine({.clock = clock, .rng = rng, .threaded = false, .limits = options.limits},
             std::move(store)),
      spy(engine),
      registry(spy, catalog, leases, held, clock, options.registry) {}

}  // namespace muster::simulation
