// muster.v1.Registry over gRPC. Handlers take bytes: what is often called costs less so, and in
// KeepAlive what is no request is told from the end of the stream. The calls of later releases take
// messages.
//
// Thread safety: gRPC's threads call the handlers; answers to writes come from the engine's
// completion thread. Ownership: all references outlive the service, and the engine is closed (its
// completions have run) before the service goes.
#pragma once

#include <cstdint>
#include <string_view>

#include "muster/v1/registry.grpc.pb.h"
#include "server/core/registry.h"
#include "server/rpc/call_count.h"
#include "server/rpc/keep_alive.h"
#include "server/rpc/server_state.h"
#include "server/security/authorizer.h"

namespace muster::rpc {

// The calls of later releases.
using LaterRegistryHandlers =
    v1::Registry::WithCallbackMethod_Drain<v1::Registry::WithCallbackMethod_SetMaintenance<
        v1::Registry::WithCallbackMethod_SetServiceSettings<
            v1::Registry::WithCallbackMethod_AddCheck<
                v1::Registry::WithCallbackMethod_RemoveCheck<v1::Registry::Service>>>>>;
using RegistryHandlers =
    v1::Registry::WithRawCallbackMethod_Register<v1::Registry::WithRawCallbackMethod_BatchRegister<
        v1::Registry::WithRawCallbackMethod_Deregister<
            v1::Registry::WithRawCallbackMethod_Heartbeat<
                v1::Registry::WithRawCallbackMethod_KeepAlive<
                    v1::Registry::WithRawCallbackMethod_ReportHealth<LaterRegistryHandlers>>>>>>;

class RegistryService : public RegistryHandlers {
 public:
  struct Options {
    // The listener is on loopback: instances may be there too.
    bool loopback_listener = true;
  };
  // `calls` counts the calls under way.
  RegistryService(core::Registry& registry, const security::Authorizer& authorizer,
                  const ServerState& state, CallCount& calls, Options options)
      : registry_(registry),
        authorizer_(authorizer),
        state_(state),
        calls_(calls),
        options_(options),
        keep_alives_(registry) {}

  // Ends KeepAlive streams, and all later ones, with UNAVAILABLE (DRAINING).
  void EndStreams() { keep_alives_.EndAll(); }
  // Every second or so: ends streams whose tokens no longer suffice.
  void Tick() { keep_alives_.Tick(); }
  uint64_t keep_alive_streams() const { return keep_alives_.streams(); }

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* BatchRegister(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Deregister(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* KeepAlive(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ReportHealth(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;

  // Not in this release: UNIMPLEMENTED.
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context, const v1::DrainRequest*,
                                  v1::DrainResponse*) override {
    return Later(context, "Drain");
  }
  grpc::ServerUnaryReactor* SetMaintenance(grpc::CallbackServerContext* context,
                                           const v1::SetMaintenanceRequest*,
                                           v1::SetMaintenanceResponse*) override {
    return Later(context, "SetMaintenance");
  }
  grpc::ServerUnaryReactor* SetServiceSettings(grpc::CallbackServerContext* context,
                                               const v1::SetServiceSettingsRequest*,
                                               v1::SetServiceSettingsResponse*) override {
    return Later(context, "SetServiceSettings");
  }
  grpc::ServerUnaryReactor* AddCheck(grpc::CallbackServerContext* context,
                                     const v1::AddCheckRequest*, v1::AddCheckResponse*) override {
    return Later(context, "AddCheck");
  }
  grpc::ServerUnaryReactor* RemoveCheck(grpc::CallbackServerContext* context,
                                        const v1::RemoveCheckRequest*,
                                        v1::RemoveCheckResponse*) override {
    return Later(context, "RemoveCheck");
  }

 private:
  // May this call write now?
  absl::Status Admit(const grpc::CallbackServerContext& context) const;
  // The same, and reads its request.
  template <typename Request>
  absl::Status Begin(const grpc::CallbackServerContext& context, const grpc::ByteBuffer& bytes,
                     Request& request) const;
  grpc::ServerUnaryReactor* Later(grpc::CallbackServerContext* context,
                                  std::string_view call) const;
  // The caller's address is looked up only where it stands in for an instance's.
  core::Caller CallerOf(const grpc::CallbackServerContext& context, bool address_given) const;

  core::Registry& registry_;
  const security::Authorizer& authorizer_;
  const ServerState& state_;
  CallCount& calls_;
  const Options options_;
  KeepAliveStreams keep_alives_;
};

}  // namespace muster::rpc
