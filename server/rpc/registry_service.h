// muster.v1.Registry over gRPC. Handlers take bytes: what is often called costs less so, and what
// is no request is answered with more than UNIMPLEMENTED.
//
// Thread safety: the threads of Calls call the handlers; answers to writes come from the engine's
// completion thread. Ownership: all references outlive the service, and the engine is closed (its
// completions have run) before the service goes.
#pragma once

#include <string_view>

#include "muster/v1/registry.grpc.pb.h"
#include "server/core/registry.h"
#include "server/rpc/calls.h"
#include "server/rpc/drain_calls.h"
#include "server/rpc/keep_alive.h"
#include "server/rpc/server_state.h"
#include "server/security/authorizer.h"

namespace muster::rpc {

// All as bytes.
using RegistryMethods =
    v1::Registry::WithRawMethod_Register<v1::Registry::WithRawMethod_BatchRegister<
        v1::Registry::WithRawMethod_Deregister<v1::Registry::WithRawMethod_Heartbeat<
            v1::Registry::WithRawMethod_KeepAlive<v1::Registry::WithRawMethod_ReportHealth<
                v1::Registry::WithRawMethod_Drain<v1::Registry::WithRawMethod_SetMaintenance<
                    v1::Registry::WithRawMethod_SetServiceSettings<
                        v1::Registry::WithRawMethod_AddCheck<
                            v1::Registry::WithRawMethod_RemoveCheck<
                                v1::Registry::Service>>>>>>>>>>>;

class RegistryService : public RegistryMethods {
 public:
  struct Options {
    // The listener is on loopback: instances may be there too.
    bool loopback_listener = true;
  };
  RegistryService(core::Registry& registry, const security::Authorizer& authorizer,
                  const ServerState& state, Options options)
      : registry_(registry),
        authorizer_(authorizer),
        state_(state),
        options_(options),
        keep_alives_(registry) {}

  // Where those are who are waited for; it outlives the calls. Without it nobody is.
  void SetDrains(DrainCalls* drains) { drains_ = drains; }
  // Adds all methods.
  void ServeOn(Calls& calls);

  // Ends KeepAlive streams, and all later ones, with UNAVAILABLE (DRAINING).
  void EndStreams() { keep_alives_.EndAll(); }
  // Every second or so: ends streams whose tokens no longer suffice.
  void Tick() { keep_alives_.Tick(); }

 private:
  void OnRegister(const UnaryCall& call);
  void OnBatchRegister(const UnaryCall& call);
  void OnDeregister(const UnaryCall& call);
  void OnHeartbeat(const UnaryCall& call);
  void OnKeepAlive(StreamCall& call);
  void OnReportHealth(const UnaryCall& call);
  void OnAddCheck(const UnaryCall& call);
  void OnRemoveCheck(const UnaryCall& call);
  void OnDrain(const UnaryCall& call);
  void OnSetMaintenance(const UnaryCall& call);
  void OnSetServiceSettings(const UnaryCall& call);
  // Not in this release: UNIMPLEMENTED.
  void Later(const UnaryCall& call, std::string_view name) const;

  // May this call write now?
  absl::Status Admit(const UnaryCall& call) const;
  // The same, and reads its request.
  template <typename Request>
  absl::Status Begin(const UnaryCall& call, Request& request) const;
  // The caller's address is looked up only where it stands in for an instance's.
  core::Caller CallerOf(const UnaryCall& call, bool address_given) const;

  core::Registry& registry_;
  const security::Authorizer& authorizer_;
  const ServerState& state_;
  const Options options_;
  DrainCalls* drains_ = nullptr;
  KeepAliveStreams keep_alives_;
};

}  // namespace muster::rpc
