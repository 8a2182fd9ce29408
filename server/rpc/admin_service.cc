#include "server/rpc/admin_service.h"

#include <grpcpp/server_context.h>

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/log.h"
#include "base/text.h"
#include "server/core/verify.h"
#include "server/rpc/access.h"
#include "server/rpc/backup_stream.h"
#include "server/rpc/errors.h"
#include "server/rpc/held.h"
#include "server/rpc/lease_list.h"
#include "server/rpc/unary.h"

namespace muster::rpc {
namespace {

using security::Right;

constexpr uint64_t kNearlyFullShare = 10;  // a tenth is left
constexpr absl::Duration kRefusalsTold = absl::Minutes(10);

v1::StatusResponse::Phase ToProto(Phase phase) {
  switch (phase) {
    case Phase::kLoading:
      return v1::StatusResponse::LOADING;
    case Phase::kServing:
      return v1::StatusResponse::SERVING;
    default:
      return v1::StatusResponse::DRAINING;
  }
}

void SetRevision(const storage::Revision& from, v1::Revision* to) {
  to->set_epoch(from.epoch);
  to->set_seq(from.seq);
}

void SetTime(base::SystemTime from, google::protobuf::Timestamp* to) {
  to->set_seconds(from.us / 1'000'000);
  to->set_nanos(static_cast<int32_t>(from.us % 1'000'000) * 1000);
}

void AddLimit(std::string_view name, uint64_t used, uint64_t max, v1::StatusResponse& out) {
  v1::Limit& limit = *out.add_limits();
  limit.set_name(std::string(name));
  limit.set_used(used);
  limit.set_max(max);
  if (max == 0 || used < max - max / kNearlyFullShare) return;
  out.add_warnings(absl::StrCat(base::Av(name), " is nearly full: ", used, " of ", max));
}

void AddConnections(const ConnectionCounts& connections, base::SteadyTime now,
                    v1::StatusResponse& out) {
  AddLimit("limits.connections", connections.open, connections.max, out);
  out.set_refused_connections(connections.refused);
  if (connections.refused == 0 || now - connections.last_refused > kRefusalsTold) return;
  out.add_warnings(
      absl::StrCat(connections.refused,
                   " connections were closed at once since the start, for want of file "
                   "descriptors: raise the limit of open files"));
}

// What a client is told who has to wait for another call of the kind.
absl::Status Busy(std::string_view what) {
  return base::WithRetryAfter(
      base::MakeError(absl::StatusCode::kResourceExhausted, base::Reason::kQueueFull,
                      absl::StrCat("another ", base::Av(what), " is running; one at a time")),
      absl::Seconds(5));
}

v1::VerifyResponse ToProto(const core::Verification& found) {
  v1::VerifyResponse out;
  out.set_ok(found.problems.empty());
  out.set_services_checked(found.services);
  out.set_instances_checked(found.instances);
  out.set_leases_checked(found.leases);
  for (const std::string& problem : found.problems) out.add_problems(problem);
  SetRevision(found.revision, out.mutable_revision());
  return out;
}

void AddProbes(const ProbeCounts& probes, v1::StatusResponse& out) {
  AddLimit("health.max_probes", probes.under_way, probes.max, out);
  if (probes.waiting == 0) return;
  out.add_warnings(absl::StrCat(probes.waiting,
                                " probes wait for others to end, so checks run late: their targets "
                                "hang, or health.max_probes is too low"));
}

}  // namespace

AdminService::AdminService(const Rooms& rooms, Options options)
    : rooms_(rooms),
      options_(std::move(options)),
      started_(rooms.clock.Steady()),
      started_at_(rooms.clock.System()) {}

void AdminService::EndCalls() {
  ending_ = true;
  base::MutexLock lock(mu_);
  if (backup_ != nullptr) backup_->End(ServerState::Draining());
}

void AdminService::Stop() {
  EndCalls();
  copier_.Stop();
  verifier_.Stop();
}

absl::Status AdminService::Admit(const grpc::ServerContextBase& context, Right right) const {
  if (absl::Status s = CheckAccess(context, rooms_.authorizer, right); !s.ok()) return s;
  return ending_ ? ServerState::Draining() : rooms_.state.CheckServing();
}

template <typename Request>
absl::Status AdminService::Begin(const UnaryCall& call, Right right, Request& request) const {
  if (absl::Status s = Admit(call.context(), right); !s.ok()) return s;
  return ReadRequest(call, request);
}

void AdminService::OnStatus(const UnaryCall& call) const {
  v1::StatusRequest request;
  absl::Status status = CheckAccess(call.context(), rooms_.authorizer, Right::kRead);
  if (status.ok()) status = ReadRequest(call, request);
  if (!status.ok()) return call.End(status);
  call.Answer(absl::StatusOr<v1::StatusResponse>(MakeStatus()));
}

v1::StatusResponse AdminService::MakeStatus() const {
  v1::StatusResponse out;
  const storage::EngineStats engine = rooms_.engine.Stats();
  const WatchCounts watches = options_.watches ? options_.watches() : WatchCounts{};
  out.set_version(options_.version);
  out.set_build(options_.build);
  out.set_phase(ToProto(rooms_.state.phase()));
  const int64_t up_us = rooms_.clock.Steady().us - started_.us;
  out.mutable_uptime()->set_seconds(up_us / 1'000'000);
  out.mutable_uptime()->set_nanos(static_cast<int32_t>(up_us % 1'000'000) * 1000);
  SetTime(started_at_, out.mutable_started_at());
  SetRevision(rooms_.catalog.revision(), out.mutable_revision());
  out.set_services(rooms_.catalog.service_count());
  out.set_instances(rooms_.catalog.instance_count());
  out.set_tombstones(rooms_.catalog.tombstone_count());
  out.set_leases(rooms_.leases.size());
  out.set_watch_streams(watches.streams);
  out.set_subscriptions(watches.subscriptions);
  out.set_storage_engine(engine.name);
  if (engine.frozen) {
    SetTime(engine.frozen_since, out.mutable_frozen_since());
    out.set_frozen_reason(
        absl::StrCat(engine.frozen_reason, "; mend the cause, then restart the server"));
    out.add_warnings("the store takes no writes: services are answered as they were");
  }
  if (engine.low_space) {
    SetTime(engine.low_space_since, out.mutable_low_space_since());
    out.set_low_space_reason(engine.low_space_reason);
    out.add_warnings("the disk is nearly full: registrations are refused until it has space");
  }
  AddHeldSets(rooms_.held, out);
  if (options_.brake) AddBrake(options_.brake(), out);
  AddLimit("limits.instances", out.instances(), options_.max_instances, out);
  AddLimit("limits.subscriptions", watches.subscriptions, options_.max_subscriptions, out);
  AddLimit("limits.waiting_calls", watches.waiting_calls, options_.max_waiting_calls, out);
  AddLimit("limits.write_queue", engine.queue_used, engine.queue_max, out);
  if (options_.probes) AddProbes(options_.probes(), out);
  if (options_.connections) AddConnections(options_.connections(), rooms_.clock.Steady(), out);
  return out;
}

void AdminService::OnListLeases(const UnaryCall& call) const {
  v1::ListLeasesRequest request;
  if (absl::Status s = Begin(call, Right::kRead, request); !s.ok()) return call.End(s);
  call.Answer(rpc::ListLeases(request, rooms_.leases, static_cast<uint64_t>(started_at_.us)));
}

void AdminService::OnBackup(StreamCall& call) {
  v1::BackupRequest request;
  absl::Status status = Admit(call.context(), Right::kWrite);
  if (status.ok()) status = ReadRequest(call.request(), request);
  if (!status.ok()) return call.Finish(status);
  const auto stream = BackupStream::Make(call);
  status = BeginBackup(stream);
  if (!status.ok()) stream->Finish(status);
}

absl::Status AdminService::BeginBackup(const std::shared_ptr<BackupStream>& stream) {
  base::MutexLock lock(mu_);
  if (ending_) return ServerState::Draining();
  if (backup_ != nullptr) return Busy("backup");
  if (!copier_.Post([this, stream] { RunBackup(stream); })) return ServerState::Draining();
  backup_ = stream;
  return absl::OkStatus();
}

void AdminService::RunBackup(const std::shared_ptr<BackupStream>& stream) {
  const absl::Status status = stream->Copy(rooms_.engine, rooms_.clock, options_.version);
  {
    base::MutexLock lock(mu_);
    backup_ = nullptr;
  }
  stream->Finish(status);
}

void AdminService::OnVerify(const UnaryCall& call) {
  v1::VerifyRequest request;
  if (absl::Status s = Begin(call, Right::kRead, request); !s.ok()) return call.End(s);
  if (verifying_.exchange(true)) return call.End(Busy("verify"));
  const auto cancelled = std::make_shared<std::atomic<bool>>(false);
  call.OnCancel([cancelled] { *cancelled = true; });
  const bool posted = verifier_.Post([this, call, cancelled] {
    const auto found = core::Verify(rooms_.engine, rooms_.catalog, rooms_.leases,
                                    [&] { return ending_ || *cancelled; });
    verifying_ = false;
    if (ending_ && !found.ok()) return call.End(ServerState::Draining());
    if (!found.ok()) return call.End(found.status());
    call.Answer(absl::StatusOr<v1::VerifyResponse>(ToProto(*found)));
  });
  if (!posted) call.End(ServerState::Draining());  // and nobody verifies any more
}

void AdminService::OnSetLogLevel(const UnaryCall& call) const {
  v1::SetLogLevelRequest request;
  absl::Status status = CheckAccess(call.context(), rooms_.authorizer, Right::kWrite);
  if (status.ok()) status = ReadRequest(call, request);
  if (!status.ok()) return call.End(status);
  const auto level = base::ParseLogLevel(request.level());
  if (!level.ok()) {
    return call.End(base::WithField(
        base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                        absl::StrCat("level is \"", base::EscapeForTerminal(request.level()),
                                     "\"; allowed: debug, info, warn, error")),
        "level"));
  }
  v1::SetLogLevelResponse response;
  response.set_previous(std::string(base::LogLevelName(base::GetLogLevel())));
  base::SetLogLevel(*level);
  base::Log(base::LogLevel::kInfo, "log level changed",
            {{"from", response.previous()}, {"to", std::string(base::LogLevelName(*level))}});
  call.Answer(absl::StatusOr<v1::SetLogLevelResponse>(std::move(response)));
}

