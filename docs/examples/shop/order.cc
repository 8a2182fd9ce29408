// Makes orders of carts, and has them paid. The shop doesn't close when nobody can be charged: the
// order is taken, and paid later.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "program.h"
#include "shop.grpc.pb.h"

namespace shop {
namespace {

using muster::client::Client;
using muster::client::Policy;
using muster::client::ServiceChannel;

class Orders : public v1::Orders::Service {
 public:
  explicit Orders(const Client& client)
      : carts_(ChannelTo(client, "cart",
                         {.balance = {.policy = Policy::kConsistentHash},
                          .timeout = absl::Milliseconds(200),
                          .total = absl::Milliseconds(400)})),
        cart_(v1::Carts::NewStub(carts_)),
        payments_(
            ChannelTo(client, "payment",
                      {.timeout = absl::Milliseconds(300), .total = absl::Milliseconds(600)})),
        payment_(v1::Payments::NewStub(payments_)),
        collects_([this] { Collect(); }) {}
  ~Orders() override {
    ends_ = true;
    collects_.join();
  }

  grpc::Status Place(grpc::ServerContext* /*context*/, const v1::PlaceOrderRequest* request,
                     v1::Order* order) override {
    if (!Begin(request->key(), order)) return grpc::Status::OK;
    const grpc::Status status = PlaceNow(*request, order);
    End(request->key());
    return status;
  }

  grpc::Status Waiting(grpc::ServerContext* /*context*/,
                       const v1::WaitingOrdersRequest* /*request*/,
                       v1::WaitingOrdersResponse* response) override {
    const std::lock_guard lock(mu_);
    response->set_orders(std::count_if(placed_.begin(), placed_.end(), &IsWaiting));
    return grpc::Status::OK;
  }

 private:
  using Placed = std::map<std::string, v1::Order>;

  static bool IsWaiting(const Placed::value_type& one) {
    return one.second.payment() == v1::Order::WAITING;
  }

  // False: it is placed already, and `order` is what it became. A retry may run beside the call
  // that it repeats, which goes on when nobody waits for its answer any more: it waits for that
  // one, for two would empty the same cart.
  bool Begin(const std::string& key, v1::Order* order) {
    std::unique_lock lock(mu_);
    one_ended_.wait(lock, [&] { return !under_way_.contains(key); });
    const auto placed = placed_.find(key);
    if (placed != placed_.end()) {
      *order = placed->second;
      return false;
    }
    under_way_.insert(key);
    return true;
  }
  void End(const std::string& key) {
    {
      const std::lock_guard lock(mu_);
      under_way_.erase(key);
    }
    one_ended_.notify_all();
  }

  grpc::Status PlaceNow(const v1::PlaceOrderRequest& request, v1::Order* order) {
    v1::CartOfRequest of_user;
    of_user.set_user(request.user());
    v1::Cart cart;
    const grpc::Status status = carts_->Call(request.user(), [&](grpc::ClientContext& context) {
      return cart_->Get(&context, of_user, &cart);
    });
    if (!status.ok()) return PassOn("cart", status);
    if (cart.products().empty()) {
      return {grpc::StatusCode::FAILED_PRECONDITION, "the cart is empty"};
    }
    order->set_id(request.key());
    for (const v1::Product& product : cart.products()) {
      order->set_total(order->total() + product.price());
    }
    order->set_payment(Charge(*order) ? v1::Order::PAID : v1::Order::WAITING);
    {
      const std::lock_guard lock(mu_);
      placed_[request.key()] = *order;
    }
    // A cart that stays is no harm.
    carts_->Call(request.user(), [&](grpc::ClientContext& context) {
      return cart_->Empty(&context, of_user, &cart);
    });
    return grpc::Status::OK;
  }

  // Charging the same order again charges it once, so that it may be tried again.
  bool Charge(const v1::Order& order) {
    v1::ChargeRequest request;
    request.set_order(order.id());
    request.set_amount(order.total());
    v1::ChargeResponse response;
    return payments_
        ->Call([&](grpc::ClientContext& context) {
          return payment_->Charge(&context, request, &response);
        })
        .ok();
  }

  // Those that wait, until one can't be charged.
  void Collect() {
    while (!ends_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      v1::Order order;
      do {
        const std::lock_guard lock(mu_);
        const auto waiting = std::find_if(placed_.begin(), placed_.end(), &IsWaiting);
        if (waiting == placed_.end()) break;
        order = waiting->second;
      } while (!ends_ && Charge(order) && MarkPaid(order.id()));
    }
  }
  bool MarkPaid(const std::string& id) {
    const std::lock_guard lock(mu_);
    placed_[id].set_payment(v1::Order::PAID);
    return true;
  }

  const std::shared_ptr<ServiceChannel> carts_;
  const std::unique_ptr<v1::Carts::Stub> cart_;
  const std::shared_ptr<ServiceChannel> payments_;
  const std::unique_ptr<v1::Payments::Stub> payment_;
  std::mutex mu_;
  Placed placed_;                    // by key
  std::set<std::string> under_way_;  // keys of calls of Place
  std::condition_variable one_ended_;
  std::atomic<bool> ends_{false};
  std::thread collects_;
};

}  // namespace
}  // namespace shop

int main(int argc, char** argv) {
  return shop::Serve("order", argc, argv, [](const muster::client::Client& client) {
    return std::make_unique<shop::Orders>(client);
  });
}
