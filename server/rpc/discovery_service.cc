#include "server/rpc/discovery_service.h"

#include <grpcpp/server_context.h>

#include <atomic>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "server/rpc/access.h"
#include "server/rpc/describe.h"
#include "server/rpc/errors.h"
#include "server/rpc/unary.h"

namespace muster::rpc {
namespace {

absl::Status EpochChanged(uint64_t asked, uint64_t present) {
  return base::WithField(
      base::MakeError(absl::StatusCode::kFailedPrecondition, base::Reason::kEpochChanged,
                      absl::StrCat("min_revision is of epoch ", asked, "; this store's is ",
                                   present, ": its revisions can't be compared")),
      "min_revision.epoch");
}

absl::Status TooManyWait(uint64_t max) {
  return base::WithRetryAfter(
      base::MakeError(absl::StatusCode::kResourceExhausted, base::Reason::kQueueFull,
                      absl::StrCat("too many calls wait: limits.waiting_calls is ", max)),
      absl::Seconds(1));
}

}  // namespace

// A Discover that waits until a revision has been applied, or its caller gives up.
class WaitingDiscover : public std::enable_shared_from_this<WaitingDiscover> {
 public:
  WaitingDiscover(DiscoveryService& service, const UnaryCall& call, const StreamAccess& access,
                  v1::DiscoverRequest request)
      : service_(service), call_(call), access_(access), request_(std::move(request)) {}

  void Begin() {
    const auto self = shared_from_this();
    bool ended = false;
    {
      base::MutexLock lock(service_.waiting_mu_);
      service_.waiting_.emplace(this, self);
      ended = service_.ended_;
    }
    call_.OnCancel([self] { self->End(absl::CancelledError("the caller gave up")); });
    if (ended) return End(ServerState::Draining());
    wait_id_.store(service_.rooms_.catalog.WaitApplied(
        request_.min_revision().seq(), [self, &executor = service_.rooms_.executor] {
          executor.Post([self] { self->Answer(); });
        }));
    // Whoever answered before the id was known could not cancel it.
    if (answered_.load()) CancelWait();
  }

  void End(const absl::Status& status) {
    if (answered_.exchange(true)) return;
    CancelWait();
    Leave();
    call_.End(status);
  }

 private:
  void CancelWait() {
    service_.rooms_.catalog.CancelWait(request_.min_revision().seq(), wait_id_.load());
  }
  void Leave() {
    base::MutexLock lock(service_.waiting_mu_);
    service_.waiting_.erase(this);
  }
  void Answer() {
    if (answered_.exchange(true)) return;
    Leave();
    if (absl::Status s = access_.Recheck(); !s.ok()) return call_.End(s);
    call_.AnswerBytes(service_.discoverer_.Answer(request_));
  }

