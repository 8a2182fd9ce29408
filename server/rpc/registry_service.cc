#include "server/rpc/registry_service.h"

#include <grpcpp/server_context.h>

#include <utility>

#include "server/rpc/access.h"
#include "server/rpc/errors.h"
#include "server/rpc/unary.h"

namespace muster::rpc {
namespace {

// Ends the call with what a write led to. The context and the response live until Finish.
template <typename Response>
auto FinishWith(grpc::ServerUnaryReactor* reactor, Response* response) {
  return [reactor, response](absl::StatusOr<Response> result) {
    if (result.ok()) *response = *std::move(result);
    reactor->Finish(ToGrpc(result.status()));
  };
}

}  // namespace

absl::Status RegistryService::Admit(const grpc::CallbackServerContext& context) const {
  if (absl::Status s = CheckAccess(context, authorizer_, security::Right::kWrite); !s.ok()) {
    return s;
  }
  return state_.CheckServing();
}

core::Caller RegistryService::CallerOf(const grpc::CallbackServerContext& context) const {
  return {PeerIp(context.peer()), options_.loopback_listener, "grpc"};
}

grpc::ServerUnaryReactor* RegistryService::Register(grpc::CallbackServerContext* context,
                                                    const v1::RegisterRequest* request,
                                                    v1::RegisterResponse* response) {
  if (absl::Status s = Admit(*context); !s.ok()) return Finished(context, s);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  registry_.Register(*request, CallerOf(*context), FinishWith(reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* RegistryService::BatchRegister(grpc::CallbackServerContext* context,
                                                         const v1::BatchRegisterRequest* request,
                                                         v1::BatchRegisterResponse* response) {
  if (absl::Status s = Admit(*context); !s.ok()) return Finished(context, s);
  const auto wanted = static_cast<size_t>(request->requests_size());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  registry_.BatchRegister(*request, CallerOf(*context), [reactor, response, wanted](auto results) {
    // A refused batch has one error for the whole.
    if (results.size() != wanted) return reactor->Finish(ToGrpc(results.front().status()));
    for (auto& result : results) {
      v1::BatchRegisterResult* out = response->add_results();
      *out->mutable_status() = ToStatusProto(result.status());
      if (result.ok()) *out->mutable_response() = *std::move(result);
    }
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* RegistryService::Deregister(grpc::CallbackServerContext* context,
                                                      const v1::DeregisterRequest* request,
                                                      v1::DeregisterResponse* response) {
  if (absl::Status s = Admit(*context); !s.ok()) return Finished(context, s);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  registry_.Deregister(*request, FinishWith(reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* RegistryService::Heartbeat(grpc::CallbackServerContext* context,
                                                     const v1::HeartbeatRequest* request,
                                                     v1::HeartbeatResponse* response) {
  // While loading the leases themselves answer: keep, ask later.
  absl::Status status = CheckAccess(*context, authorizer_, security::Right::kWrite);
  if (status.ok() && state_.phase() == Phase::kDraining) status = state_.CheckServing();
  if (!status.ok()) return Finished(context, status);
  auto result = registry_.Heartbeat(*request);
  if (result.ok()) *response = *std::move(result);
  return Finished(context, result.status());
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* RegistryService::KeepAlive(
    grpc::CallbackServerContext* context) {
  return keep_alives_.Open(CheckAccess(*context, authorizer_, security::Right::kWrite));
}

grpc::ServerUnaryReactor* RegistryService::ReportHealth(grpc::CallbackServerContext* context,
                                                        const v1::ReportHealthRequest* request,
                                                        v1::ReportHealthResponse* response) {
  if (absl::Status s = Admit(*context); !s.ok()) return Finished(context, s);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  registry_.ReportHealth(*request, FinishWith(reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* RegistryService::Later(grpc::CallbackServerContext* context,
                                                 std::string_view call) const {
  const absl::Status status = CheckAccess(*context, authorizer_, security::Right::kWrite);
  return Finished(context, status.ok() ? NotInThisRelease(call) : status);
}

}  // namespace muster::rpc
