// An instance of a service that registers itself, and stays registered while the process lives.
//
//   auto registration = client->Register({.service = "api", .address = {"10.0.0.7", 8001}});
//   …
//   registration->get()->Drain(absl::Seconds(10));   // before the process stops taking calls
//
// Registering is asynchronous and never fails for a registry that isn't there: it is tried until it
// succeeds, and again whenever the registry has lost it.
//
// Thread safety: values; Registration: all members.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "muster/client/check.h"
#include "muster/client/endpoint.h"
#include "muster/client/target.h"

namespace muster::client {

struct HealthReport {
  Endpoint::Health health = Endpoint::Health::kPassing;
  std::string output = {};  // for people; the registry cuts it at 4 KiB
};

// A check that the process itself feeds. Critical until the first report, and again when no report
// comes within `ttl`. One that the registry runs is a Check (check.h).
struct TtlCheck {
  std::string id;                          // unique in the instance, 1 to 64 bytes
  absl::Duration ttl = absl::Seconds(30);  // 1 s to 24 h
  // Asked at once and three times in each ttl, on a thread of the registration's own; its answer is
  // reported. Without one, call Registration::Report.
  std::function<HealthReport()> probe = {};
};

// How others find and call this process. The registry's limits: proto/muster/v1/types.proto.
struct Instance {
  std::string service;
  Address address;      // host "": the one that the registry sees the call come from; port 0: none
  std::string ns = {};  // of the registry; "" = default
  std::string node = {};  // machine that runs it
  std::string id = {};    // unique in the service; "" = made by the registry from host and port
  std::vector<std::string> more_hosts = {};
  std::map<std::string, uint16_t> named_ports = {};
  std::vector<std::string> tags = {};
  std::map<std::string, std::string> metadata = {};
  std::string version = {};
  std::string protocol = {};
  std::string region = {};
  std::string zone = {};
  std::string sub_zone = {};
  uint32_t passing_weight = 1;  // share of traffic, 0 to 65,535
  uint32_t warning_weight = 1;
  std::vector<TtlCheck> ttl_checks = {};
  std::vector<Check> checks = {};  // by probes of the registry; the worst of all checks counts
};

struct RegistrationStatus {
  enum class State : uint8_t {
    kPending,     // the registry hasn't taken it yet
    kHeld,        // the registry has it
    kLost,        // the registry had it; now it hasn't, or can't be asked. It is tried again
    kSuperseded,  // another process registered under the same key, and this one has stopped
    kInvalid,     // the registry will never take it as it is, and it isn't tried again
    kEnded,       // deregistered; or left, and `why` says that the registry couldn't be told
  };
  State state = State::kPending;
  absl::Status why;  // of what isn't held; the message is escaped
  // Since the registry last said that it has it; infinite: never.
  absl::Duration unconfirmed = absl::InfiniteDuration();
  std::string id = {};       // as registered; "" before
  uint64_t incarnation = 0;  // of this life of the instance; 0 before it was registered
};

// "pending", "held", "lost", "superseded", "invalid", "ended".
std::string_view ToText(RegistrationStatus::State state);

struct RegisterOptions {
  // After so long without a word from this process the registry takes it for gone: 1 s to 24 h. It
  // hears three in that time.
  absl::Duration ttl = absl::Seconds(30);
  // Each change of state, and of its reason, on a thread of the client's, one at a time.
  std::function<void(const RegistrationStatus&)> on_change = {};
  // Each change of state is a line in the log (log.h).
  bool log = true;
  // Deregisters when it is destroyed; otherwise the registry keeps it until the ttl is over.
  bool deregister = true;
  // Deregisters on SIGTERM, before the process gets to know of the signal (termination in
  // docs/client.md).
  bool deregister_on_sigterm = false;
  // Both of these first drain it (Registration::Drain), for so long at most, unless that has been
  // done; 0: they don't, and neither does one that is destroyed by a callback of the client's.
  absl::Duration drain = absl::Seconds(5);
  // Then they wait so long for the registry.
  absl::Duration leave_within = absl::Seconds(1);
};

// Ends when it is destroyed: no callback begins afterwards, and one that runs on another thread has
// ended.
class Registration {
 public:
  struct Drained {
    // Subscriptions that had been sent the instance and could confirm that they call it no more,
    // and those that did. 0 of 0 by a registry that knows no Drain: the instance is deregistered
    // then, and the call has waited for a second, or `within`.
    uint64_t eligible = 0;
    uint64_t acked = 0;
  };

  virtual ~Registration() = default;
  virtual RegistrationStatus status() const = 0;
  // OK: it is held now. DEADLINE_EXCEEDED: not `within`, with why; otherwise why it never will be.
  virtual absl::Status WaitUntilHeld(absl::Duration within) = 0;
  // The health that a ttl check has now; sent as soon as the registry can be reached. Errors:
  // NOT_FOUND when it has no such check.
  virtual absl::Status Report(std::string_view check_id, HealthReport report) = 0;
  // Takes it out of all answers for good, and waits until those who would call it know, at most
  // `within` and ten minutes. The lease is kept, and calls that were begun before may still come.
  // Errors: FAILED_PRECONDITION when it isn't held; DEADLINE_EXCEEDED when no answer comes within
  // half a second more; otherwise the registry's.
  virtual absl::StatusOr<Drained> Drain(absl::Duration within) = 0;
  // For good. OK also when the registry has it no longer. DEADLINE_EXCEEDED: the registry couldn't
  // be told, and keeps it until the ttl is over.
  virtual absl::Status Deregister(absl::Duration within) = 0;
};

}  // namespace muster::client
