// An engine around another one that remembers what was proposed and what became of it.
//
// Thread safety: as Engine. Ownership: the inner engine outlives it.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "storage/engine.h"

namespace muster::test {

class ProposalLog : public storage::Engine {
 public:
  explicit ProposalLog(storage::Engine& inner) : inner_(inner) {}

  absl::Status Open(std::vector<storage::CommitSink*> sinks) override {
    return inner_.Open(std::move(sinks));
  }
  void Propose(storage::Batch batch, storage::WriteClass write_class, storage::Done done) override {
    // One at a time, so that the order is that of the engine's queue.
    base::MutexLock order(order_mu_);
    auto units = std::make_shared<std::vector<storage::Unit>>(batch.units);
    const uint64_t number = next_++;
    inner_.Propose(std::move(batch), write_class,
                   [this, number, units, done = std::move(done)](auto results) {
                     Settle(number, *units, results);
                     done(std::move(results));
                   });
  }
  absl::StatusOr<std::string> Get(storage::Family family, std::string_view key) const override {
    return inner_.Get(family, key);
  }
  absl::StatusOr<std::unique_ptr<storage::Snapshot>> GetSnapshot() const override {
    return inner_.GetSnapshot();
  }
  storage::Revision revision() const override { return inner_.revision(); }
  size_t max_unit_ops() const override { return inner_.max_unit_ops(); }
  size_t max_unit_bytes() const override { return inner_.max_unit_bytes(); }
  storage::EngineStats Stats() const override { return inner_.Stats(); }
  void Close() override { inner_.Close(); }

  // The latest seq that somebody was told to be durable; 0 = none.
  uint64_t acknowledged_seq() const {
    base::MutexLock lock(mu_);
    return acknowledged_seq_;
  }
  uint64_t acknowledged() const {
    base::MutexLock lock(mu_);
    return acknowledged_;
  }
  // Those that may be durable or not, in the order of proposal. After Close.
  std::vector<storage::Unit> unknown() const {
    base::MutexLock lock(mu_);
    auto sorted = unknown_;
    std::sort(sorted.begin(), sorted.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<storage::Unit> units;
    for (auto& [place, unit] : sorted) units.push_back(std::move(unit));
    return units;
  }

 private:
  using Place = std::pair<uint64_t, size_t>;

  void Settle(uint64_t number, const std::vector<storage::Unit>& units,
              const std::vector<storage::UnitResult>& results) {
    using Verdict = storage::UnitResult::Verdict;
    base::MutexLock lock(mu_);
    for (size_t i = 0; i < units.size(); ++i) {
      if (units[i].ops.empty()) continue;
      if (results[i].verdict == Verdict::kCommitted) {
        acknowledged_seq_ = std::max(acknowledged_seq_, results[i].seq);
        ++acknowledged_;
      } else if (results[i].verdict == Verdict::kUnknown) {
        unknown_.emplace_back(Place(number, i), units[i]);
      }
    }
  }

  storage::Engine& inner_;
  base::Mutex order_mu_;  // before mu_
  uint64_t next_ MUSTER_GUARDED_BY(order_mu_) = 0;
  mutable base::Mutex mu_;
  uint64_t acknowledged_seq_ MUSTER_GUARDED_BY(mu_) = 0;
  uint64_t acknowledged_ MUSTER_GUARDED_BY(mu_) = 0;
  std::vector<std::pair<Place, storage::Unit>> unknown_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::test
