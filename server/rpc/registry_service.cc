#include "server/rpc/registry_service.h"

#include <google/protobuf/arena.h>
#include <grpcpp/server_context.h>

#include <algorithm>
#include <utility>

#include "server/rpc/access.h"
#include "server/rpc/errors.h"
#include "server/rpc/unary.h"

namespace muster::rpc {
namespace {

// Most registrations are parsed without asking the heap for messages.
constexpr size_t kArenaBlock = 4096;

}  // namespace

absl::Status RegistryService::Admit(const grpc::CallbackServerContext& context) const {
  if (absl::Status s = CheckAccess(context, authorizer_, security::Right::kWrite); !s.ok()) {
    return s;
  }
  return state_.CheckServing();
}

core::Caller RegistryService::CallerOf(const grpc::CallbackServerContext& context,
                                       bool address_given) const {
  return {address_given ? "" : PeerIp(context.peer()), options_.loopback_listener, "grpc"};
}

template <typename Request>
absl::Status RegistryService::Begin(const grpc::CallbackServerContext& context,
                                    const grpc::ByteBuffer& bytes, Request& request) const {
  if (absl::Status s = Admit(context); !s.ok()) return s;
  return ReadRequest(bytes, request);
}

grpc::ServerUnaryReactor* RegistryService::Register(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request,
                                                    grpc::ByteBuffer* response) {
  const UnaryCall call(*context, calls_, response);
  alignas(8) char block[kArenaBlock];
  google::protobuf::Arena arena(block, sizeof(block));
  auto& parsed = *google::protobuf::Arena::CreateMessage<v1::RegisterRequest>(&arena);
  if (absl::Status s = Begin(*context, *request, parsed); !s.ok()) return call.End(s);
  const bool address_given = !parsed.instance().address().empty();
  registry_.Register(std::move(parsed), CallerOf(*context, address_given),
                     [call](const auto& r) { call.Answer(r); });
  return call.reactor();
}

grpc::ServerUnaryReactor* RegistryService::BatchRegister(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* request,
                                                         grpc::ByteBuffer* response) {
  const UnaryCall call(*context, calls_, response);
  google::protobuf::Arena arena;
  auto& parsed = *google::protobuf::Arena::CreateMessage<v1::BatchRegisterRequest>(&arena);
  if (absl::Status s = Begin(*context, *request, parsed); !s.ok()) return call.End(s);
  const auto wanted = static_cast<size_t>(parsed.requests_size());
  const bool addresses_given =
      std::all_of(parsed.requests().begin(), parsed.requests().end(),
                  [](const auto& one) { return !one.instance().address().empty(); });
  registry_.BatchRegister(std::move(parsed), CallerOf(*context, addresses_given),
                          [call, wanted](auto results) {
                            // A refused batch has one error for the whole.
                            if (results.size() != wanted) {
                              call.End(results.front().status());
                              return;
                            }
                            v1::BatchRegisterResponse all;
                            for (auto& result : results) {
                              v1::BatchRegisterResult* out = all.add_results();
                              *out->mutable_status() = ToStatusProto(result.status());
                              if (result.ok()) *out->mutable_response() = *std::move(result);
                            }
                            call.Answer(absl::StatusOr<v1::BatchRegisterResponse>(std::move(all)));
                          });
  return call.reactor();
}

grpc::ServerUnaryReactor* RegistryService::Deregister(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  const UnaryCall call(*context, calls_, response);
  v1::DeregisterRequest parsed;
  if (absl::Status s = Begin(*context, *request, parsed); !s.ok()) return call.End(s);
  registry_.Deregister(parsed, [call](const auto& result) { call.Answer(result); });
  return call.reactor();
}

grpc::ServerUnaryReactor* RegistryService::Heartbeat(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  const UnaryCall call(*context, calls_, response);
  // While loading the leases themselves answer: keep, ask later.
  absl::Status status = CheckAccess(*context, authorizer_, security::Right::kWrite);
  if (status.ok() && state_.phase() == Phase::kDraining) status = state_.CheckServing();
  v1::HeartbeatRequest parsed;
  if (status.ok()) status = ReadRequest(*request, parsed);
  if (!status.ok()) return call.End(status);
  return call.Answer(registry_.Heartbeat(parsed));
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* RegistryService::KeepAlive(
    grpc::CallbackServerContext* context) {
  return keep_alives_.Open(StreamAccess::Admit(*context, authorizer_, security::Right::kWrite));
}

grpc::ServerUnaryReactor* RegistryService::ReportHealth(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* response) {
  const UnaryCall call(*context, calls_, response);
  v1::ReportHealthRequest parsed;
  if (absl::Status s = Begin(*context, *request, parsed); !s.ok()) return call.End(s);
  registry_.ReportHealth(parsed, [call](const auto& result) { call.Answer(result); });
  return call.reactor();
}

grpc::ServerUnaryReactor* RegistryService::Later(grpc::CallbackServerContext* context,
                                                 std::string_view call) const {
  const absl::Status status = CheckAccess(*context, authorizer_, security::Right::kWrite);
  return Finished(context, status.ok() ? NotInThisRelease(call) : status);
}

}  // namespace muster::rpc
