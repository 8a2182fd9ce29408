// Takes the money.
#include <map>
#include <mutex>

#include "program.h"
#include "shop.grpc.pb.h"

namespace shop {
namespace {

class Payments : public v1::Payments::Service {
 public:
  grpc::Status Charge(grpc::ServerContext* /*context*/, const v1::ChargeRequest* request,
                      v1::ChargeResponse* /*response*/) override {
    if (request->amount() <= 0)
      return {grpc::StatusCode::INVALID_ARGUMENT, "amount: is not above 0"};
    const std::lock_guard lock(mu_);
    charged_.emplace(request->order(), request->amount());
    return grpc::Status::OK;
  }

 private:
  std::mutex mu_;
  std::map<std::string, int64_t> charged_;  // by order
};

}  // namespace
}  // namespace shop

int main(int argc, char** argv) {
  return shop::Serve("payment", argc, argv, [](const muster::client::Client&) {
    return std::make_unique<shop::Payments>();
  });
}
