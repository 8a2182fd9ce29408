#include "client/cli/follower.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

namespace muster::cli {

Follower::Follower(StreamKeeper& keeper, std::vector<v1::Subscribe> wanted, Listener& listener)
    : keeper_(keeper), listener_(listener) {
  for (v1::Subscribe& subscribe : wanted) services_.push_back({std::move(subscribe)});
}

absl::Status Follower::Run() {
  return keeper_.Run(
      [this](const auto& channel, grpc::ClientContext* call) { return RunOnce(channel, call); });
}

grpc::Status Follower::RunOnce(const std::shared_ptr<grpc::ChannelInterface>& channel,
                               grpc::ClientContext* call) {
  const auto stub = v1::Discovery::NewStub(channel);
  const auto stream = stub->Watch(call);
  by_sub_id_.clear();
  for (size_t i = 0; i < services_.size(); ++i) {
    services_[i].set.StreamEnded();
    if (!services_[i].ended && !Subscribe(*stream, i)) break;
  }
  v1::WatchResponse event;
  while (stream->Read(&event)) {
    keeper_.Alive();
    if (Take(*stream, event)) continue;
    keeper_.Done();
    call->TryCancel();
    break;
  }
  return stream->Finish();
}

bool Follower::Subscribe(Stream& stream, size_t service) {
  Service& mine = services_[service];
  mine.sub_id = ++last_sub_id_;
  by_sub_id_[mine.sub_id] = service;
  v1::WatchRequest request;
  *request.mutable_subscribe() = mine.wanted;
  request.mutable_subscribe()->set_sub_id(mine.sub_id);
  if (const auto resume = mine.set.resume())
    *request.mutable_subscribe()->mutable_resume() = *resume;
  return stream.Write(request);
}

bool Follower::Take(Stream& stream, v1::WatchResponse& event) {
  if (event.has_progress()) {
    // Of the whole stream.
    for (size_t i = 0; i < services_.size(); ++i) services_[i].set.Apply(event);
    return true;
  }
  const auto found = by_sub_id_.find(event.sub_id());
  // Events of a subscription that was given up may still be under way.
  if (found == by_sub_id_.end()) return true;
  return TakeFor(stream, found->second, event);
}

bool Follower::TakeFor(Stream& stream, size_t service, v1::WatchResponse& event) {
  event.set_sub_id(service + 1);
  if (event.has_error()) return End(service, event);
  const EndpointSet::Applied applied = services_[service].set.Apply(event);
  if (!applied.problem.empty()) StartAfresh(stream, service);
  return listener_.OnEvent(service, event, applied);
}

bool Follower::End(size_t service, const v1::WatchResponse& event) {
  by_sub_id_.erase(services_[service].sub_id);
  services_[service].ended = true;
  const grpc::Status status(static_cast<grpc::StatusCode>(event.error().code()),
                            event.error().message(), event.error().SerializeAsString());
  const size_t left = std::count_if(services_.begin(), services_.end(),
                                    [](const Service& other) { return !other.ended; });
  return listener_.OnEnded(service, FromRpc(status), left) && left > 0;
}

void Follower::StartAfresh(Stream& stream, size_t service) {
  by_sub_id_.erase(services_[service].sub_id);
  v1::WatchRequest request;
  request.mutable_unsubscribe()->set_sub_id(services_[service].sub_id);
  stream.Write(request);
  Subscribe(stream, service);
}

}  // namespace muster::cli
