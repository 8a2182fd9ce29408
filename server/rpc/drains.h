// Drains: drains that wait until those who watch the service confirm that they know. Who counts:
// subscriptions that may hold a state of the service from before the drain and whose selector
// matches what the instance declares, whatever its health. Those that end count no longer; one
// that resumes from before the drain counts from then on.
//
//   drains.Expect(key);              // a drain is about to be written: changes ask for an Ack
//   …committed…
//   drains.Expected(key);
//   drains.Begin(std::move(drain), service.subscriptions, &asked);
//   … every subscription in `asked` is told, if only by a change without content …
//
// Thread safety: none; everything here belongs to the pump's thread. Cost: nothing of it is kept
// for a subscription, and for a drain its counts; an Ack looks at the drains of its service, the
// beginning of one at the subscriptions of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "muster/v1/registry.pb.h"
#include "server/core/selector.h"
#include "storage/engine.h"

namespace muster::rpc {

struct Subscription;

struct DrainTerms {
  absl::Duration deadline;
  double min_acked = 1;
};

// Errors: INVALID_ARGUMENT that names the field.
absl::StatusOr<DrainTerms> ReadTerms(const v1::DrainRequest& request);

struct Drain {
  using Done = std::function<void(absl::StatusOr<v1::DrainResponse>)>;

  std::string service_key;     // storage::EncodeServiceKey
  uint64_t seq = 0;            // what was applied up to here or further knows
  storage::Revision revision;  // for the answer
  std::string endpoint;        // what the instance declares: an encoded v1::Endpoint
  DrainTerms terms;
  Done done;  // once
};

class Drains {
 public:
  using Id = uint64_t;  // counted from 1

  Drains();
  ~Drains();

  void Expect(const std::string& service_key) { ++expected_[service_key]; }
  void Expected(const std::string& service_key);
  bool expects(const std::string& service_key) const {
    return !expected_.empty() && expected_.contains(service_key);
  }

  // `subscriptions`: of its service. `asked`, empty before: those that have to be told, and asked
  // to confirm it. 0: it is done already.
  Id Begin(Drain drain, const std::vector<Subscription*>& subscriptions, base::SteadyTime now,
           std::vector<Subscription*>* asked);
  // A subscription begins where it was left. True: it has to be asked.
  bool Resumed(const Subscription& subscription);
  // It has confirmed more than `before`.
  void Acked(const Subscription& subscription, uint64_t before);
  // It ends. Before its service forgets it.
  void Ended(const Subscription& subscription);
  // Nobody waits for its answer any more.
  void End(Id id, const absl::Status& status);
  // All, and those that come later.
  void EndAll(const absl::Status& status);
  // Ends those whose time is over.
  void Tick(base::SteadyTime now);

  bool waits(Id id) const { return by_id_.contains(id); }
  size_t waiting() const { return by_id_.size(); }

 private:
  struct Waiting;

  // Counts one more or one less.
  template <typename Change>
  void ForEachThatCounts(const Subscription& subscription, const Change& change);
  void FinishIfDone(const std::vector<Id>& ids);
  void Finish(Waiting& waiting, const absl::Status& status);

  base::SteadyTime now_{};  // of the last Begin or Tick
  Id last_id_ = 0;
  absl::flat_hash_map<Id, std::unique_ptr<Waiting>> by_id_;
  absl::flat_hash_map<std::string, std::vector<Waiting*>> by_service_;
  absl::flat_hash_map<std::string, int> expected_;
  absl::Status ended_;
};

}  // namespace muster::rpc
