#include "server/rpc/unreadable.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "base/errors.h"
#include "server/rpc/errors.h"

namespace muster::rpc {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::ServerRpcInfo;

// Of one call. gRPC runs its hooks one after another.
class UnreadableRequest : public grpc::experimental::Interceptor {
 public:
  explicit UnreadableRequest(CallCount& count) : call_(count) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE)) {
      unreadable_ = methods->GetRecvMessage() == nullptr;
    }
    if (unreadable_ &&
        methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      methods->ModifySendStatus(ToGrpc(Unreadable()));
    }
    methods->Proceed();
  }

 private:
  const CallCount::Call call_;
  bool unreadable_ = false;
};

// Their handlers take bytes, and do themselves what is done here for the others.
bool ReadsItsRequest(std::string_view method) {
  static constexpr std::string_view kMethods[] = {
      "/muster.v1.Discovery/Discover",     "/muster.v1.Registry/Register",
      "/muster.v1.Registry/BatchRegister", "/muster.v1.Registry/Heartbeat",
      "/muster.v1.Registry/Deregister",    "/muster.v1.Registry/ReportHealth"};
  return std::find(std::begin(kMethods), std::end(kMethods), method) != std::end(kMethods);
}

class Factory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit Factory(CallCount& count) : count_(count) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    const bool one_request = info->type() == ServerRpcInfo::Type::UNARY ||
                             info->type() == ServerRpcInfo::Type::SERVER_STREAMING;
    return one_request && !ReadsItsRequest(info->method()) ? new UnreadableRequest(count_)
                                                           : nullptr;
  }

 private:
  CallCount& count_;
};

}  // namespace

absl::Status Unreadable() {
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                         "request can't be read: it is not the message of this call, or holds text "
                         "that is not UTF-8");
}

std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
UnreadableRequestInterceptors(CallCount& count) {
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> out;
  out.push_back(std::make_unique<Factory>(count));
  return out;
}

}  // namespace muster::rpc
