// Knows what the shop sells.
#include <algorithm>
#include <iterator>

#include "program.h"
#include "shop.grpc.pb.h"

namespace shop {
namespace {

struct Item {
  const char* id;
  const char* name;
  int64_t price;
};
constexpr Item kItems[] = {{"tea", "Tea", 450}, {"cup", "Cup", 990}, {"pot", "Pot", 2'900}};

v1::Product ProductOf(const Item& item) {
  v1::Product product;
  product.set_id(item.id);
  product.set_name(item.name);
  product.set_price(item.price);
  return product;
}

class Products : public v1::Products::Service {
 public:
  grpc::Status List(grpc::ServerContext* /*context*/, const v1::ListProductsRequest* /*request*/,
                    v1::ListProductsResponse* response) override {
    for (const Item& item : kItems) *response->add_products() = ProductOf(item);
    return grpc::Status::OK;
  }
  grpc::Status Get(grpc::ServerContext* /*context*/, const v1::GetProductRequest* request,
                   v1::Product* product) override {
    const auto found = std::find_if(std::begin(kItems), std::end(kItems),
                                    [&](const Item& item) { return request->id() == item.id; });
    if (found == std::end(kItems)) return {grpc::StatusCode::NOT_FOUND, "no such product"};
    *product = ProductOf(*found);
    return grpc::Status::OK;
  }
};

}  // namespace
}  // namespace shop

int main(int argc, char** argv) {
  return shop::Serve("product", argc, argv, [](const muster::client::Client&) {
    return std::make_unique<shop::Products>();
  });
}
