// Keeps the registrations of one client: over one session with one of several servers, and over
// another one when that is lost.
//
// A server that doesn't answer a heartbeat or a call within `answer` is given up for the next one
// (failover.h). Heartbeats that are due together go in one message. Without a registration there is
// no session.
//
// Thread safety: none: on the scheduler's thread, callbacks included. A callback mustn't call it.
// Errors: none; states say why something isn't held.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/rng.h"
#include "client/failover.h"
#include "client/lease/lease_keeper.h"
#include "client/lease/lease_transport.h"
#include "client/scheduler.h"
#include "muster/client/registration.h"

namespace muster::client {

class Registrar {
 public:
  using Id = uint64_t;
  // The server refuses a longer one.
  static constexpr absl::Duration kLongestDrain = absl::Minutes(10);
  struct Options {
    Failover::Options failover;
    LeaseKeeper::Options lease;
    // Of a heartbeat not longer than its interval.
    absl::Duration answer = absl::Seconds(5);
    // A session that lived for so long was a good one: the next loss is the first.
    absl::Duration good = absl::Seconds(5);
  };
  struct State {
    RegistrationStatus::State state = RegistrationStatus::State::kPending;
    absl::Status why;
    std::optional<base::SteadyTime> confirmed;
    v1::InstanceKey key;
    uint64_t incarnation = 0;
  };
  // Called with each change of state, or of its reason, and with each confirmation.
  using Told = std::function<void(const State&)>;

  // REQUIRES: all outlive it.
  Registrar(Scheduler& scheduler, LeaseTransport& transport, base::Rng& rng, Options options);
  ~Registrar();

  // `request`: with a life, and without a precondition.
  Id Add(v1::RegisterRequest request, Told told);
  // The latest report of each check is sent when it is held, and again when it was lost meanwhile,
  // unless it is older than `ttl`. For what has ended: nothing.
  void Report(Id id, const std::string& check_id, HealthReport report, absl::Duration ttl);
  // kLongestDrain at most, whatever `within`. Once it was OK it drains to the end: when the
  // registry has lost it and takes it anew, it is told again.
  void Drain(Id id, absl::Duration within, LeaseSession::Done<v1::DrainResponse> done);
  // Deregisters it; from now on it is not renewed. `done` as Registration::Deregister says. What
  // the registry couldn't be told may be tried again.
  void Leave(Id id, absl::Duration within, std::function<void(const absl::Status&)> done);

  // Nobody asks for it any more. REQUIRES: Leave was called.
  void Forget(Id id);

  size_t size() const { return leases_.size(); }

 private:
  struct Alive {};  // of one session: callbacks that come late know by it that they are
  struct Reported {
    HealthReport report;
    base::SteadyTime until{};
    bool sent = false;
    bool under_way = false;  // this one or an older one
  };
  struct Leaving {
    base::SteadyTime until{};
    std::vector<std::function<void(const absl::Status&)>> done;
    absl::Status why = absl::UnavailableError("it could not be told");
    bool under_way = false;
    int failures = 0;
    base::SteadyTime at{};  // of the next try
  };
  struct Lease {
    Lease(LeaseKeeper the_keeper, v1::RegisterRequest the_request, Told the_told)
        : keeper(std::move(the_keeper)),
          request(std::move(the_request)),
          told(std::move(the_told)) {}
    LeaseKeeper keeper;
    const v1::RegisterRequest request;
    const Told told;
    bool registering = false;
    bool may_exist = false;  // a registration was sent, and what became of it isn't known
    bool abandoned = false;  // it was left, and the registry couldn't be told
    std::optional<v1::RegisterResponse> registered;
    absl::Duration interval;
    State last;  // that was told
    std::map<std::string, Reported> reports;
    bool drains = false;         // for good
    uint64_t drain_told_of = 0;  // the incarnation that the registry was told of
    std::optional<Leaving> leaving;
    std::optional<base::SteadyTime> due;  // as it stands in due_
  };
  struct Beats {
    std::vector<Id> ids;
    base::SteadyTime until{};  // an answer is expected
  };

  void Open();
  void Close();
  // True: nobody is registered or leaves.
  bool CloseIfUnneeded();
  void EndDrains(const absl::Status& why);
  void Fail(absl::Status status);
  void Answered();
  // Does what is due, and sees to it that it is called when something is again.
  void Pump();
  void Step(Id id, Lease& lease, base::SteadyTime now, std::vector<Id>* beats);
  void SendBeats(const std::vector<Id>& ids, base::SteadyTime now);
  void SendRegister(Id id, Lease& lease);
  void SendReports(Id id, Lease& lease);
  void SendDrain(Id id, Lease& lease, absl::Duration within,
                 LeaseSession::Done<v1::DrainResponse> done);
  // Of one that drains, if the registry wasn't told. Nobody waits for it.
  void DrainAgain(Id id, Lease& lease);
  void OnDrained(Id id, uint64_t incarnation, const absl::Status& status);
  void SendDeregister(Id id, Lease& lease, base::SteadyTime now);
  void OnBeat(const v1::HeartbeatResponse& response);
  void OnRegistered(Id id, absl::StatusOr<v1::RegisterResponse> response);
  void OnReported(Id id, const std::string& check_id, const absl::Status& status);
  void OnDeregistered(Id id, const absl::Status& status);
  void EndLeaving(Id id, const absl::Status& status);
  void Reschedule(Id id, Lease& lease);
  void Tell(Lease& lease);
  // The session is over: the server can't be heard, or can't serve, and there is another.
  bool IsLoss(const absl::Status& status) const;
  bool IsNeeded() const;
  std::string Named(const absl::Status& status) const;
  // Wraps what is done with an answer so that it runs on the scheduler, unless the session is
  // another one by then.
  template <typename Argument>
  std::function<void(Argument)> Posted(std::function<void(Argument)> handle);

  Scheduler& scheduler_;
  LeaseTransport& transport_;
  base::Rng& rng_;
  const Options options_;
  Failover failover_;
  std::map<Id, Lease> leases_;
  std::set<std::pair<base::SteadyTime, Id>> due_;
  Id last_id_ = 0;
  std::unique_ptr<LeaseSession> session_;
  std::shared_ptr<Alive> alive_;
  base::SteadyTime opened_{};
  bool answered_ = false;
  std::deque<Beats> beats_;  // that aren't answered yet, oldest first
  std::vector<std::shared_ptr<LeaseSession::Done<v1::DrainResponse>>> drains_;  // under way
  Scheduler::Timer pause_ = 0;  // until the next session
  Scheduler::Timer timer_ = 0;  // of Pump
};

}  // namespace muster::client
