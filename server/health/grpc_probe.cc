#include "server/health/grpc_probe.h"

#include <utility>

#include "server/health/grpc_run.h"

namespace muster::health {
namespace {

class GrpcProber : public Prober {
 public:
  GrpcProber(ProbeEnvironment& environment, GrpcPlan plan)
      : check_(std::make_shared<GrpcCheck>(GrpcCheck{
            environment, plan,
            GrpcChannel(environment.tls->roots(), plan.timeout, environment.channels)})) {}

  std::unique_ptr<Probe> Start(ProbeDone done) override {
    return BeginRun(std::make_shared<GrpcRun>(check_, std::move(done)));
  }
  std::unique_ptr<Probe> Watch(WatchCallbacks callbacks) override {
    return BeginRun(std::make_shared<GrpcWatchRun>(check_, std::move(callbacks)));
  }

 private:
  const std::shared_ptr<GrpcCheck> check_;
};

}  // namespace

std::unique_ptr<Prober> MakeGrpcProber(ProbeEnvironment& environment, GrpcPlan plan) {
  return std::make_unique<GrpcProber>(environment, std::move(plan));
}

}  // namespace muster::health
