#include "server/health/prober_factory.h"

#include <boost/asio/io_context.hpp>
#include <utility>

#include "base/errors.h"
#include "server/health/grpc_probe.h"
#include "server/health/http_probe.h"
#include "server/health/probe_environment.h"
#include "server/health/system_resolver.h"
#include "server/health/tcp_probe.h"

namespace muster::health {
namespace {

// Tcp and Grpc name their targets by the same fields.
template <typename Kind>
absl::StatusOr<Target> TargetOf(const Kind& kind, const InstanceTarget& instance) {
  auto target = ParseTarget(kind.target(), instance);
  if (!target.ok() || !kind.tls()) return target;
  auto status = SetTls(*target, kind.tls_skip_verify(), kind.tls_server_name());
  if (!status.ok()) return status;
  return target;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProberFactory>> ProberFactory::Create(
    boost::asio::io_context& loop, const config::v1::Health& config, Options options) {
  auto guard = TargetGuard::Make(config, options.loopback_ok);
  if (!guard.ok()) return guard.status();
  auto tls = TlsTrust::Create(config.ca());
  if (!tls.ok()) return tls.status();
  if (options.resolver == nullptr) options.resolver = std::make_shared<SystemResolver>(loop);
  std::unique_ptr<ProbeEnvironment> environment(new ProbeEnvironment{
      loop, *std::move(guard), std::move(options.resolver), *std::move(tls), options.descriptors,
      std::make_shared<ChannelRoom>(options.descriptors.channels)});
  return std::unique_ptr<ProberFactory>(new ProberFactory(std::move(environment)));
}

ProberFactory::ProberFactory(std::unique_ptr<ProbeEnvironment> environment)
    : environment_(std::move(environment)) {}

ProberFactory::~ProberFactory() { environment_->calls.WaitForNone(); }

absl::StatusOr<std::unique_ptr<Prober>> ProberFactory::Make(const v1::Check& check,
                                                            const InstanceTarget& instance) {
  const absl::Duration timeout = TimeoutOf(check);
  switch (check.kind_case()) {
    case v1::Check::kHttp: {
      auto plan = PlanHttp(check.http(), instance, timeout);
      if (!plan.ok()) return plan.status();
      return MakeHttpProber(*environment_, *std::move(plan));
    }
    case v1::Check::kTcp: {
      auto target = TargetOf(check.tcp(), instance);
      if (!target.ok()) return target.status();
      return MakeTcpProber(*environment_, *std::move(target), timeout);
    }
    case v1::Check::kGrpc: {
      auto target = TargetOf(check.grpc(), instance);
      if (!target.ok()) return target.status();
      return MakeGrpcProber(*environment_, {.target = *std::move(target),
                                            .timeout = timeout,
                                            .interval = IntervalOf(check),
                                            .service = check.grpc().service()});
    }
    case v1::Check::kTtl:
    case v1::Check::KIND_NOT_SET:
      break;
  }
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                         "a check of this kind isn't probed; allowed: http, tcp, grpc");
}

}  // namespace muster::health