  DiscoveryService& service_;
  const UnaryCall call_;
  StreamAccess access_;
  const v1::DiscoverRequest request_;
  std::atomic<bool> answered_{false};
  std::atomic<uint64_t> wait_id_{0};
};

DiscoveryService::DiscoveryService(const Rooms& rooms, WatchOptions options,
                                   uint64_t max_waiting_calls)
    : rooms_(rooms),
      max_waiting_calls_(max_waiting_calls),
      discoverer_(rooms.catalog, rooms.held, rooms.state, rooms.clock),
      watches_(rooms.catalog, rooms.held, rooms.hub, rooms.executor, rooms.clock, rooms.rng,
               options),
      drains_(watches_, rooms.executor, rooms.clock, [this] { return CheckRoomToWait(); }),
      names_(rooms.catalog, rooms.hub, rooms.executor) {}

absl::Status DiscoveryService::Admit(const grpc::ServerContextBase& context) const {
  if (absl::Status s = CheckAccess(context, rooms_.authorizer, security::Right::kRead); !s.ok()) {
    return s;
  }
  return rooms_.state.CheckServing();
}

template <typename Request>
absl::Status DiscoveryService::Begin(const UnaryCall& call, Request& request) const {
  if (absl::Status s = Admit(call.context()); !s.ok()) return s;
  return ReadRequest(call, request);
}

absl::StatusOr<StreamAccess> DiscoveryService::AdmitStream(
    const grpc::ServerContextBase& context) const {
  auto access = StreamAccess::Admit(context, rooms_.authorizer, security::Right::kRead);
  if (!access.ok()) return access.status();
  if (absl::Status s = rooms_.state.CheckServing(); !s.ok()) return s;
  return access;
}

void DiscoveryService::Tick() {
  watches_.Tick();
  names_.Tick();
  discoverer_.Tick();
}

uint64_t DiscoveryService::waiting_calls() const {
  base::MutexLock lock(waiting_mu_);
  return waiting_.size() + drains_.open();
}

absl::Status DiscoveryService::CheckRoomToWait() const {
  return waiting_calls() < max_waiting_calls_ ? absl::OkStatus() : TooManyWait(max_waiting_calls_);
}

void DiscoveryService::EndWatches() {
  const absl::Status status = ServerState::Draining();
  // Before the watches: that they end says nothing of what they know.
  drains_.EndAll(status);
  watches_.EndAll(status);
  names_.EndAll(status);
  std::vector<std::shared_ptr<WaitingDiscover>> waiting;
  {
    base::MutexLock lock(waiting_mu_);
    ended_ = true;
    for (const auto& [raw, call] : waiting_) waiting.push_back(call);
  }
  for (const auto& call : waiting) call->End(status);
}

void DiscoveryService::OnDiscover(const UnaryCall& call) {
  v1::DiscoverRequest parsed;
  absl::Status status = Begin(call, parsed);
  const storage::Revision applied = rooms_.catalog.revision();
  const v1::Revision& wanted = parsed.min_revision();
  if (status.ok() && parsed.has_min_revision() && wanted.epoch() != applied.epoch) {
    status = EpochChanged(wanted.epoch(), applied.epoch);
  }
  if (!status.ok()) return call.End(status);
  if (!parsed.has_min_revision() || wanted.seq() <= applied.seq) {
    return call.AnswerBytes(discoverer_.Answer(parsed));
  }
  // What waits is small: checked, and without what this release does not know.
  status = Discoverer::Check(parsed);
  if (status.ok()) status = CheckRoomToWait();
  const auto access = AdmitStream(call.context());
  status.Update(access.status());
  if (!status.ok()) return call.End(status);
  parsed.DiscardUnknownFields();
  std::make_shared<WaitingDiscover>(*this, call, *access, std::move(parsed))->Begin();
}

void DiscoveryService::OnWatch(StreamCall& call) {
  const auto access = AdmitStream(call.context());
  if (!access.ok()) return call.Finish(access.status());
  watches_.Open(call, *access);
}

void DiscoveryService::OnListServices(const UnaryCall& call) const {
  v1::ListServicesRequest request;
  if (absl::Status s = Begin(call, request); !s.ok()) return call.End(s);
  call.Answer(List(request, rooms_.catalog));
}

void DiscoveryService::OnWatchServices(StreamCall& call) {
  v1::WatchServicesRequest request;
  const auto access = AdmitStream(call.context());
  absl::Status status = access.status();
  if (status.ok()) status = ReadRequest(call.request(), request);
  if (!status.ok()) return call.Finish(status);
  names_.Open(call, *access, request);
}

void DiscoveryService::OnDescribeInstance(const UnaryCall& call) const {
  v1::DescribeInstanceRequest request;
  if (absl::Status s = Begin(call, request); !s.ok()) return call.End(s);
  call.Answer(Describe(request, rooms_.engine, rooms_.catalog, rooms_.leases));
}

void DiscoveryService::ServeOn(Calls& calls) {
  calls.Unary([this](auto... to) { RequestDiscover(to...); },
              [this](const UnaryCall& call) { OnDiscover(call); }, Calls::kOften);
  calls.BidiStream([this](auto... to) { RequestWatch(to...); },
                   [this](StreamCall& call) { OnWatch(call); });
  calls.Unary([this](auto... to) { RequestListServices(to...); },
              [this](const UnaryCall& call) { OnListServices(call); });
  calls.ServerStream([this](auto... to) { RequestWatchServices(to...); },
                     [this](StreamCall& call) { OnWatchServices(call); });
  calls.Unary([this](auto... to) { RequestDescribeInstance(to...); },
              [this](const UnaryCall& call) { OnDescribeInstance(call); });
}

}  // namespace muster::rpc
