// What the registry has to hold, kept by the simplest means: maps, and the rules of the documents.
// It learns the order of things and the seqs from the commits, and decides itself whether each of
// them may be.
//
// Lease time: microseconds since the server started, without the gaps in which nobody ticked.
// Thread safety: none. Copies are whole worlds (a backup is one).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/core/registry.h"
#include "tests/simulation/rules.h"
#include "tests/simulation/server.h"

namespace muster::simulation {

using EndpointName = std::pair<std::string, std::string>;  // node, id

struct Deletion {
  EndpointName name;
  uint64_t seq = 0;
  uint64_t at_ms = 0;
};

struct Service {
  std::string ns, name, display;
  uint64_t created_at_ms = 0;
  uint64_t mod_seq = 0;
  uint64_t floor = 0;
  std::map<EndpointName, Instance> instances;
  std::vector<Deletion> deletions;  // that a resuming client is told of, oldest first
};

// What Maintain may do to one service.
struct Upkeep {
  bool forget = false;
  uint64_t floor = 0;                // of a pruning
  std::set<std::string> tombstones;  // keys that it removes
  friend bool operator==(const Upkeep&, const Upkeep&) = default;
};

struct Selected {
  std::map<EndpointName, v1::Endpoint> endpoints;
  uint64_t checksum = 0;
  v1::EmptyReason empty_reason = v1::EMPTY_REASON_UNSPECIFIED;
};

// As docs/grpc-api.md words it: mixed FNV-1a-64, summed over a set.
uint64_t ChecksumOf(const std::map<EndpointName, v1::Endpoint>& endpoints);

class Model {
 public:
  using Services = std::map<std::string, Service>;  // by storage::EncodeServiceKey

  const Services& services() const { return services_; }
  const Service* Find(const std::string& service_key) const;
  const Instance* Find(const storage::InstanceKey& key) const;
  Instance* Find(const storage::InstanceKey& key);
  size_t instance_count() const;
  uint64_t epoch() const { return epoch_; }
  uint64_t seq() const { return seq_; }
  // Where the epoch begins: clients were told of nothing above it before.
  uint64_t base_seq() const { return base_seq_; }

  v1::Endpoint EndpointAt(const Service& service, const EndpointName& name) const;
  Selected Select(const std::string& service_key, int selector) const;

  // Time. `TickAt` after `AdvanceBy`.
  void AdvanceBy(int64_t us) { since_tick_us_ += us; }
  void Tick();
  int64_t LeaseNow() const;
  // The server looked for what fell due.
  void Looked() { looked_us_ = std::max(looked_us_, LeaseNow()); }
  int64_t looked_us() const { return looked_us_; }

  // What Maintain has to propose now, by service key.
  std::map<std::string, Upkeep> UpkeepDue(const core::RegistryOptions& options,
                                          uint64_t now_ms) const;

  // Takes commits in, in order. `asked`: the requests that were under way; `calls`: those of them
  // that explain what became of instances; `upkeep`: what was proposed. `heard`: as of Explain.
  // Returns what is wrong, "" = nothing.
  std::string Take(const std::vector<LoggedCommit>& commits, const std::vector<Call>& asked,
                   const std::vector<Call>& calls, const std::multimap<std::string, Upkeep>& upkeep,
                   bool heard, Room room);

  // A server starts on what is stored. `epoch` differs when the store is another one.
  void Restart(uint64_t epoch, uint64_t base_seq);
  // Restored leases begin.
  void Loaded();

  // Ever given, in any epoch.
  std::set<uint64_t> incarnations;

 private:
  std::string TakeService(const LoggedCommit& commit, const storage::Op& op,
                          const std::vector<Call>& asked,
                          const std::multimap<std::string, Upkeep>& upkeep);
  std::string TakeInstances(const std::map<std::string, std::vector<KeyCommit>>& commits,
                            const std::vector<Call>& calls, bool heard, Room room);

  Services services_;
  uint64_t epoch_ = 0;
  uint64_t seq_ = 0;
  uint64_t base_seq_ = 0;
  uint64_t forgotten_seq_ = 0;
  int64_t ticked_us_ = 0;
  int64_t since_tick_us_ = 0;
  int64_t looked_us_ = 0;
};

}  // namespace muster::simulation
