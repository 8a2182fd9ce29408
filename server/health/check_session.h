// CheckSession: one check of one instance while it is followed: when it runs, what its results come
// to, what of that the store has to hear.
//
// Probed checks (http, tcp, grpc): a fresh one runs within a second, and its second run is drawn
// from the interval after that; one that was stored begins at a point drawn from its first
// interval. From there on it runs from start to start of its interval, up to a twentieth early, so
// that however they began, runs end up evenly spread. A grpc check is watched where the target
// offers that, and then it has no runs. A ttl check is CRITICAL once no report came for its ttl.
//
// When this server was stopped or starved for over a second, reports and answers may lie unread:
// the gap doesn't count for a ttl, and a run that spanned it and failed is made again.
//
// A check whose run took a second, or its whole timeout, is a slow one for eight more runs: such
// ones have places of their own, and others don't wait for them. So is one with a timeout of over
// ten seconds.
//
// Thread safety: none: the health loop's thread. Ownership: host and prober factory outlive it;
// destroying it cancels what is under way. Its proposals may be answered after its end: by id.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/rng.h"
#include "muster/storage/v1/storage.pb.h"
#include "muster/v1/types.pb.h"
#include "server/core/check_change.h"
#include "server/health/health_state.h"
#include "server/health/probe.h"
#include "server/health/probe_slots.h"

namespace muster::health {

// What a session needs of the scheduler.
class SessionHost {
 public:
  virtual ~SessionHost() = default;
  virtual base::SteadyTime Now() const = 0;
  // Now, less all gaps.
  virtual base::SteadyTime ActiveNow() const = 0;
  // The end of the last gap; runs that began before it spanned it.
  virtual base::SteadyTime last_gap() const = 0;
  virtual base::Rng& rng() = 0;
  // When a time has passed in which the loop did not run. Before results are judged.
  virtual void NoticeGap() = 0;
  // Calls session.Wake() at that time, or sooner.
  virtual void WakeAt(uint64_t session, base::SteadyTime at) = 0;
  // Calls session.Run() once there is a place, which it has until LeaveSlot.
  virtual void AskSlot(uint64_t session, const std::string& host, ProbeSlots::Lane lane) = 0;
  virtual void LeaveSlot(uint64_t session) = 0;
  // session.Proposed() is called later with what became of it, if it still lives.
  virtual void Propose(uint64_t session, core::CheckOutcome outcome) = 0;
  // The target is unreachable from now on, or isn't any more.
  virtual void CountUnreachable(const std::string& zone, int change) = 0;
  // So many targets are unreachable at once that rather this server is cut off.
  virtual bool MayBeCutOff(const std::string& zone) const = 0;
  // Says so, once a minute for each zone.
  virtual void TellHeld(const std::string& zone) = 0;
  virtual void Deregister(const std::string& instance_key, uint64_t incarnation,
                          const std::string& why) = 0;
};

// What of an instance its checks depend on.
struct Followed {
  std::string key;  // storage::EncodeInstanceKey
  uint64_t incarnation = 0;
  uint64_t definition_seq = 0;
  std::string address;
  uint32_t port = 0;
  std::string zone;
};

// What a check is aimed at.
struct Aim {
  std::string target;  // host:port
  std::string host;    // whose places it takes
};

class CheckSession {
 public:
  // `result`: what the store has of it, null when nothing. `prober`: null for a ttl check, and for
  // one that can't be probed, of which `problem` says why.
  CheckSession(uint64_t id, const Followed& instance, const v1::Check& check, Aim aim,
               const storage::v1::CheckRecord* result, std::unique_ptr<Prober> prober,
               std::string problem, SessionHost& host);
  ~CheckSession();
  CheckSession(const CheckSession&) = delete;
  CheckSession& operator=(const CheckSession&) = delete;

  // Once. `fresh`: the instance was registered just now.
  void Begin(bool fresh);
  // The same check of the same target in the same zone, under another definition or in another
  // life.
  void Continue(const Followed& instance);
  // Its time has come.
  void Wake();
  // It has a place.
  void Run();
  // The process reported.
  void Reported();
  void Proposed(const absl::Status& status);

  uint64_t id() const { return id_; }
  const std::string& check_id() const { return check_.id(); }
  bool is_ttl() const { return check_.has_ttl(); }
  // It stands for this check of that target, whatever the instance's other parts.
  bool Is(const v1::Check& check, std::string_view target) const;

 private:
  struct Output {
    v1::Health status;
    std::string text;
  };
  base::SteadyTime Drawn(absl::Duration from) const;
  void WakeNext();
  void OnResult(ProbeResult result);
  void OnWatchStatus(ProbeResult result);
  void OnWatchEnd(WatchEnd end);
  ProbeSlots::Lane lane() const;
  void LeavePlace();
  void EndRun();
  void RunAt(base::SteadyTime at);
  void SetReached(bool reached);
  void Conclude(v1::Health status, std::string output);
  void ProposeIfDue();
  void MayDeregister();

  const uint64_t id_;
  Followed instance_;
  const v1::Check check_;
  const std::string encoded_;
  const Aim aim_;
  const absl::Duration interval_;
  const absl::Duration failing_interval_;
  const absl::Duration timeout_;
  SessionHost& host_;
  const std::unique_ptr<Prober> prober_;
  const std::string problem_;
  HealthState state_;
  bool fresh_ = false;    // its second run isn't drawn yet
  bool running_ = false;  // it waits for a place or has one
  bool has_place_ = false;
  bool is_known_ = false;  // how long its runs take: it has had one, or passed before a restart
  int slow_for_ = 0;       // so many runs in time until it is no longer taken for a slow one
  bool watching_ = false;  // a watch has given a status
  bool polls_ = false;     // the target offers no watch
  base::SteadyTime started_{};
  base::SteadyTime next_run_{};  // or when the one under way was due
  base::SteadyTime ttl_ends_{};  // active time
  bool ttl_is_over_ = false;
  bool has_next_run_ = false;
  base::SteadyTime unreachable_since_{};  // active time; 0 us: it isn't
  Output found_{v1::HEALTH_UNSPECIFIED, ""};
  Output stored_{v1::HEALTH_UNSPECIFIED, ""};
  base::SteadyTime stored_at_{};
  bool proposing_ = false;
  Output proposed_{v1::HEALTH_UNSPECIFIED, ""};
  uint64_t proposed_definition_ = 0;
  bool retry_ = false;      // a proposal was refused
  bool held_back_ = false;  // a new output waits for its minute
  std::unique_ptr<Probe> probe_;
};

}  // namespace muster::health
