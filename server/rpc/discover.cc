#include "server/rpc/discover.h"

#include <google/protobuf/arena.h>

#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "server/core/delta.h"
#include "server/core/field_rules.h"
#include "server/core/instance.h"
#include "server/core/query.h"
#include "server/core/selector.h"
#include "server/rpc/held.h"
#include "server/rpc/page_token.h"
#include "server/rpc/slices.h"

namespace muster::rpc {
namespace {

using base::MakeError;
using base::Reason;

// All of an answer but its endpoints, as long as none is held: no message in it asks the heap.
constexpr size_t kArenaBlock = 1024;

// A request that was found valid.
struct Wanted {
  std::string service_key;
  std::shared_ptr<const core::Selector> own_selector;  // null: the default one
  std::optional<PageToken> token;

  const core::Selector& selector() const {
    return own_selector == nullptr ? *core::Selector::Default() : *own_selector;
  }
};

absl::Status PageTokenExpired() {
  return MakeError(absl::StatusCode::kAborted, Reason::kPageTokenExpired,
                   "page_token: the set that it pages through is no longer held; start again "
                   "without one");
}

absl::Status CheckNear(const v1::Locality& near) {
  using core::FieldRef;
  absl::Status status = core::CheckText(FieldRef{"near", "region"}, near.region(), 0, 128);
  status.Update(core::CheckText(FieldRef{"near", "zone"}, near.zone(), 0, 128));
  status.Update(core::CheckText(FieldRef{"near", "sub_zone"}, near.sub_zone(), 0, 128));
  return status;
}

// Of what has to stay the same from page to page.
uint64_t HashOf(const Wanted& wanted, const v1::DiscoverRequest& request) {
  // Each part with its size: names may hold any character.
  std::string how;
  for (const std::string& part :
       {wanted.selector().canonical(), request.near().region(), request.near().zone()}) {
    absl::StrAppend(&how, part.size(), ":", part);
  }
  if (request.has_panic()) how.push_back(request.panic() ? '1' : '0');
  return core::EndpointHash(wanted.service_key, how, request.limit());
}

absl::StatusOr<Wanted> Validate(const v1::DiscoverRequest& request) {
  Wanted wanted;
  auto ns = core::NormalNamespace(request.namespace_(), "namespace");
  if (!ns.ok()) return ns.status();
  auto service = core::NormalName("service name", request.service(), "service");
  if (!service.ok()) return service.status();
  if (request.has_selector()) {
    auto selector = core::Selector::Compile(request.selector());
    if (!selector.ok()) return selector.status();
    wanted.own_selector = *std::move(selector);
  }
  if (absl::Status status = CheckNear(request.near()); !status.ok()) return status;
  wanted.service_key = storage::EncodeServiceKey(*ns, *service);
  if (request.page_token().empty()) return wanted;
  auto token = DecodePageToken(request.page_token());
  if (!token.ok()) return token.status();
  if (token->request != HashOf(wanted, request)) return PageTokenInvalid("is of another request");
  wanted.token = *std::move(token);
  return wanted;
}

void SetRevision(storage::Revision from, v1::Revision* to) {
  to->set_epoch(from.epoch);
  to->set_seq(from.seq);
}

void SetFrozen(const ServerState& state, v1::DiscoverResponse& tail) {
  const auto since = state.frozen_since();
  if (!since) return;
  tail.mutable_frozen_since()->set_seconds(since->us / 1'000'000);
  tail.mutable_frozen_since()->set_nanos(static_cast<int32_t>(since->us % 1'000'000) * 1000);
}

}  // namespace

void PinnedViews::Pin(const std::string& service_key,
                      std::shared_ptr<const core::ServiceView> view) {
  const uint64_t seq = view->seq();
  base::MutexLock lock(mu_);
  DropOldLocked();
  pinned_[{service_key, seq}] = {std::move(view), clock_.Steady() + kKeep};
  if (pinned_.size() <= kMax) return;
  pinned_.erase(std::min_element(pinned_.begin(), pinned_.end(), [](const auto& a, const auto& b) {
    return a.second.until < b.second.until;
  }));
}

std::shared_ptr<const core::ServiceView> PinnedViews::Get(const std::string& service_key,
                                                          uint64_t seq) {
  base::MutexLock lock(mu_);
  DropOldLocked();
  const auto it = pinned_.find(std::pair(service_key, seq));
  return it == pinned_.end() ? nullptr : it->second.view;
}

void PinnedViews::DropOld() {
  base::MutexLock lock(mu_);
  DropOldLocked();
}

void PinnedViews::DropOldLocked() {
  const base::SteadyTime now = clock_.Steady();
  absl::erase_if(pinned_, [now](const auto& entry) { return entry.second.until <= now; });
}

size_t PinnedViews::size() const {
  base::MutexLock lock(mu_);
  return pinned_.size();
}

bool Discoverer::Panics(const v1::DiscoverRequest& request, const std::string& service_key) const {
  if (request.has_panic()) return request.panic();
  const core::SettingsPtr settings = catalog_.SettingsOf(service_key);
  return settings != nullptr && settings->panic();
}

absl::Status Discoverer::Check(const v1::DiscoverRequest& request) {
  return Validate(request).status();
}

absl::StatusOr<grpc::ByteBuffer> Discoverer::Answer(const v1::DiscoverRequest& request) {
  const auto wanted = Validate(request);
  if (!wanted.ok()) return wanted.status();
  // Before the view: what was applied up to here is in the view.
  const storage::Revision revision = catalog_.revision();
  const std::string& key = wanted->service_key;
  std::shared_ptr<const core::ServiceView> view = catalog_.ViewByKey(key);
  const auto& token = wanted->token;
  if (token && (view == nullptr || view->seq() != token->seq)) {
    view = pinned_.Get(key, token->seq);
  }
  if (token && (view == nullptr || token->epoch != revision.epoch)) return PageTokenExpired();

  ReplyBytes reply;
  alignas(8) char block[kArenaBlock];
  google::protobuf::Arena arena(block, sizeof(block));
  v1::DiscoverResponse& tail =
      *google::protobuf::Arena::CreateMessage<v1::DiscoverResponse>(&arena);
  const core::Selection selection = core::Select(view.get(), wanted->selector());
  // None is as healthy as was asked for: those that match otherwise, if that is so wanted. Later
  // pages are of the set that the first one was of.
  const bool panic =
      token ? token->panic : selection.empty_reason == v1::ALL_UNHEALTHY && Panics(request, key);
  if (view != nullptr) {
    const auto any_health = panic ? wanted->selector().WithAnyHealth() : nullptr;
    const size_t limit = token ? token->remaining : request.limit();
    core::QueryPage page =
        core::RunQuery(*view, {.selector = panic ? any_health.get() : &wanted->selector(),
                               .near = request.near(),
                               .after = token ? &token->after : nullptr,
                               .limit = limit,
                               .max_bytes = kPageBytes});
    if (const auto held = held_.Of(key)) AddHeld(*held, page, tail);
    for (core::EndpointRun& run : page.runs) reply.Share(std::move(run.leaf), run.fields);
    tail.set_panic(panic && (token || page.count > 0));
    if (page.more && (limit == 0 || page.count < limit)) {
      tail.set_next_page_token(EncodePageToken({.request = HashOf(*wanted, request),
                                                .epoch = revision.epoch,
                                                .seq = view->seq(),
                                                .remaining = limit == 0 ? 0 : limit - page.count,
                                                .panic = panic,
                                                .after = std::move(page.last)}));
      pinned_.Pin(key, view);
    }
    SetRevision({revision.epoch, view->seq()}, tail.mutable_service_revision());
  }
  tail.set_checksum(selection.checksum);
  tail.set_empty_reason(selection.empty_reason);
  SetRevision(revision, tail.mutable_revision());
  SetFrozen(state_, tail);
  reply.Append(tail.SerializeAsString());
  return std::move(reply).Take();
}

}  // namespace muster::rpc
