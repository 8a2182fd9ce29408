// What customers talk to.
#include "program.h"
#include "shop.grpc.pb.h"

namespace shop {
namespace {

using muster::client::Client;
using muster::client::Policy;
using muster::client::ServiceChannel;

class Gateway : public v1::Gateway::Service {
 public:
  explicit Gateway(const Client& client)
      : products_(ChannelTo(client, "product", {.timeout = absl::Milliseconds(500)})),
        product_(v1::Products::NewStub(products_)),
        carts_(ChannelTo(
            client, "cart",
            {.balance = {.policy = Policy::kConsistentHash}, .timeout = absl::Milliseconds(500)})),
        cart_(v1::Carts::NewStub(carts_)),
        orders_(ChannelTo(client, "order", {.timeout = absl::Seconds(2)})),
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
