#include "server/health/run.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/net_address.h"
#include "base/text.h"
#include "server/health/output.h"

namespace muster::health {
namespace {

class RunProbe : public Probe {
 public:
  explicit RunProbe(std::shared_ptr<Run> run) : run_(std::move(run)) {}
  ~RunProbe() override { run_->Cancel(); }

 private:
  const std::shared_ptr<Run> run_;
};

}  // namespace

Run::Run(ProbeEnvironment& environment, const Target& target, absl::Duration timeout,
         ProbeDone done)
    : environment_(environment),
      target_(target),
      timeout_(timeout),
      done_(std::move(done)),
      timer_(environment.loop) {}

void Run::Begin() {
  timer_.expires_after(absl::ToChronoNanoseconds(timeout_));
  Wait();
  NowDoing("resolving", target_.host);
  boost::asio::post(environment_.loop, [self = shared_from_this()] {
    if (!self->over()) self->Find();
  });
}

void Run::Wait() {
  timer_.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (error || self->over()) return;
    if (self->endpoints_.empty() && self->resolving_ != nullptr && !*self->resolving_) {
      return self->Finish({ProbeResult::Outcome::kNotRun, false,
                           absl::StrCat(self->TimeoutMessage(), ", behind other names")});
    }
    self->OnTimeout();
  });
}

void Run::Find() {
  boost::system::error_code error;
  const auto literal = boost::asio::ip::make_address(target_.host, error);
  if (!error) return OnAddresses({literal});
  resolving_ = environment_.resolver->Resolve(
      target_.host, weak_from_this(),
      [weak = weak_from_this()](absl::StatusOr<Resolver::Addresses> addresses) {
        const auto self = weak.lock();
        if (self == nullptr || self->over()) return;
        if (addresses.ok()) return self->OnAddresses(*addresses);
        self->Finish(Failing(false, base::Sv(addresses.status().message())));
      });
}

void Run::OnAddresses(const Resolver::Addresses& addresses) {
  auto endpoints = AllowedEndpoints(environment_.guard, addresses, target_.port);
  if (!endpoints.ok()) return Finish(Failing(false, base::Sv(endpoints.status().message())));
  endpoints_ = *std::move(endpoints);
  TryNext();
}

bool Run::TryNext() {
  if (next_ == endpoints_.size()) return false;
  const auto& endpoint = endpoints_[next_++];
  peer_ = base::FormatHostPort({endpoint.address().to_string(), endpoint.port()});
  NowDoing("connecting to", peer_);
  KeepToThis();
  if (next_ < endpoints_.size()) StartShare();
  Try(endpoint);
  return true;
}

void Run::StartShare() {
  share_.emplace(environment_.loop);
  share_->expires_after(
      absl::ToChronoNanoseconds(timeout_ / static_cast<double>(endpoints_.size())));
  share_->async_wait([self = shared_from_this(), tried = next_](boost::system::error_code error) {
    if (!error && !self->over() && self->share_ && self->next_ == tried) self->AbandonTry();
  });
}

void Run::KeepToThis() { share_.reset(); }

void Run::Extend(absl::Duration duration) {
  timer_.expires_after(absl::ToChronoNanoseconds(duration));
  Wait();
}

void Run::Shorten(absl::Duration duration) {
  const auto deadline = timer_.expiry();
  timer_.expires_after(absl::ToChronoNanoseconds(duration));
  if (timer_.expiry() > deadline) timer_.expires_at(deadline);
  Wait();
}

void Run::Cancel() {
  if (over()) return;
  done_ = nullptr;
  timer_.cancel();
  share_.reset();
  Release();
}

void Run::Finish(ProbeResult result) {
  const ProbeDone done = std::exchange(done_, nullptr);
  timer_.cancel();
  share_.reset();
  Release();
  done(std::move(result));
}

void Run::NowDoing(std::string_view doing, std::string whom) {
  doing_ = doing;
  whom_ = std::move(whom);
}

std::string Run::TimeoutMessage() const {
  return absl::StrCat("timed out after ", base::FormatDuration(timeout_), " ", base::Av(doing_),
                      " ", whom_);
}

void Run::OnTimeout() { Finish(Failing(answered_, TimeoutMessage())); }

std::unique_ptr<Probe> BeginRun(std::shared_ptr<Run> run) {
  run->Begin();
  return std::make_unique<RunProbe>(std::move(run));
}

}  // namespace muster::health
