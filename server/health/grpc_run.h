// The runs and watches of one gRPC check. Used by grpc_probe.cc only; two files for their size.
#pragma once

#include <memory>

#include "server/health/grpc_call.h"
#include "server/health/grpc_channel.h"
#include "server/health/grpc_plan.h"
#include "server/health/run.h"

namespace muster::health {

// What a check's runs share. They keep it.
struct GrpcCheck {
  ProbeEnvironment& environment;
  const GrpcPlan plan;
  GrpcChannel channel;
};

// One call of Check.
class GrpcRun : public Run {
 public:
  GrpcRun(std::shared_ptr<GrpcCheck> check, ProbeDone done);

 private:
  void Try(const boost::asio::ip::tcp::endpoint& endpoint) override;
  void AbandonTry() override;
  void OnTimeout() override;
  void Release() override;
  void OnAnswer(const GrpcAnswer& answer, int serving);
  std::shared_ptr<GrpcRun> Self() { return std::static_pointer_cast<GrpcRun>(shared_from_this()); }

  const std::shared_ptr<GrpcCheck> check_;
  boost::asio::ip::tcp::endpoint endpoint_;
  std::shared_ptr<grpc::Channel> channel_;
  bool fresh_ = false;
  std::shared_ptr<GrpcCall> call_;
};

// One call of Watch, and calls of Check while nothing comes of it. As a Run it is over when the
// watch has ended; its time is that of what is waited for next.
class GrpcWatchRun : public Run {
 public:
  GrpcWatchRun(std::shared_ptr<GrpcCheck> check, WatchCallbacks callbacks);

 private:
  enum class Awaiting { kFirstStatus, kChange, kSignOfLife };

  void Try(const boost::asio::ip::tcp::endpoint& endpoint) override;
  void AbandonTry() override;
  void OnTimeout() override;
  void Release() override;
  void OnStatus(int serving);
  void OnEnd(const GrpcAnswer& answer);
  void OnSignOfLife();
  void AskForSignOfLife();
  void NextStatusAfterPause();
  void End(WatchEnd::Cause cause, ProbeResult result);
  std::shared_ptr<GrpcWatchRun> Self() {
    return std::static_pointer_cast<GrpcWatchRun>(shared_from_this());
  }

  const std::shared_ptr<GrpcCheck> check_;
  ProbeDone on_status_;
  WatchEnd::Cause cause_ = WatchEnd::Cause::kFailed;
  Awaiting awaiting_ = Awaiting::kFirstStatus;
  bool signs_ = false;  // of life, when they were asked for
  boost::asio::ip::tcp::endpoint endpoint_;
  std::shared_ptr<grpc::Channel> channel_;
  bool fresh_ = false;
  std::shared_ptr<GrpcWatchCall> watch_;
  std::shared_ptr<GrpcCall> pulse_;
  uint64_t pulses_ = 0;  // the number of the one that counts
  boost::asio::steady_timer pause_;
};

}  // namespace muster::health
