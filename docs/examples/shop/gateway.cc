// What customers talk to.
#include "program.h"
#include "shop.grpc.pb.h"

namespace shop {
namespace {

using muster::client::CallerOptions;
using muster::client::Client;
using muster::client::Policy;
using muster::client::ServiceChannel;

// A customer gives a visit three seconds: what is behind the gateway gets less in all, retries
// included, and what is behind that less again.
const CallerOptions kShort = {.timeout = absl::Milliseconds(300), .total = absl::Milliseconds(700)};
// A user's cart stays with one instance.
const CallerOptions kByUser = {.balance = {.policy = Policy::kConsistentHash},
                               .timeout = absl::Milliseconds(300),
                               .total = absl::Milliseconds(700)};
const CallerOptions kOrder = {.timeout = absl::Milliseconds(1'500),
                              .total = absl::Milliseconds(1'500)};

class Gateway : public v1::Gateway::Service {
 public:
  explicit Gateway(const Client& client)
      : products_(ChannelTo(client, "product", kShort)),
        product_(v1::Products::NewStub(products_)),
        carts_(ChannelTo(client, "cart", kByUser)),
        cart_(v1::Carts::NewStub(carts_)),
        orders_(ChannelTo(client, "order", kOrder)),
        order_(v1::Orders::NewStub(orders_)) {}

  grpc::Status Browse(grpc::ServerContext* /*context*/, const v1::BrowseRequest* /*request*/,
                      v1::ListProductsResponse* response) override {
    return PassOn("product", products_->Call([&](grpc::ClientContext& context) {
      return product_->List(&context, {}, response);
    }));
  }

  grpc::Status Buy(grpc::ServerContext* /*context*/, const v1::BuyRequest* request,
                   v1::Order* order) override {
    v1::GetProductRequest get;
    get.set_id(request->product());
    v1::AddToCartRequest add;
    grpc::Status status = products_->Call([&](grpc::ClientContext& context) {
      return product_->Get(&context, get, add.mutable_product());
    });
    if (!status.ok()) return PassOn("product", status);
    add.set_user(request->user());
    add.set_key(request->key());
    v1::Cart cart;
    status = carts_->Call(request->user(), [&](grpc::ClientContext& context) {
      return cart_->Add(&context, add, &cart);
    });
    if (!status.ok()) return PassOn("cart", status);
    v1::PlaceOrderRequest place;
    place.set_user(request->user());
    place.set_key(request->key());
    return PassOn("order", orders_->Call([&](grpc::ClientContext& context) {
      return order_->Place(&context, place, order);
    }));
  }

 private:
  const std::shared_ptr<ServiceChannel> products_;
  const std::unique_ptr<v1::Products::Stub> product_;
  const std::shared_ptr<ServiceChannel> carts_;
  const std::unique_ptr<v1::Carts::Stub> cart_;
  const std::shared_ptr<ServiceChannel> orders_;
  const std::unique_ptr<v1::Orders::Stub> order_;
};

}  // namespace
}  // namespace shop

int main(int argc, char** argv) {
  return shop::Serve("gateway", argc, argv, [](const muster::client::Client& client) {
    return std::make_unique<shop::Gateway>(client);
  });
}
