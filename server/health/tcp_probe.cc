#include "server/health/tcp_probe.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/health/output.h"
#include "server/health/socket_run.h"

namespace muster::health {
namespace {

class TcpRun : public SocketRun {
 public:
  TcpRun(ProbeEnvironment& environment, std::shared_ptr<const Target> target,
         absl::Duration timeout, ProbeDone done)
      : SocketRun(environment, *target, timeout, std::move(done)), kept_(std::move(target)) {}

 private:
  void OnConnected() override {
    Finish(Passing(absl::StrCat("connected to ", peer(), kept_->tls ? " over TLS" : "")));
  }

  const std::shared_ptr<const Target> kept_;
};

class TcpProber : public Prober {
 public:
  TcpProber(ProbeEnvironment& environment, Target target, absl::Duration timeout)
      : environment_(environment),
        target_(std::make_shared<const Target>(std::move(target))),
        timeout_(timeout) {}

  std::unique_ptr<Probe> Start(ProbeDone done) override {
    return BeginRun(std::make_shared<TcpRun>(environment_, target_, timeout_, std::move(done)));
  }

 private:
  ProbeEnvironment& environment_;
  const std::shared_ptr<const Target> target_;
  const absl::Duration timeout_;
};

}  // namespace

std::unique_ptr<Prober> MakeTcpProber(ProbeEnvironment& environment, Target target,
                                      absl::Duration timeout) {
  return std::make_unique<TcpProber>(environment, std::move(target), timeout);
}

}  // namespace muster::health
