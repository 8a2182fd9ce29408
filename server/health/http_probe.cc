#include "server/health/http_probe.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "server/health/http_answer.h"
#include "server/health/output.h"
#include "server/health/socket_run.h"

namespace muster::health {
namespace {

class HttpRun : public SocketRun {
 public:
  HttpRun(ProbeEnvironment& environment, std::shared_ptr<const HttpPlan> plan, ProbeDone done)
      : SocketRun(environment, plan->target, plan->timeout, std::move(done)),
        plan_(std::move(plan)),
        answer_(plan_->head) {}

 private:
  void OnConnected() override {
    NowDoing("waiting for the answer's head from");
    Write(boost::asio::buffer(plan_->request), [this](ErrorCode error, size_t /*bytes*/) {
      if (error) return OnBroken(error);
      Read();
    });
  }

  void Read() {
    ReadSome(boost::asio::buffer(piece_),
             [this](ErrorCode error, size_t bytes) { OnRead(error, bytes); });
  }

  void OnRead(ErrorCode error, size_t bytes) {
    if (bytes > 0) answered_ = bytes_came_ = true;
    const bool headless = !answer_.has_head();
    bool enough = bytes > 0 && answer_.Feed({piece_.data(), bytes});
    if (headless && answer_.has_head()) OnHead();
    if (!enough) enough = answer_.has_head() && HasWanted();
    if (enough) return Judge();
    if (error) return OnBroken(error);
    Read();
  }

  void OnHead() {
    outcome_ = JudgeStatus(*plan_, answer_.status());
    wants_text_ = !plan_->body_contains.empty() && outcome_ == ProbeResult::Outcome::kPassing;
    NowDoing("waiting for the body from");
    if (!wants_text_) Shorten(timeout_ / 10);
  }

  // What is there of the body decides already.
  bool HasWanted() {
    if (!wants_text_) return answer_.body().size() >= kMaxOutput;
    return FindText();
  }

  bool FindText() {
    const std::string& text = plan_->body_contains;
    found_ = found_ || answer_.body().find(text, searched_) != std::string_view::npos;
    // The text may begin in what was searched and end in what comes.
    const size_t size = answer_.body().size();
    searched_ = size < text.size() ? 0 : size - text.size() + 1;
    return found_;
  }

  // The connection has ended. Whoever closes one is there: reached.
  void OnBroken(ErrorCode error) {
    const bool closed =
        error == boost::asio::error::eof || error == boost::asio::ssl::error::stream_truncated;
    // Of what came, the end of the connection may be the end of the body.
    if (answer_.has_head() || (closed && bytes_came_)) {
      answer_.End();
      return Judge();
    }
    const std::string why = closed ? absl::StrCat("the connection was closed by ", peer())
                            : error == boost::asio::error::connection_reset
                                ? absl::StrCat("the connection was reset by ", peer())
                                : absl::StrCat(peer(), ": ", error.message());
    Finish(Failing(true, absl::StrCat("no HTTP answer: ", why)));
  }

  void OnTimeout() override {
    if (answer_.has_head() && !wants_text_) return Judge();
    if (!answer_.has_head()) return Finish(Failing(answered_, TimeoutMessage()));
    Finish(Failing(true, Output(TimeoutMessage())));
  }

  void Judge() {
    if (!answer_.has_head()) {
      return Finish(Failing(true, absl::StrCat("no HTTP answer: ", answer_.problem())));
    }
    if (!wants_text_ || FindText()) return Finish({outcome_, true, Output("")});
    if (!answer_.problem().empty()) return Finish(Failing(true, Output(answer_.problem())));
    Finish(Failing(
        true, Output(absl::StrCat(answer_.body_cut() ? "the first 64 KiB of the body don't contain "
                                                     : "the body doesn't contain ",
                                  base::Quoted(plan_->body_contains)))));
  }

  // "HTTP 500 Internal Server Error: <problem>: <body>".
  std::string Output(std::string_view problem) const {
    const std::string_view body = answer_.body().substr(0, kMaxOutput);
    return ToUtf8(absl::StrCat("HTTP ", answer_.status(), answer_.reason().empty() ? "" : " ",
                               answer_.reason(), problem.empty() ? "" : ": ", base::Av(problem),
                               body.empty() ? "" : ": ", base::Av(body)));
  }

  const std::shared_ptr<const HttpPlan> plan_;
  HttpAnswer answer_;
  ProbeResult::Outcome outcome_ = ProbeResult::Outcome::kFailing;
  bool bytes_came_ = false;
  bool wants_text_ = false;
  bool found_ = false;
  size_t searched_ = 0;
  std::array<char, 4096> piece_;
};

class HttpProber : public Prober {
 public:
  HttpProber(ProbeEnvironment& environment, HttpPlan plan)
      : environment_(environment), plan_(std::make_shared<const HttpPlan>(std::move(plan))) {}

  std::unique_ptr<Probe> Start(ProbeDone done) override {
    return BeginRun(std::make_shared<HttpRun>(environment_, plan_, std::move(done)));
  }

 private:
  ProbeEnvironment& environment_;
  const std::shared_ptr<const HttpPlan> plan_;
};

}  // namespace

std::unique_ptr<Prober> MakeHttpProber(ProbeEnvironment& environment, HttpPlan plan) {
  return std::make_unique<HttpProber>(environment, std::move(plan));
}

}  // namespace muster::health
