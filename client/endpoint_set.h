// The endpoints of one watched service, kept by the events of its subscription.
//
//   EndpointSet set;
//   EndpointSet::Applied applied = set.Apply(event);
//   if (!applied.problem.empty()) … subscribe again without resume …
//
// Thread safety: none. Cost: a change costs its own size; a snapshot is compared with what was
// held, so that only differences are reported.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "muster/client/endpoint.h"
#include "muster/v1/discovery.pb.h"

namespace muster::client {

// As docs/grpc-api.md words it: FNV-1a-64 over node, 0, id, 0, and the revision as 8 bytes,
// little-endian; then mixed.
uint64_t EndpointHash(const Endpoint& endpoint);

using EndpointPtr = std::shared_ptr<const Endpoint>;

class EndpointSet {
 public:
  struct Line {
    // '+' new, '~' changed, '-' gone.
    char sign;
    EndpointPtr endpoint;
  };
  struct Applied {
    std::vector<Line> lines;
    // The set is at a revision: a change or the last part of a snapshot was applied.
    bool complete = false;
    // What is held isn't the server's set any more: the whole one follows.
    bool reset = false;
    // The snapshot is of another store than what was held before.
    bool new_epoch = false;
    // Why the set is empty.
    v1::EmptyReason empty_reason = v1::EMPTY_REASON_UNSPECIFIED;
    // "" = the checksum is right. Otherwise what is wrong: resume() is unset from now on, until
    // the next complete snapshot.
    std::string problem;
  };

  // Snapshots, changes, resets and progress; others change nothing.
  Applied Apply(const v1::WatchResponse& event);

  // A new stream: parts of an unfinished snapshot are forgotten.
  void StreamEnded() { parts_.clear(); }

  // Where to go on from. Unset: nothing held that can be continued.
  std::optional<v1::Resume> resume() const;
  size_t size() const { return endpoints_.size(); }
  uint64_t checksum() const { return checksum_; }
  // By node and id.
  std::vector<EndpointPtr> List() const;

 private:
  using Endpoints = std::map<std::pair<std::string, std::string>, EndpointPtr>;

  Applied ApplySnapshot(const v1::Snapshot& snapshot);
  Applied ApplyChange(const v1::Change& change);
  void Upsert(EndpointPtr endpoint, Applied* applied);
  void Remove(Endpoints::iterator it, Applied* applied);
  void Check(uint64_t expected, Applied* applied);

  Endpoints endpoints_;
  Endpoints parts_;
  uint64_t checksum_ = 0;
  v1::Revision revision_;
  bool resumable_ = false;
};

}  // namespace muster::client
