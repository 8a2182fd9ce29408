#include "client/feed.h"

#include <algorithm>
#include <functional>
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
      // So that many clients spread over the servers.
      server_(static_cast<size_t>(rng.Unit() * static_cast<double>(transport.servers())) %
              transport.servers()) {}

Feed::~Feed() { scheduler_.Cancel(timer_); }

Following::Id Feed::Add(v1::Subscribe wanted) {
  const Following::Id id = following_.Add(std::move(wanted));
  if (stream_ == nullptr && timer_ == 0) Open();
  Write();
  return id;
}

void Feed::Remove(Following::Id id) {
  following_.Remove(id);
  Write();
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
  alive_ = std::make_shared<Alive>();
  following_.StreamOpened();
  stream_ = transport_.Open(server_,
                            {.on_event = Posted(&Feed::OnEvent), .on_end = Posted(&Feed::OnEnd)});
  Expect(options_.first_event);
  Write();
}

void Feed::Write() {
  if (stream_ == nullptr) return;
  while (auto request = following_.NextRequest()) stream_->Write(*std::move(request));
}

void Feed::Expect(absl::Duration within) {
  scheduler_.Cancel(timer_);
  timer_ = scheduler_.At(scheduler_.Now() + within, [this, within] {
    Fail(absl::DeadlineExceededError(
        absl::StrCat("nothing came within ", base::FormatDuration(within))));
  });
}

void Feed::OnEvent(const v1::WatchResponse& event) {
  connected_ = true;
  heard_ = scheduler_.Now();
  lost_ = absl::OkStatus();
  tried_ = 0;
  rounds_ = 0;
  Expect(options_.silence);
  const auto update = following_.Take(event);
  Write();
  stream_->ReadNext();
  if (!update) return;
  if (update->ended) AskAgainLater(update->id);
  // Last: it may add and remove.
  sink_.OnUpdate(*update, following_.set(update->id));
}

void Feed::OnEnd(absl::Status status) {
  Fail(status.ok() ? absl::UnavailableError("the server ended the stream") : std::move(status));
}

void Feed::Fail(absl::Status status) {
  lost_ = absl::Status(status.code(),
                       absl::StrCat(transport_.address(server_), ": ", status.message()));
  stream_ = nullptr;
  alive_ = nullptr;
  following_.StreamLost();
  connected_ = false;
  server_ = (server_ + 1) % transport_.servers();
  // Also with servers left to be tried: all clients of the one that died come at once.
  const absl::Duration pause = options_.pause.Delay(rounds_, rng_);
  if (++tried_ >= transport_.servers()) {
    tried_ = 0;
    ++rounds_;
  }
  scheduler_.Cancel(timer_);
  timer_ = scheduler_.At(scheduler_.Now() + pause, [this] { Open(); });
  sink_.OnLost(lost_);
}

void Feed::AskAgainLater(Following::Id id) {
  const absl::Duration pause = options_.refused * (1 + rng_.Unit()) / 2;
  scheduler_.At(scheduler_.Now() + pause, [this, id, exists = std::weak_ptr<Alive>(exists_)] {
    if (exists.expired() || !following_.Has(id)) return;
    following_.AskAgain(id);
    Write();
  });
}

}  // namespace muster::client
