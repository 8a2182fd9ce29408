// Keeps the carts, in memory: whoever calls keeps to one instance for each user, by
// Policy::kConsistentHash.
#include <map>
#include <mutex>
#include <set>

#include "program.h"
#include "shop.grpc.pb.h"

namespace shop {
namespace {

class Carts : public v1::Carts::Service {
 public:
  grpc::Status Add(grpc::ServerContext* /*context*/, const v1::AddToCartRequest* request,
                   v1::Cart* cart) override {
    const std::lock_guard lock(mu_);
    Kept& kept = carts_[request->user()];
    if (kept.keys.insert(request->key()).second) *kept.cart.add_products() = request->product();
    *cart = kept.cart;
    return grpc::Status::OK;
  }
  grpc::Status Get(grpc::ServerContext* /*context*/, const v1::CartOfRequest* request,
                   v1::Cart* cart) override {
    const std::lock_guard lock(mu_);
    *cart = carts_[request->user()].cart;
    return grpc::Status::OK;
  }
  grpc::Status Empty(grpc::ServerContext* /*context*/, const v1::CartOfRequest* request,
                     v1::Cart* /*cart*/) override {
    const std::lock_guard lock(mu_);
    carts_[request->user()].cart.Clear();
    return grpc::Status::OK;
  }

 private:
  struct Kept {
    v1::Cart cart;
    std::set<std::string> keys;  // of the requests that added to it
  };
  std::mutex mu_;
  std::map<std::string, Kept> carts_;
};

}  // namespace
}  // namespace shop

int main(int argc, char** argv) {
  return shop::Serve("cart", argc, argv,
                     [](const muster::client::Client&) { return std::make_unique<shop::Carts>(); });
}
