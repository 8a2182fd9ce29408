// How many orders wait to be paid.
#include <iostream>

#include "program.h"
#include "shop.grpc.pb.h"

int main() {
  const auto client = shop::Connect();
  if (!client.ok()) {
    std::cerr << client.status() << std::endl;
    return 2;
  }
  const auto channel = shop::ChannelTo(*client, "order", {});
  const auto stub = shop::v1::Orders::NewStub(channel);
  shop::v1::WaitingOrdersResponse waiting;
  const grpc::Status status = channel->Call(
      [&](grpc::ClientContext& context) { return stub->Waiting(&context, {}, &waiting); });
  if (!status.ok()) {
    std::cerr << status.error_message() << std::endl;
    return 1;
  }
  std::cout << waiting.orders() << std::endl;
}
