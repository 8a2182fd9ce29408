// The one door to probers: what a check of an instance asks for becomes a Prober.
//
//   absl::StatusOr<std::unique_ptr<ProberFactory>> factory =
//       ProberFactory::Create(loop, config.health(), {.loopback_ok = true});
//   absl::StatusOr<std::unique_ptr<Prober>> prober =
//       (*factory)->Make(check, {instance.address(), instance.port()});
//
// Thread safety: Create and the destructor on any thread, the latter while the loop's thread
// doesn't run (it is stopped, or this is it); Make on the loop's thread. Ownership: `loop` outlives
// this; this outlives its Probers and Probes. The destructor waits for calls of gRPC that were
// cancelled to end, and leaves a thread behind that hangs in a name's resolution. Cost: eight
// threads that resolve names, from the first name on.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "muster/config/v1/config.pb.h"
#include "muster/v1/types.pb.h"
#include "server/health/probe.h"
#include "server/health/probe_descriptors.h"
#include "server/health/target.h"

namespace boost::asio {
class io_context;
}

namespace muster::health {

struct ProbeEnvironment;
class Resolver;

class ProberFactory {
 public:
  struct Options {
    // Loopback may be probed unless health.allow says otherwise: the gRPC listener is on it.
    bool loopback_ok = false;
    // What resolves host names; null: the system. Tests give their own.
    std::shared_ptr<Resolver> resolver;
    ProbeDescriptors descriptors{};
  };

  // Errors: INVALID_ARGUMENT that names the entry of `config`: health.allow, health.ports,
  // health.ca.
  static absl::StatusOr<std::unique_ptr<ProberFactory>> Create(boost::asio::io_context& loop,
                                                               const config::v1::Health& config,
                                                               Options options);
  ~ProberFactory();

  // For a check that NormaliseChecks has taken. Errors: INVALID_ARGUMENT when the instance has no
  // port and the check needs one, when the check is a ttl (nothing probes that), or when its URL,
  // headers or target can't be put into a request. The message is fit to be shown as the output of
  // the check, which can't pass.
  absl::StatusOr<std::unique_ptr<Prober>> Make(const v1::Check& check,
                                               const InstanceTarget& instance);

 private:
  explicit ProberFactory(std::unique_ptr<ProbeEnvironment> environment);

  const std::unique_ptr<ProbeEnvironment> environment_;
};

}  // namespace muster::health
