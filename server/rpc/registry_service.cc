#include "server/rpc/registry_service.h"

#include <google/protobuf/arena.h>
#include <grpcpp/server_context.h>

#include <algorithm>
#include <utility>

#include "server/rpc/access.h"
#include "server/rpc/registered.h"
#include "server/rpc/unary.h"

namespace muster::rpc {
namespace {

// Most registrations are parsed without asking the heap for messages.
constexpr size_t kArenaBlock = 4096;

}  // namespace

absl::Status RegistryService::Admit(const UnaryCall& call) const {
  if (absl::Status s = CheckAccess(call.context(), authorizer_, security::Right::kWrite); !s.ok()) {
    return s;
  }
  return state_.CheckServing();
}

core::Caller RegistryService::CallerOf(const UnaryCall& call, bool address_given) const {
  return {address_given ? "" : PeerIp(call.context().peer()), options_.loopback_listener, "grpc"};
}

template <typename Request>
absl::Status RegistryService::Begin(const UnaryCall& call, Request& request) const {
  if (absl::Status s = Admit(call); !s.ok()) return s;
  return ReadRequest(call, request);
}

void RegistryService::OnRegister(const UnaryCall& call) {
  alignas(8) char block[kArenaBlock];
  google::protobuf::Arena arena(block, sizeof(block));
  auto& parsed = *google::protobuf::Arena::CreateMessage<v1::RegisterRequest>(&arena);
  if (absl::Status s = Begin(call, parsed); !s.ok()) return call.End(s);
  const bool address_given = !parsed.instance().address().empty();
  registry_.Register(std::move(parsed), CallerOf(call, address_given),
                     [call](const auto& registered) {
                       if (!registered.ok()) return call.End(registered.status());
                       call.AnswerBytes(EncodeRegistered(*registered));
                     });
}

void RegistryService::OnBatchRegister(const UnaryCall& call) {
  google::protobuf::Arena arena;
  auto& parsed = *google::protobuf::Arena::CreateMessage<v1::BatchRegisterRequest>(&arena);
  if (absl::Status s = Begin(call, parsed); !s.ok()) return call.End(s);
  const auto wanted = static_cast<size_t>(parsed.requests_size());
  const bool addresses_given =
      std::all_of(parsed.requests().begin(), parsed.requests().end(),
                  [](const auto& one) { return !one.instance().address().empty(); });
  registry_.BatchRegister(std::move(parsed), CallerOf(call, addresses_given),
                          [call, wanted](const auto& results) {
                            // A refused batch has one error for the whole.
                            if (results.size() != wanted) {
                              call.End(results.front().status());
                              return;
                            }
                            call.AnswerBytes(EncodeBatch(results));
                          });
}

void RegistryService::OnDeregister(const UnaryCall& call) {
  v1::DeregisterRequest parsed;
  if (absl::Status s = Begin(call, parsed); !s.ok()) return call.End(s);
  registry_.Deregister(parsed, [call](const auto& result) { call.Answer(result); });
}

void RegistryService::OnHeartbeat(const UnaryCall& call) {
  // While loading the leases themselves answer: keep, ask later.
  absl::Status status = CheckAccess(call.context(), authorizer_, security::Right::kWrite);
  if (status.ok() && state_.phase() == Phase::kDraining) status = state_.CheckServing();
  v1::HeartbeatRequest parsed;
  if (status.ok()) status = ReadRequest(call, parsed);
  if (!status.ok()) return call.End(status);
  return call.Answer(registry_.Heartbeat(parsed));
}

void RegistryService::OnKeepAlive(StreamCall& call) {
  const auto access = StreamAccess::Admit(call.context(), authorizer_, security::Right::kWrite);
  if (!access.ok()) return call.Finish(access.status());
  keep_alives_.Open(call, *access);
}

void RegistryService::OnReportHealth(const UnaryCall& call) {
  v1::ReportHealthRequest parsed;
  if (absl::Status s = Begin(call, parsed); !s.ok()) return call.End(s);
  registry_.ReportHealth(parsed, [call](const auto& result) { call.Answer(result); });
}

void RegistryService::OnAddCheck(const UnaryCall& call) {
  v1::AddCheckRequest parsed;
  if (absl::Status s = Begin(call, parsed); !s.ok()) return call.End(s);
  registry_.AddCheck(parsed, [call](const auto& result) { call.Answer(result); });
}

void RegistryService::OnRemoveCheck(const UnaryCall& call) {
  v1::RemoveCheckRequest parsed;
  if (absl::Status s = Begin(call, parsed); !s.ok()) return call.End(s);
  registry_.RemoveCheck(parsed, [call](const auto& result) { call.Answer(result); });
}

void RegistryService::OnDrain(const UnaryCall& call) {
  v1::DrainRequest parsed;
  if (absl::Status s = Begin(call, parsed); !s.ok()) return call.End(s);
  if (drains_ != nullptr) return drains_->Begin(registry_, call, parsed);
  call.End(NotInThisRelease("Drain"));
}

void RegistryService::OnSetMaintenance(const UnaryCall& call) {
  v1::SetMaintenanceRequest parsed;
  if (absl::Status s = Begin(call, parsed); !s.ok()) return call.End(s);
  registry_.SetMaintenance(parsed, [call](const auto& result) { call.Answer(result); });
}

void RegistryService::OnSetServiceSettings(const UnaryCall& call) {
  v1::SetServiceSettingsRequest parsed;
  if (absl::Status s = Begin(call, parsed); !s.ok()) return call.End(s);
  registry_.SetServiceSettings(parsed, [call](const auto& result) { call.Answer(result); });
}

void RegistryService::Later(const UnaryCall& call, std::string_view name) const {
  const absl::Status status = CheckAccess(call.context(), authorizer_, security::Right::kWrite);
  call.End(status.ok() ? NotInThisRelease(name) : status);
}

void RegistryService::ServeOn(Calls& calls) {
  calls.Unary([this](auto... to) { RequestRegister(to...); },
              [this](const UnaryCall& call) { OnRegister(call); }, Calls::kOften);
  calls.Unary([this](auto... to) { RequestBatchRegister(to...); },
              [this](const UnaryCall& call) { OnBatchRegister(call); });
  calls.Unary([this](auto... to) { RequestDeregister(to...); },
              [this](const UnaryCall& call) { OnDeregister(call); }, Calls::kOften);
  calls.Unary([this](auto... to) { RequestHeartbeat(to...); },
              [this](const UnaryCall& call) { OnHeartbeat(call); }, Calls::kOften);
  calls.Unary([this](auto... to) { RequestReportHealth(to...); },
              [this](const UnaryCall& call) { OnReportHealth(call); }, Calls::kOften);
  calls.BidiStream([this](auto... to) { RequestKeepAlive(to...); },
                   [this](StreamCall& call) { OnKeepAlive(call); });
  calls.Unary([this](auto... to) { RequestDrain(to...); },
              [this](const UnaryCall& call) { OnDrain(call); });
  calls.Unary([this](auto... to) { RequestSetMaintenance(to...); },
              [this](const UnaryCall& call) { OnSetMaintenance(call); });
  calls.Unary([this](auto... to) { RequestSetServiceSettings(to...); },
              [this](const UnaryCall& call) { OnSetServiceSettings(call); });
  calls.Unary([this](auto... to) { RequestAddCheck(to...); },
              [this](const UnaryCall& call) { OnAddCheck(call); });
  calls.Unary([this](auto... to) { RequestRemoveCheck(to...); },
              [this](const UnaryCall& call) { OnRemoveCheck(call); });
}

}  // namespace muster::rpc
