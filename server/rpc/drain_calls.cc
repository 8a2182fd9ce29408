#include "server/rpc/drain_calls.h"

#include <memory>
#include <string>
#include <utility>

#include "server/core/instance.h"
#include "server/rpc/server_state.h"
#include "server/rpc/watch_pump.h"

namespace muster::rpc {

struct DrainCalls::Call {
  UnaryCall call;
  std::string service_key;
  DrainTerms terms;
};

DrainCalls::DrainCalls(WatchPump& pump, base::SerialExecutor& executor, const base::Clock& clock,
                       std::function<absl::Status()> room)
    : pump_(pump), executor_(executor), clock_(clock), room_(std::move(room)) {}

void DrainCalls::Begin(core::Registry& registry, const UnaryCall& call,
                       const v1::DrainRequest& request) {
  const auto key = core::NormalKey(request.key(), "key");
  if (!key.ok()) return call.End(key.status());
  const auto terms = ReadTerms(request);
  if (!terms.ok()) return call.End(terms.status());
  if (absl::Status room = room_(); !room.ok()) return call.End(room);
  ++open_;
  const auto open = std::make_shared<const Call>(
      Call{call, storage::EncodeServiceKey(key->ns, key->service), *terms});
  // Ahead of the change: it is asked about as it is sent.
  executor_.Post([this, open] { pump_.drains().Expect(open->service_key); });
  registry.Drain(request, [this, open](absl::StatusOr<core::Drained> drained) {
    const bool posted = executor_.Post([this, open, drained = std::move(drained)]() mutable {
      Settled(*open, std::move(drained));
    });
    if (posted) return;
    --open_;
    open->call.End(ServerState::Draining());
  });
}

void DrainCalls::Settled(const Call& settled, absl::StatusOr<core::Drained> drained) {
  pump_.drains().Expected(settled.service_key);
  const auto done = [this, call = settled.call](absl::StatusOr<v1::DrainResponse> response) {
    --open_;
    call.Answer(response);
  };
  if (!drained.ok()) return done(drained.status());
  const Drains::Id id = pump_.BeginDrain({.service_key = settled.service_key,
                                          .seq = drained->seq,
                                          .revision = drained->revision,
                                          .endpoint = std::move(drained->endpoint),
                                          .terms = settled.terms,
                                          .done = done});
  // What was sent may have ended it.
  if (!pump_.drains().waits(id)) return;
  settled.call.OnCancel([this, id] {
    executor_.Post(
        [this, id] { pump_.drains().End(id, absl::CancelledError("the caller gave up")); });
  });
}

void DrainCalls::Tick() {
  if (open() == 0) return;
  executor_.Post([this] { pump_.drains().Tick(clock_.Steady()); });
}

void DrainCalls::EndAll(const absl::Status& status) {
  executor_.Post([this, status] { pump_.drains().EndAll(status); });
}

}  // namespace muster::rpc
