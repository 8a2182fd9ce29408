// MaintenanceSet: what operators took out of the answers, instances and whole nodes, as the store's
// family `nodes` has it; and the instances whose own record says otherwise for the moment.
//
// An instance's state stands in its own record, so that a view needs nothing else. It is written
// after its node's, one instance at a time: a registration that was on its way, or the end of the
// process, may come in between. What is left behind so is noticed here when it is applied or
// replayed (a stray), and the Registry writes it anew.
//
// Thread safety: all members; those marked [strand] from the strand only.
// Cost: one atomic load while nothing is in maintenance; else a look-up or two. A record takes its
// key and about 40 bytes.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "base/mutex.h"
#include "muster/v1/types.pb.h"
#include "storage/schema.h"

namespace muster::core {

// What a record of `nodes` says of maintenance.
struct MaintenanceMark {
  bool on = false;
  std::string reason;
  uint64_t since_ms = 0;  // since 1970
};

// Of a node's key or an instance's; nullopt for what can't be read.
std::optional<MaintenanceMark> ReadMark(std::string_view key, std::string_view value);

// The state of an instance: maintenance is the operator's word, and draining comes back after it.
v1::State StateOf(bool in_maintenance, bool draining);

class MaintenanceSet {
 public:
  bool empty() const { return size() == 0; }
  uint64_t size() const { return size_.load(std::memory_order_acquire); }
  // By its own record or its node's.
  bool Covers(std::string_view ns, std::string_view service, std::string_view node,
              std::string_view id) const;
  // The same by storage::EncodeInstanceKey.
  bool Covers(std::string_view instance_key) const;
  bool CoversNode(std::string_view ns, std::string_view node) const;
  // A record of `nodes` says so. By its key.
  bool Has(std::string_view node_key) const;
  std::vector<std::string> Keys() const;

  // [strand] A record of `nodes`.
  void Put(std::string_view node_key, std::string_view value);
  void Erase(std::string_view node_key);
  // [strand] A record of an instance. REQUIRES: what the store had before it of `nodes` was put.
  void Judge(std::string_view instance_key, v1::State state);

  // The instance is to be written anew.
  void AddStray(std::string_view instance_key);
  bool has_strays() const { return strays_left_.load(std::memory_order_acquire) > 0; }
  // At most `max`; each is to be followed by an Ended.
  std::vector<std::string> TakeStrays(size_t max);

  // Somebody begins to write states anew, or ended with so many.
  void Began() { begun_.fetch_add(1); }
  void Ended(uint64_t count = 1) { ended_.fetch_add(count); }
  // While the two differ, states may contradict the set.
  uint64_t begun() const { return begun_.load(); }
  uint64_t ended() const { return ended_.load(); }

 private:
  mutable base::Mutex mu_;
  absl::flat_hash_set<std::string> keys_ MUSTER_GUARDED_BY(mu_);
  absl::flat_hash_set<std::string> strays_ MUSTER_GUARDED_BY(mu_);
  std::atomic<uint64_t> size_{0};
  std::atomic<uint64_t> strays_left_{0};
  std::atomic<uint64_t> begun_{0};  // strays count
  std::atomic<uint64_t> ended_{0};
};

}  // namespace muster::core
