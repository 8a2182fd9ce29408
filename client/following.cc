#include "client/following.h"

#include <utility>

namespace muster::client {

Following::Id Following::Add(v1::Subscribe wanted) {
  const Id id = ++last_id_;
  Service& service = services_[id];
  service.wanted = std::move(wanted);
  ++live_;
  if (open_) Subscribe(id, service);
  return id;
}

void Following::Remove(Id id) {
  const auto found = services_.find(id);
  if (!found->second.ended) --live_;
  Unsubscribe(found->second);
  services_.erase(found);
}

void Following::AskAgain(Id id) {
  Service& service = services_.at(id);
  if (!service.ended) return;
  service.ended = false;
  ++live_;
  if (open_) Subscribe(id, service);
}

void Following::Confirm(Id id, const v1::Ack& ack) {
  const auto found = services_.find(id);
  if (found == services_.end() || found->second.sub_id != ack.sub_id()) return;
  *requests_.emplace_back().mutable_ack() = ack;
}

void Following::StreamOpened() {
  StreamLost();
  open_ = true;
  for (auto& [id, service] : services_) {
    if (!service.ended) Subscribe(id, service);
  }
}

void Following::StreamLost() {
  open_ = false;
  requests_.clear();
  by_sub_id_.clear();
  for (auto& [id, service] : services_) {
    service.sub_id = 0;
    service.current = false;
    service.set.StreamEnded();
  }
}

std::optional<v1::WatchRequest> Following::NextRequest() {
  if (requests_.empty()) return std::nullopt;
  v1::WatchRequest request = std::move(requests_.front());
  requests_.pop_front();
  return request;
}

std::optional<Following::Update> Following::Take(const v1::WatchResponse& event) {
  if (event.has_progress()) {
    for (auto& [id, service] : services_) {
      if (service.current) service.set.Apply(event);
    }
    return std::nullopt;
  }
  // Events of a subscription that was given up may still be under way.
  const auto found = by_sub_id_.find(event.sub_id());
  if (found == by_sub_id_.end()) return std::nullopt;
  Update update{.id = found->second};
  Service& service = services_.at(update.id);
  if (event.has_error()) {
    by_sub_id_.erase(found);
    service.sub_id = 0;
    End(service);
    update.ended = event.error();
    return update;
  }
  update.applied = service.set.Apply(event);
  if (!update.applied.problem.empty()) {
    Unsubscribe(service);
    // What is wrong each time would be sent whole again and again.
    if (service.problems++ == 0) {
      Subscribe(update.id, service);
    } else {
      End(service);
    }
  } else if (update.applied.complete) {
    service.problems = 0;
    service.current = true;
    if (event.change().ack_requested()) {
      update.ack.emplace();
      update.ack->set_sub_id(event.sub_id());
      update.ack->set_seq(event.change().to_seq());
    }
  }
  return update;
}

void Following::End(Service& service) {
  service.ended = true;
  service.current = false;
  --live_;
}

void Following::Subscribe(Id id, Service& service) {
  service.current = false;
  service.set.StreamEnded();
  service.sub_id = ++last_sub_id_;
  by_sub_id_[service.sub_id] = id;
  v1::Subscribe& subscribe = *requests_.emplace_back().mutable_subscribe();
  subscribe = service.wanted;
  subscribe.set_sub_id(service.sub_id);
  if (auto resume = service.set.resume()) *subscribe.mutable_resume() = *std::move(resume);
}

void Following::Unsubscribe(Service& service) {
  if (service.sub_id == 0) return;
  by_sub_id_.erase(service.sub_id);
  requests_.emplace_back().mutable_unsubscribe()->set_sub_id(service.sub_id);
  service.sub_id = 0;
}

}  // namespace muster::client
