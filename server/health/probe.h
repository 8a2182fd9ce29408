// What performs a check: a Prober, made once for each check, and a Probe, one run of it.
//
//   std::unique_ptr<Prober> prober = *factory.Make(check, {"10.0.0.7", 8080});
//   probe_ = prober->Start([this](ProbeResult result) { probe_.reset(); Judge(result); });
//
// A run lasts from Start to `done`, at most the check's timeout: resolving the name, connecting,
// the TLS handshake, the request and the answer are all within it. `done` is called once, later
// than Start returns, and a few milliseconds after the timeout at the latest (when the loop isn't
// busy).
//
// Thread safety: none; all members are called, and all callbacks come, on the health loop's thread.
// Ownership: whoever starts a Probe holds it. Destroying it cancels it: its callbacks never come
// afterwards. A callback may destroy its own Probe and the Prober. A Probe may outlive its Prober,
// but not the ProberFactory. Errors: there are none; whatever goes wrong is a failing result.
// Cost: an idle Prober holds no socket and no timer, and a gRPC one that isn't watching one idle
// connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace muster::health {

// Bytes of an output at most.
inline constexpr size_t kMaxOutput = 4096;

struct ProbeResult {
  enum class Outcome : uint8_t {
    kPassing,
    kWarning,
    kFailing,
    // This server couldn't make the probe, for want of descriptors, ports, memory, or threads that
    // resolve names. Says nothing about the target: what is known of it stays.
    kNotRun,
  };
  Outcome outcome = Outcome::kFailing;
  // The target did something: it answered whatever it is, or closed the connection that it had
  // accepted. False: refused, no way to it, not allowed, the name wasn't resolved, or nothing came
  // from it until the timeout (over TLS: the handshake wasn't finished).
  bool reached = false;
  // For people: why. Well-formed UTF-8 of at most kMaxOutput bytes, otherwise as the target sent
  // it: control characters are not escaped.
  std::string output;
};

using ProbeDone = std::function<void(ProbeResult)>;

// A run, or a watch, under way.
class Probe {
 public:
  virtual ~Probe() = default;
};

// How a watch ended.
struct WatchEnd {
  enum class Cause : uint8_t {
    // The target doesn't offer it, or there is no room for a connection that stays: poll it by
    // Start. No verdict; `result` has an output only.
    kUnsupported,
    // `result` counts as that of a run: no status came within the timeout, the target can't be
    // reached, it refused, or it gave no sign of life within a timeout after an interval without.
    kFailed,
    // The stream had given statuses and ended: the target, or a proxy, closed the connection, as it
    // also does when it restarts. `result` doesn't count: watch again, or Start, at once; what
    // comes
    // of that counts.
    kLost,
  };
  Cause cause = Cause::kFailed;
  ProbeResult result;
};

struct WatchCallbacks {
  // Each status that the target gives, the first within the timeout.
  ProbeDone on_status;
  // Once; nothing comes after it.
  std::function<void(WatchEnd)> on_end;
};

class Prober {
 public:
  virtual ~Prober() = default;

  // Begins a run. Any number may be under way.
  [[nodiscard]] virtual std::unique_ptr<Probe> Start(ProbeDone done) = 0;

  // Begins a watch, in place of runs for as long as it lives: the target tells of each change. Null
  // when checks of this kind know no such thing; then no callback comes. A target that neither
  // changes nor dies gives no further status: who wants one must not wait for it.
  [[nodiscard]] virtual std::unique_ptr<Probe> Watch(WatchCallbacks callbacks) {
    static_cast<void>(callbacks);
    return nullptr;
  }
};

}  // namespace muster::health
