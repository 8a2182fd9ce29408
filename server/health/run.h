// One run of a check, whatever kind it is: the timeout, the addresses, the result.
//
// The addresses that may be connected to are tried in order. Each but the last gets its share of
// the timeout at most, so that one that swallows packets doesn't use up the time of the next.
//
// A Run keeps itself alive through the handlers that it waits for; what it waits for ends when it
// is over. Thread safety: the health loop's thread. Ownership: the environment outlives it, but for
// the handlers that the loop drops when it is destroyed itself.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "server/health/probe.h"
#include "server/health/probe_environment.h"
#include "server/health/target.h"

namespace muster::health {

class Run : public std::enable_shared_from_this<Run> {
 public:
  virtual ~Run() = default;

  // Starts the run's time. Nothing else happens within the call.
  void Begin();
  // The result is not wanted any more.
  void Cancel();

 protected:
  // `target` lives as long as this.
  Run(ProbeEnvironment& environment, const Target& target, absl::Duration timeout, ProbeDone done);

  // Begins to try this address.
  virtual void Try(const boost::asio::ip::tcp::endpoint& endpoint) = 0;
  // Gives the present attempt up; whoever made it learns of its failure then, and calls TryNext.
  virtual void AbandonTry() = 0;
  // Default: a failing result that says what was waited for.
  virtual void OnTimeout();
  // Gives up what is under way: its handlers come as soon as they can.
  virtual void Release() = 0;

  bool over() const { return done_ == nullptr; }
  // The last thing that a run does.
  void Finish(ProbeResult result);
  // For the message of a timeout: "timed out after 2s <doing> <whom>".
  void NowDoing(std::string_view doing, std::string whom);
  void NowDoing(std::string_view doing) { doing_ = doing; }
  std::string TimeoutMessage() const;
  // The attempt has failed without reaching the target: tries the next address. False: there is
  // none.
  bool TryNext();
  // It has worked: all the time that is left is for this address.
  void KeepToThis();
  // "10.0.0.7:8080": the address that is or was tried.
  const std::string& peer() const { return peer_; }
  // A new end of the run's time: `duration` from now. Shorten: if that is before the present one.
  void Extend(absl::Duration duration);
  void Shorten(absl::Duration duration);

  // The target has done something; `reached` of a timeout.
  bool answered_ = false;
  ProbeEnvironment& environment_;
  const Target& target_;
  const absl::Duration timeout_;

 private:
  void Wait();
  void Find();
  void OnAddresses(const Resolver::Addresses& addresses);
  void StartShare();

  ProbeDone done_;
  boost::asio::steady_timer timer_;
  std::string_view doing_;
  std::string whom_;
  Resolver::Begun resolving_;
  Endpoints endpoints_;
  size_t next_ = 0;
  std::string peer_;
  // Of an address that isn't the last.
  std::optional<boost::asio::steady_timer> share_;
};

// The Probe of a run that has begun: destroying it cancels the run.
std::unique_ptr<Probe> BeginRun(std::shared_ptr<Run> run);

}  // namespace muster::health