void AdminService::Later(const UnaryCall& call, std::string_view name) const {
  const absl::Status status = CheckAccess(call.context(), rooms_.authorizer, Right::kRead);
  call.End(status.ok() ? NotInThisRelease(name) : status);
}

void AdminService::ServeOn(Calls& calls) {
  calls.Unary([this](auto... to) { RequestStatus(to...); },
              [this](const UnaryCall& call) { OnStatus(call); });
  calls.Unary([this](auto... to) { RequestListLeases(to...); },
              [this](const UnaryCall& call) { OnListLeases(call); });
  calls.ServerStream([this](auto... to) { RequestBackup(to...); },
                     [this](StreamCall& call) { OnBackup(call); });
  calls.Unary([this](auto... to) { RequestVerify(to...); },
              [this](const UnaryCall& call) { OnVerify(call); });
  calls.Unary([this](auto... to) { RequestSetLogLevel(to...); },
              [this](const UnaryCall& call) { OnSetLogLevel(call); });
  calls.Unary([this](auto... to) { RequestTopServices(to...); },
              [this](const UnaryCall& call) { Later(call, "TopServices"); });
  calls.Unary([this](auto... to) { RequestListWatchers(to...); },
              [this](const UnaryCall& call) { Later(call, "ListWatchers"); });
}

}  // namespace muster::rpc
