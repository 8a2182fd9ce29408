#include "client/endpoint_set.h"

#include "absl/strings/str_cat.h"
#include "client/wire.h"

namespace muster::client {
namespace {

constexpr uint64_t kFnvOffset = 14695981039346656037u;
constexpr uint64_t kFnvPrime = 1099511628211u;

uint64_t Mix(uint64_t hash, unsigned char byte) { return (hash ^ byte) * kFnvPrime; }

uint64_t MixText(uint64_t hash, const std::string& text) {
  for (const char c : text) hash = Mix(hash, static_cast<unsigned char>(c));
  return Mix(hash, 0);
}

// MurmurHash3's finalizer.
uint64_t Finish(uint64_t h) {
  h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
  return h ^ (h >> 33);
}

}  // namespace

uint64_t EndpointHash(const Endpoint& endpoint) {
  uint64_t hash = MixText(MixText(kFnvOffset, endpoint.node), endpoint.id);
  for (int shift = 0; shift < 64; shift += 8) {
    hash = Mix(hash, static_cast<unsigned char>(endpoint.revision >> shift));
  }
  return Finish(hash);
}

EndpointSet::Applied EndpointSet::Apply(const v1::WatchResponse& event) {
  switch (event.event_case()) {
    case v1::WatchResponse::kSnapshot:
      return ApplySnapshot(event.snapshot());
    case v1::WatchResponse::kChange:
      return ApplyChange(event.change());
    case v1::WatchResponse::kReset:
      resumable_ = false;
      parts_.clear();
      return {.reset = true};
    case v1::WatchResponse::kProgress:
      if (resumable_ && event.progress().revision().epoch() == revision_.epoch() &&
          event.progress().revision().seq() > revision_.seq()) {
        revision_ = event.progress().revision();
      }
      return {};
    default:
      return {};
  }
}

EndpointSet::Applied EndpointSet::ApplySnapshot(const v1::Snapshot& snapshot) {
  for (const auto& endpoint : snapshot.endpoints()) {
    parts_[{endpoint.node(), endpoint.id()}] = std::make_shared<const Endpoint>(FromWire(endpoint));
  }
  if (!snapshot.complete()) return {};
  Applied applied;
  for (auto it = endpoints_.begin(); it != endpoints_.end();) {
    const auto next = std::next(it);
    if (!parts_.contains(it->first)) Remove(it, &applied);
    it = next;
  }
  for (auto& [key, endpoint] : parts_) Upsert(std::move(endpoint), &applied);
  parts_.clear();
  applied.new_epoch = revision_.epoch() != 0 && snapshot.revision().epoch() != revision_.epoch();
  revision_ = snapshot.revision();
  resumable_ = true;
  applied.empty_reason = snapshot.empty_reason();
  Check(snapshot.checksum(), &applied);
  return applied;
}

EndpointSet::Applied EndpointSet::ApplyChange(const v1::Change& change) {
  Applied applied;
  if (!resumable_) {
    applied.problem = "a change came before a complete snapshot";
    return applied;
  }
  for (const auto& key : change.removed()) {
    const auto it = endpoints_.find({key.node(), key.id()});
    if (it != endpoints_.end()) Remove(it, &applied);
  }
  for (const auto& endpoint : change.upserted()) {
    Upsert(std::make_shared<const Endpoint>(FromWire(endpoint)), &applied);
  }
  revision_.set_seq(change.to_seq());
  applied.empty_reason = change.empty_reason();
  Check(change.checksum(), &applied);
  return applied;
}

void EndpointSet::Upsert(EndpointPtr endpoint, Applied* applied) {
  const auto [it, inserted] = endpoints_.try_emplace({endpoint->node, endpoint->id}, endpoint);
  if (inserted) {
    checksum_ += EndpointHash(*endpoint);
    applied->lines.push_back({'+', std::move(endpoint)});
    return;
  }
  if (*it->second == *endpoint) return;
  checksum_ += EndpointHash(*endpoint) - EndpointHash(*it->second);
  it->second = endpoint;
  applied->lines.push_back({'~', std::move(endpoint)});
}

void EndpointSet::Remove(Endpoints::iterator it, Applied* applied) {
  checksum_ -= EndpointHash(*it->second);
  applied->lines.push_back({'-', std::move(it->second)});
  endpoints_.erase(it);
}

std::vector<EndpointPtr> EndpointSet::List() const {
  std::vector<EndpointPtr> list;
  list.reserve(endpoints_.size());
  for (const auto& [key, endpoint] : endpoints_) list.push_back(endpoint);
  return list;
}

void EndpointSet::Check(uint64_t expected, Applied* applied) {
  applied->complete = true;
  if (checksum_ == expected) return;
  resumable_ = false;
  applied->problem = absl::StrCat("the checksum is ", absl::Hex(checksum_, absl::kZeroPad16),
                                  " but the server says ", absl::Hex(expected, absl::kZeroPad16));
}

std::optional<v1::Resume> EndpointSet::resume() const {
  if (!resumable_) return std::nullopt;
  v1::Resume resume;
  *resume.mutable_revision() = revision_;
  resume.set_checksum(checksum_);
  return resume;
}

}  // namespace muster::client
