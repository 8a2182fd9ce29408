#include "client/feed.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"

namespace muster::client {

Feed::Feed(Scheduler& scheduler, WatchTransport& transport, base::Rng& rng, Options options,
           Sink& sink)
    : scheduler_(scheduler),
      transport_(transport),
      rng_(rng),
      options_(options),
      sink_(sink),
      failover_(transport.servers(), rng, options.failover) {}

Feed::~Feed() { scheduler_.Cancel(timer_); }

Following::Id Feed::Add(v1::Subscribe wanted) {
  const Following::Id id = following_.Add(std::move(wanted));
  if (stream_ == nullptr && timer_ == 0) Open();
  Write();
  return id;
}

void Feed::Remove(Following::Id id) {
  following_.Remove(id);
  if (following_.size() == 0) Close();
  Write();
}

void Feed::Confirm(Following::Id id, const v1::Ack& ack) {
  following_.Confirm(id, ack);
  Write();
}

void Feed::Close() {
  stream_ = nullptr;
  alive_ = nullptr;
  following_.StreamLost();
  connected_ = false;
  scheduler_.Cancel(std::exchange(timer_, 0));
}

template <typename Argument>
std::function<void(Argument)> Feed::Posted(void (Feed::*handle)(Argument)) {
  // It outlives the feed in the hands of a stream that ends.
  return [this, handle, &scheduler = scheduler_,
          alive = std::weak_ptr<Alive>(alive_)](std::decay_t<Argument> argument) {
    scheduler.Post([this, handle, alive, argument = std::move(argument)]() mutable {
      if (!alive.expired()) (this->*handle)(std::move(argument));
    });
  };
}

void Feed::Open() {
  timer_ = 0;
  // On a stream without subscriptions nothing ever comes.
  if (following_.live() == 0) return;
  alive_ = std::make_shared<Alive>();
  opened_ = scheduler_.Now();
  following_.StreamOpened();
  stream_ = transport_.Open(failover_.server(),
                            {.on_event = Posted(&Feed::OnEvent), .on_end = Posted(&Feed::OnEnd)});
  Expect(options_.first_event * (1 << std::min(failover_.rounds(), 4)));
  Write();
}

void Feed::Write() {
  if (stream_ == nullptr) return;
  while (auto request = following_.NextRequest()) stream_->Write(*std::move(request));
}

void Feed::Expect(absl::Duration within) {
  scheduler_.Cancel(timer_);
  timer_ = scheduler_.At(scheduler_.Now() + within,
                         [this, within, events = events_, alive = std::weak_ptr<Alive>(alive_)] {
                           // Behind what has come already and waits.
                           scheduler_.Post([this, within, events, alive] {
                             if (alive.expired() || events_ != events) return;
                             Fail(absl::DeadlineExceededError(absl::StrCat(
                                 "nothing came within ", base::FormatDuration(within))));
                           });
                         });
}

void Feed::OnEvent(const v1::WatchResponse& event) {
  connected_ = true;
  ++events_;
  heard_ = scheduler_.Now();
  lost_ = absl::OkStatus();
  failover_.Answered();
  Expect(options_.silence);
  const auto update = following_.Take(event);
  Write();
  stream_->ReadNext();
  if (!update) return;
  if (following_.ended(update->id)) AskAgainLater(update->id);
  // Last: it may add and remove.
  sink_.OnUpdate(*update, following_.set(update->id));
}

void Feed::OnEnd(absl::Status status) {
  Fail(status.ok() ? absl::UnavailableError("the server ended the stream") : std::move(status));
}

void Feed::Fail(absl::Status status) {
  lost_ = absl::Status(
      status.code(), absl::StrCat(transport_.address(failover_.server()), ": ", status.message()));
  const bool was_good = connected_ && scheduler_.Now() - opened_ >= options_.good;
  Close();
  const Failover::Next next = failover_.Failed(status, was_good);
  timer_ = scheduler_.At(scheduler_.Now() + next.pause, [this] { Open(); });
  sink_.OnLost(lost_, next);
}

void Feed::AskAgainLater(Following::Id id) {
  const absl::Duration pause = options_.refused * (1 + rng_.Unit()) / 2;
  scheduler_.At(scheduler_.Now() + pause, [this, id, exists = std::weak_ptr<Alive>(exists_)] {
    if (exists.expired() || !following_.Has(id)) return;
    following_.AskAgain(id);
    if (stream_ == nullptr && timer_ == 0) Open();
    Write();
  });
}

}  // namespace muster::client
