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

// A stream that was not admitted.
template <typename Base>
class RefusedStream : public Base {
 public:
  explicit RefusedStream(const absl::Status& status) { this->Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

absl::Status EpochChanged(uint64_t asked, uint64_t present) {
  return base::WithField(
      base::MakeError(absl::StatusCode::kFailedPrecondition, base::Reason::kEpochChanged,
                      absl::StrCat("min_revision is of epoch ", asked, "; this store's is ",
                                   present, ": its revisions can't be compared")),
      "min_revision.epoch");
}

absl::Status TooManyWait(uint64_t max) {
  return base::WithRetryAfter(
      base::MakeError(
          absl::StatusCode::kResourceExhausted, base::Reason::kQueueFull,
          absl::StrCat("too many calls wait for a revision: limits.waiting_calls is ", max)),
      absl::Seconds(1));
}

}  // namespace

// A Discover that waits until a revision has been applied, or its caller gives up.
class WaitingDiscover : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<WaitingDiscover> {
 public:
  WaitingDiscover(DiscoveryService& service, const StreamAccess& access,
                  v1::DiscoverRequest request, grpc::ByteBuffer* response)
      : service_(service), access_(access), request_(std::move(request)), response_(response) {}

  void Begin() {
    const auto self = shared_from_this();
    bool ended = false;
    {
      base::MutexLock lock(service_.waiting_mu_);
      service_.waiting_.emplace(this, self);
      ended = service_.ended_;
    }
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
    Finish(ToGrpc(status));
  }
  void OnCancel() override { End(absl::CancelledError("the caller gave up")); }
  void OnDone() override {
    base::MutexLock lock(service_.waiting_mu_);
    service_.waiting_.erase(this);
  }

 private:
  void CancelWait() {
    service_.rooms_.catalog.CancelWait(request_.min_revision().seq(), wait_id_.load());
  }
  void Answer() {
    if (answered_.exchange(true)) return;
    if (absl::Status s = access_.Recheck(); !s.ok()) return Finish(ToGrpc(s));
    auto answer = service_.discoverer_.Answer(request_);
    if (answer.ok()) *response_ = *std::move(answer);
    Finish(ToGrpc(answer.status()));
  }

  DiscoveryService& service_;
  const CallCount::Call call_{service_.rooms_.calls};
  StreamAccess access_;
  const v1::DiscoverRequest request_;
  grpc::ByteBuffer* const response_;
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
      names_(rooms.catalog, rooms.hub, rooms.executor) {}

absl::Status DiscoveryService::Admit(const grpc::CallbackServerContext& context) const {
  if (absl::Status s = CheckAccess(context, rooms_.authorizer, security::Right::kRead); !s.ok()) {
    return s;
  }
  return rooms_.state.CheckServing();
}

absl::StatusOr<StreamAccess> DiscoveryService::AdmitStream(
    const grpc::CallbackServerContext& context) const {
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
  return waiting_.size();
}

void DiscoveryService::EndWatches() {
  const absl::Status status = ServerState::Draining();
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

grpc::ServerUnaryReactor* DiscoveryService::Discover(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  v1::DiscoverRequest parsed;
  absl::Status status = Admit(*context);
  if (status.ok()) status = ReadRequest(*request, parsed);
  const storage::Revision applied = rooms_.catalog.revision();
  const v1::Revision& wanted = parsed.min_revision();
  if (status.ok() && parsed.has_min_revision() && wanted.epoch() != applied.epoch) {
    status = EpochChanged(wanted.epoch(), applied.epoch);
  }
  if (!status.ok()) return UnaryCall(*context, rooms_.calls, response).End(status);
  if (parsed.has_min_revision() && wanted.seq() > applied.seq) {
    // What waits is small: checked, and without what this release does not know.
    status = Discoverer::Check(parsed);
    if (status.ok() && waiting_calls() >= max_waiting_calls_) {
      status = TooManyWait(max_waiting_calls_);
    }
    const auto access = AdmitStream(*context);
    status.Update(access.status());
    if (!status.ok()) return UnaryCall(*context, rooms_.calls, response).End(status);
    parsed.DiscardUnknownFields();
    auto waiting = std::make_shared<WaitingDiscover>(*this, *access, std::move(parsed), response);
    waiting->Begin();
    return waiting.get();
  }
  return UnaryCall(*context, rooms_.calls, response).AnswerBytes(discoverer_.Answer(parsed));
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* DiscoveryService::Watch(
    grpc::CallbackServerContext* context) {
  const auto access = AdmitStream(*context);
  if (!access.ok()) return new RefusedStream<WatchPump::Reactor>(access.status());
  return watches_.Open(*access, context->peer());
}

grpc::ServerUnaryReactor* DiscoveryService::ListServices(grpc::CallbackServerContext* context,
                                                         const v1::ListServicesRequest* request,
                                                         v1::ListServicesResponse* response) {
  if (absl::Status s = Admit(*context); !s.ok()) return Finished(context, s);
  auto list = List(*request, rooms_.catalog);
  if (list.ok()) *response = *std::move(list);
  return Finished(context, list.status());
}

grpc::ServerWriteReactor<v1::WatchServicesResponse>* DiscoveryService::WatchServices(
    grpc::CallbackServerContext* context, const v1::WatchServicesRequest* request) {
  const auto access = AdmitStream(*context);
  if (!access.ok()) return new RefusedStream<NamesPump::Reactor>(access.status());
  return names_.Open(*access, *request);
}

grpc::ServerUnaryReactor* DiscoveryService::DescribeInstance(
    grpc::CallbackServerContext* context, const v1::DescribeInstanceRequest* request,
    v1::DescribeInstanceResponse* response) {
  if (absl::Status s = Admit(*context); !s.ok()) return Finished(context, s);
  auto described = Describe(*request, rooms_.engine, rooms_.catalog, rooms_.leases);
  if (described.ok()) *response = *std::move(described);
  return Finished(context, described.status());
}

}  // namespace muster::rpc
