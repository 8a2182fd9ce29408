#include "server/rpc/watch_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"
#include "server/core/instance.h"
#include "server/core/query.h"
#include "server/rpc/slices.h"

namespace muster::rpc {
namespace {

using base::MakeError;
using base::Reason;
using Phase = Subscription::Phase;

constexpr size_t kMaxCachedChanges = 8;
constexpr size_t kMaxSelected = 256;
// gRPC clients take 4 MiB unless told otherwise; more than this goes as a snapshot in parts.
constexpr size_t kMaxChangeBytes = 3 * 1024 * 1024;

absl::Status TooMany(std::string_view field, uint64_t max) {
  return base::WithField(
      MakeError(absl::StatusCode::kResourceExhausted, Reason::kLimitSubscriptions,
                absl::StrCat("too many subscriptions: ", base::Av(field), " is ", max)),
      "subscribe");
}

// What a subscription's selector counts for.
uint64_t BytesOf(const core::Selector& selector) {
  return selector.is_default() ? 0 : selector.canonical().size();
}

// A service that is not known, or its view.
std::shared_ptr<const core::ServiceView> ViewOf(const core::Catalog& catalog,
                                                const WatchedService& service) {
  const auto info = catalog.GetByKey(service.key);
  return info ? info->view : nullptr;
}

core::Selection SelectionOf(Subscription& s, const core::ServiceView* view) {
  if (view == nullptr || s.selector->is_default()) return core::Select(view, *s.selector);
  WatchedService& service = *s.service;
  if (service.selected == nullptr) service.selected = std::make_unique<WatchedService::Selected>();
  WatchedService::Selected& selected = *service.selected;
  if (selected.seq != view->seq() || selected.selections.size() > kMaxSelected) {
    selected.selections.clear();
    selected.seq = view->seq();
  }
  const auto [it, inserted] = selected.selections.try_emplace(s.selector);
  if (inserted) it->second = core::Select(view, *s.selector);
  return it->second;
}

void Hold(Subscription& s, uint64_t cursor, const core::Selection& selection) {
  s.cursor = cursor;
  s.checksum = selection.checksum;
  s.empty_reason = selection.empty_reason;
}

}  // namespace

absl::Status WatchSession::Handle(const v1::WatchRequest& request) {
  switch (request.request_case()) {
    case v1::WatchRequest::kSubscribe:
      Subscribe(request.subscribe());
      return absl::OkStatus();
    case v1::WatchRequest::kUnsubscribe:
      End(request.unsubscribe().sub_id());
      control_.push_back(UnsubscribedEvent(request.unsubscribe().sub_id()));
      return absl::OkStatus();
    case v1::WatchRequest::kAck:
      TakeAck(request.ack());
      return absl::OkStatus();
    default:
      return base::WithField(MakeError(absl::StatusCode::kInvalidArgument, Reason::kInvalidField,
                                       "request holds none of subscribe, unsubscribe, ack"),
                             "request");
  }
}

void WatchSession::Subscribe(const v1::Subscribe& request) {
  auto made = Validate(request);
  if (!made.ok()) {
    // An error always means that nothing more comes for this id.
    End(request.sub_id());
    control_.push_back(ErrorEvent(request.sub_id(), made.status()));
    return;
  }
  Subscription& s = **made;
  subscriptions_.emplace(s.sub_id, *std::move(made));
  ++shared_.subscriptions;
  MarkReady(s);
}

// One that was never told so much, or isn't to confirm anything, says nothing by it.
void WatchSession::TakeAck(const v1::Ack& ack) {
  const auto found = subscriptions_.find(ack.sub_id());
  if (found == subscriptions_.end() || !found->second->acks) return;
  Subscription& s = *found->second;
  const uint64_t before = s.acked;
  s.acked = std::max(before, std::min(ack.seq(), s.told));
  if (s.acked != before) shared_.drains.Acked(s, before);
}

absl::StatusOr<std::unique_ptr<Subscription>> WatchSession::Validate(const v1::Subscribe& request) {
  if (subscriptions_.contains(request.sub_id())) {
    return base::WithField(
        MakeError(absl::StatusCode::kInvalidArgument, Reason::kInvalidField,
                  absl::StrCat("sub_id ", request.sub_id(), " is taken; both end")),
        "subscribe.sub_id");
  }
  if (subscriptions_.size() >= shared_.limits.subscriptions_per_stream) {
    return TooMany("limits.subscriptions_per_stream", shared_.limits.subscriptions_per_stream);
  }
  if (shared_.subscriptions >= shared_.limits.subscriptions) {
    return TooMany("limits.subscriptions", shared_.limits.subscriptions);
  }
  const auto ns = core::NormalNamespace(request.namespace_(), "subscribe.namespace");
  if (!ns.ok()) return ns.status();
  const auto service = core::NormalName("service name", request.service(), "subscribe.service");
  if (!service.ok()) return service.status();
  auto selector = core::Selector::Compile(request.selector());
  if (!selector.ok()) return selector.status();
  if (absl::Status room = CheckRoom(**selector); !room.ok()) return room;
  auto s = std::make_unique<Subscription>();
  s->session = this;
  s->sub_id = request.sub_id();
  s->selector = Intern(*std::move(selector));
  s->acks = request.acks();
  if (request.has_resume()) {
    s->resume = std::make_unique<v1::Resume>(request.resume());
    s->resume->DiscardUnknownFields();
    // What it holds of another past may be anything.
    const bool same_past = s->resume->revision().epoch() == shared_.catalog.revision().epoch;
    s->since = same_past ? s->resume->revision().seq() : 0;
  }
  Follow(*s, storage::EncodeServiceKey(*ns, *service));
  if (request.has_resume()) s->owes = shared_.drains.Resumed(*s);
  return s;
}

absl::Status WatchSession::CheckRoom(const core::Selector& selector) const {
  const uint64_t size = BytesOf(selector);
  const auto full = [&](uint64_t used, std::string_view whose, uint64_t subscriptions) {
    const uint64_t max = subscriptions * shared_.limits.selector_bytes_each;
    if (size == 0 || used == 0 || used + size <= max) return absl::OkStatus();
    return base::WithField(
        MakeError(absl::StatusCode::kResourceExhausted, Reason::kLimitSubscriptions,
                  absl::StrCat("selectors of ", base::Av(whose), " have ", used, " bytes and this ",
                               size, "; at most ", max)),
        "subscribe.selector");
  };
  absl::Status status =
      full(selector_bytes_, "this stream", shared_.limits.subscriptions_per_stream);
  status.Update(full(shared_.selector_bytes, "all streams", shared_.limits.subscriptions));
  return status;
}

std::shared_ptr<const core::Selector> WatchSession::Intern(
    std::shared_ptr<const core::Selector> selector) {
  if (selector->is_default()) return core::Selector::Default();
  std::weak_ptr<const core::Selector>& slot = shared_.selectors[selector->canonical()];
  if (auto present = slot.lock()) return present;
  slot = selector;
  return selector;
}

void WatchSession::Follow(Subscription& s, std::string service_key) {
  const auto present = shared_.services.find(std::string_view(service_key));
  if (present != shared_.services.end()) {
    s.service = present->get();
  } else {
    auto service = std::make_unique<WatchedService>();
    service->key = std::move(service_key);
    // Before its view is read: no change can fall between.
    shared_.hub.Follow(shared_.listener, service->key);
    s.service = service.get();
    shared_.services.insert(std::move(service));
  }
  s.place = s.service->subscriptions.size();
  s.service->subscriptions.push_back(&s);
  selector_bytes_ += BytesOf(*s.selector);
  shared_.selector_bytes += BytesOf(*s.selector);
}

void WatchSession::End(uint64_t sub_id) {
  const auto it = subscriptions_.find(sub_id);
  if (it == subscriptions_.end()) return;
  Subscription& s = *it->second;
  shared_.drains.Ended(s);
  if (s.ready) std::erase(ready_, &s);
  selector_bytes_ -= BytesOf(*s.selector);
  shared_.selector_bytes -= BytesOf(*s.selector);
  // Whoever else asks for the same selects anew, once.
  if (s.service->selected != nullptr) s.service->selected->selections.erase(s.selector);
  std::vector<Subscription*>& others = s.service->subscriptions;
  others[s.place] = others.back();
  others[s.place]->place = s.place;
  others.pop_back();
  if (others.empty()) {
    shared_.hub.Unfollow(shared_.listener, s.service->key);
    shared_.services.erase(std::string_view(s.service->key));
  }
  subscriptions_.erase(it);
  --shared_.subscriptions;
}

void WatchSession::Clear() {
  ready_.clear();
  control_.clear();
  for (auto& [id, s] : subscriptions_) s->ready = false;
  while (!subscriptions_.empty()) End(subscriptions_.begin()->first);
  budget_.Leave();
  budget_.Give();
}

void WatchSession::MarkReady(Subscription& s) {
  if (s.ready) return;
  s.ready = true;
  ready_.push_back(&s);
}

std::optional<grpc::ByteBuffer> WatchSession::Next() {
  budget_.Give();
  if (!control_.empty()) {
    grpc::ByteBuffer event = std::move(control_.front());
    control_.pop_front();
    return event;
  }
  while (!ready_.empty()) {
    Subscription& s = *ready_.front();
    const bool was_live = s.phase == Phase::kLive;
    auto event = EventFor(s);
    if (!event && s.phase == Phase::kSnapshot) return std::nullopt;  // it is not its turn
    if (event && s.phase != Phase::kLive) return event;  // the rest of its snapshot comes next
    ready_.pop_front();
    s.ready = false;
    if (!event) {
      if (TellHeld(s)) return Next();
      continue;
    }
    // What changed while a snapshot was on its way, and what is held.
    if (!was_live || s.held != nullptr || shared_.held.any()) MarkReady(s);
    return event;
  }
  return std::nullopt;
}

std::optional<grpc::ByteBuffer> WatchSession::EventFor(Subscription& s) {
  switch (s.phase) {
    case Phase::kStart:
      return Start(s);
    case Phase::kReset:
      s.phase = Phase::kSnapshot;
      s.snapshot.reset();
      return ResetEvent(s.sub_id, s.reset);
    case Phase::kSnapshot:
      return SnapshotPart(s);
    case Phase::kLive:
      return Live(s);
  }
  return std::nullopt;
}

std::optional<grpc::ByteBuffer> WatchSession::Start(Subscription& s) {
  const std::unique_ptr<v1::Resume> resume = std::move(s.resume);
  if (resume != nullptr) return ResumeFrom(s, *resume);
  s.phase = Phase::kSnapshot;
  return SnapshotPart(s);
}

grpc::ByteBuffer WatchSession::ResetTo(Subscription& s, v1::Reset::Reason reason) {
  s.phase = Phase::kSnapshot;
  s.snapshot.reset();
  return ResetEvent(s.sub_id, reason);
}

std::optional<grpc::ByteBuffer> WatchSession::ResumeFrom(Subscription& s,
                                                         const v1::Resume& resume) {
  // Before the view: what was applied up to here is in the view.
  const storage::Revision revision = shared_.catalog.revision();
  const auto view = ViewOf(shared_.catalog, *s.service);
  const uint64_t from = resume.revision().seq();
  const uint64_t to = std::max(revision.seq, view == nullptr ? 0 : view->seq());
  // A revision that this store has not reached is of another past.
  if (resume.revision().epoch() != revision.epoch || from > to) {
    return ResetTo(s, v1::Reset::EPOCH_CHANGED);
  }
  const core::Selection selection = SelectionOf(s, view.get());
  core::DeltaResult delta;
  if (resume.checksum() != 0 && (view == nullptr || from < view->floor())) {
    return ResetTo(s, v1::Reset::TOO_OLD);
  }
  // Who held nothing needs no deletions, so no floor.
  if (view != nullptr) delta = core::Delta(*view, *s.selector, from);
  if (delta.upserted.empty() && delta.removed.empty() && selection.checksum != resume.checksum()) {
    return ResetTo(s, v1::Reset::CHECKSUM_MISMATCH);
  }
  std::string change = EncodeChange(delta, to, selection);
  if (change.size() > kMaxChangeBytes) return ResetTo(s, v1::Reset::TOO_OLD);
  s.phase = Phase::kLive;
  Hold(s, view == nullptr ? revision.seq : view->seq(), selection);
  s.told = to;
  return ChangeFor(s, from, to, OwnedSlice(std::move(change)));
}

std::optional<grpc::ByteBuffer> WatchSession::SnapshotPart(Subscription& s) {
  if (budget_.waits()) return std::nullopt;
  if (s.snapshot == nullptr) {
    s.snapshot = std::make_unique<SnapshotProgress>();
    s.snapshot->revision = shared_.catalog.revision();
    s.snapshot->view = ViewOf(shared_.catalog, *s.service);
    s.snapshot->selection = SelectionOf(s, s.snapshot->view.get());
    s.snapshot->since = shared_.clock.Steady();
  }
  SnapshotProgress& snapshot = *s.snapshot;
  const core::ServiceView* view = snapshot.view.get();
  core::QueryPage page;
  if (view != nullptr) {
    page = core::RunQuery(*view, {.selector = s.selector.get(),
                                  .near = {},
                                  .after = snapshot.begun ? &snapshot.last : nullptr,
                                  .limit = shared_.limits.snapshot_part,
                                  .max_bytes = shared_.limits.snapshot_part_bytes});
  }
  if (!budget_.Take(page.bytes)) {
    // Whoever waits keeps no view: it begins with the one of its turn.
    if (!snapshot.begun) s.snapshot.reset();
    return std::nullopt;
  }
  const uint64_t cursor = view == nullptr ? snapshot.revision.seq : view->seq();
  s.since = std::min(s.since, cursor);
  if (page.more) {
    snapshot.begun = true;
    auto event = SnapshotEvent(s.sub_id, page, {}, nullptr);
    snapshot.last = std::move(page.last);
    return event;
  }
  snapshot.revision.seq = std::max(snapshot.revision.seq, cursor);
  auto event = SnapshotEvent(s.sub_id, page, snapshot.revision, &snapshot.selection);
  Hold(s, cursor, snapshot.selection);
  s.told = snapshot.revision.seq;
  s.phase = Phase::kLive;
  s.snapshot.reset();
  return event;
}

std::optional<grpc::ByteBuffer> WatchSession::Live(Subscription& s) {
  const storage::Revision revision = shared_.catalog.revision();
  const auto view = ViewOf(shared_.catalog, *s.service);
  if (s.checksum != 0 && (view == nullptr || s.cursor < view->floor())) {
    return ResetTo(s, v1::Reset::TOO_OLD);
  }
  const core::Selection selection = SelectionOf(s, view.get());
  const bool same = selection.checksum == s.checksum && selection.empty_reason == s.empty_reason;
  std::optional<grpc::ByteBuffer> event;
  const uint64_t to = view == nullptr ? std::max(s.told, revision.seq) : view->seq();
  if (!same || s.owes) {
    // With nothing new in it a change goes no further back than what was told before.
    const uint64_t up_to = std::max(s.told, to);
    const grpc::Slice change = same || view == nullptr
                                   ? OwnedSlice(EncodeChange({}, up_to, selection))
                                   : ChangeOf(s, *view, selection);
    if (change.size() > kMaxChangeBytes) return ResetTo(s, v1::Reset::TOO_OLD);
    event = ChangeFor(s, s.told, up_to, change);
    s.told = up_to;
  }
  Hold(s, to, selection);
  return event;
}

bool WatchSession::TellHeld(Subscription& s) {
  const auto held = shared_.held.Of(s.service->key);
  if (held == nullptr && s.held == nullptr) return false;
  if (s.held == nullptr) s.held = std::make_unique<ToldHeld>();
  auto events = s.held->Tell(s.sub_id, held.get());
  if (held == nullptr) s.held = nullptr;
  for (grpc::ByteBuffer& event : events) control_.push_back(std::move(event));
  return !events.empty();
}

grpc::ByteBuffer WatchSession::ChangeFor(Subscription& s, uint64_t from, uint64_t to,
                                         const grpc::Slice& change) {
  const bool asks = s.acks && (s.owes || shared_.drains.expects(s.service->key));
  if (asks) s.asked = to;
  s.owes = false;
  return ChangeEvent(s.sub_id, from, change, asks);
}

grpc::Slice WatchSession::ChangeOf(Subscription& s, const core::ServiceView& view,
                                   const core::Selection& selection) {
  std::vector<WatchedService::Cached>& cache = s.service->cache;
  for (const WatchedService::Cached& cached : cache) {
    if (cached.to == view.seq() && cached.from == s.cursor && cached.selector == s.selector) {
      return cached.change;
    }
  }
  const core::DeltaResult delta = core::Delta(view, *s.selector, s.cursor);
  grpc::Slice change = OwnedSlice(EncodeChange(delta, view.seq(), selection));
  std::erase_if(cache, [&](const auto& cached) { return cached.to != view.seq(); });
  if (cache.size() >= kMaxCachedChanges) cache.erase(cache.begin());
  cache.push_back({s.selector, s.cursor, view.seq(), change});
  return change;
}

void WatchSession::DropStalledSnapshots(base::SteadyTime begun_before) {
  for (Subscription* s : ready_) {
    if (s->snapshot == nullptr || s->snapshot->since > begun_before) continue;
    if (ViewOf(shared_.catalog, *s->service) == s->snapshot->view) continue;
    s->snapshot.reset();
    s->phase = Phase::kReset;
    s->reset = v1::Reset::TOO_OLD;
  }
}

}  // namespace muster::rpc
