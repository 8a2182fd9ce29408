#include "client/cli/follower.h"

#include <grpcpp/grpcpp.h>

#include <utility>

namespace muster::cli {

Follower::Follower(StreamKeeper& keeper, std::vector<v1::Subscribe> wanted, Listener& listener)
    : keeper_(keeper), listener_(listener) {
  for (v1::Subscribe& subscribe : wanted) {
    // Nobody is called from here: a drain needn't wait for who merely looks on.
    subscribe.set_acks(true);
    following_.Add(std::move(subscribe));
  }
}

absl::Status Follower::Run() {
  return keeper_.Run(
      [this](const auto& channel, grpc::ClientContext* call) { return RunOnce(channel, call); });
}

grpc::Status Follower::RunOnce(const std::shared_ptr<grpc::ChannelInterface>& channel,
                               grpc::ClientContext* call) {
  const auto stub = v1::Discovery::NewStub(channel);
  const std::unique_ptr<Stream> stream = stub->Watch(call);
  const auto send = [&] {
    while (const auto request = following_.NextRequest()) {
      if (!stream->Write(*request)) break;
    }
  };
  following_.StreamOpened();
  send();
  v1::WatchResponse event;
  while (stream->Read(&event)) {
    keeper_.Alive();
    const bool enough = !Take(event);
    send();
    if (!enough) continue;
    keeper_.Done();
    call->TryCancel();
    break;
  }
  following_.StreamLost();
  return stream->Finish();
}

bool Follower::Take(v1::WatchResponse& event) {
  const auto update = following_.Take(event);
  if (!update) return true;
  const size_t service = update->id - 1;
  if (update->ack) following_.Confirm(update->id, *update->ack);
  // People see each problem, and may end it.
  if (!update->applied.problem.empty()) following_.AskAgain(update->id);
  if (!update->ended) {
    event.set_sub_id(update->id);
    return listener_.OnEvent(service, event, update->applied);
  }
  const grpc::Status status(static_cast<grpc::StatusCode>(update->ended->code()),
                            update->ended->message(), update->ended->SerializeAsString());
  const size_t left = following_.live();
  return listener_.OnEnded(service, FromRpc(status), left) && left > 0;
}

}  // namespace muster::cli
