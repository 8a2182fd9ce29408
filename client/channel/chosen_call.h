// What happens to a gRPC call after its endpoint has been chosen: how it ends is reported; or it is
// answered at once, when nobody can be called.
//
// Both are interceptors, which gRPC makes for a call while that is created, on the same thread.
// What they need is handed over by Handed, a value of the thread.
//
// Thread safety: Handed: a thread's; the rest: gRPC's.
#pragma once

#include <grpcpp/support/client_interceptor.h>

#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "client/guard/caller_core.h"

namespace muster::client {

// A call that is being created.
struct ChosenCall {
  std::shared_ptr<CallerCore> caller;
  Pick pick;
  base::SteadyTime began{};
  bool is_stream = false;
};

// Reports to its caller how the call that is handed over ends; other calls of the channel aren't
// looked at.
std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> Reporting();
// Each call is to be called off (TryCancel) as soon as it is created; it ends with the status that
// is handed over.
std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> Answering();

// For the call that this thread creates in its lifetime.
class Handed {
 public:
  explicit Handed(ChosenCall call);
  explicit Handed(absl::Status answer);
  ~Handed();
  Handed(const Handed&) = delete;
  Handed& operator=(const Handed&) = delete;

  // Nullopt: there is none, or it has been taken.
  static std::optional<ChosenCall> TakeCall();
  static absl::Status Answer();

 private:
  std::optional<ChosenCall> call_;
  absl::Status answer_;
  Handed* const outer_;
};

}  // namespace muster::client
