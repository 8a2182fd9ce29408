// Customers: they browse and buy, all the time, and say what they saw.
//
// usage: customer [--no-header]
//
// Each line of stdin is what happens from now on; at the next one what was seen meanwhile is
// printed, as a line of a table. An empty line, or the end of stdin, ends it: visits are made as
// long as stdin is open. Exit code 1: a visit failed.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "program.h"
#include "shop.grpc.pb.h"

namespace shop {
namespace {

using muster::client::Client;
using muster::client::Resolution;
using muster::client::ServiceChannel;

struct Seen {
  int visits = 0;
  int failed = 0;
  int paid_later = 0;
  double slowest_ms = 0;
  std::string why;  // of the first that failed
};

class Customers {
 public:
  explicit Customers(const Client& client)
      : client_(client),
        channel_(ChannelTo(client, "gateway", {.timeout = absl::Seconds(3)})),
        gateway_(v1::Gateway::NewStub(channel_)) {
    for (int i = 0; i < kCustomers; ++i) {
      threads_.emplace_back([this, i] {
        for (int n = 0; !ends_; ++n) Visit("customer-" + std::to_string(i), n);
      });
    }
  }
  ~Customers() {
    ends_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

  // Since it was asked last.
  Seen TakeSeen() {
    const std::lock_guard lock(mu_);
    return std::exchange(seen_, Seen{});
  }
  // By whom the gateways were known that were called since it was asked last.
  std::string TakeSources() {
    std::string names;
    for (const auto& service : client_.metrics().services) {
      for (size_t i = 0; i < service.by_source.size(); ++i) {
        if (service.by_source[i] == calls_[i]) continue;
        names += names.empty() ? "" : ", ";
        names += ToText(static_cast<Resolution::Source>(i));
      }
      calls_ = service.by_source;
    }
    return names;
  }

 private:
  static constexpr int kCustomers = 4;

  void Visit(const std::string& user, int number) {
    const auto began = std::chrono::steady_clock::now();
    v1::ListProductsResponse products;
    grpc::Status status = channel_->Call(
        [&](grpc::ClientContext& context) { return gateway_->Browse(&context, {}, &products); });
    if (status.ok() && products.products().empty()) {
      status = {grpc::StatusCode::NOT_FOUND, "the shop sells nothing"};
    }
    v1::Order order;
    if (status.ok()) {
      v1::BuyRequest buy;
      buy.set_user(user);
      buy.set_product(products.products(number % products.products_size()).id());
      // The same however often the call is made: a retry buys nothing twice.
      buy.set_key(user + "-" + std::to_string(began.time_since_epoch().count()));
      status = channel_->Call(
          [&](grpc::ClientContext& context) { return gateway_->Buy(&context, buy, &order); });
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
    Note(status, order, took.count());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }

  void Note(const grpc::Status& status, const v1::Order& order, double took_ms) {
    const std::lock_guard lock(mu_);
    ++seen_.visits;
    seen_.slowest_ms = std::max(seen_.slowest_ms, took_ms);
    seen_.paid_later += order.payment() == v1::Order::WAITING ? 1 : 0;
    if (status.ok()) return;
    ++seen_.failed;
    if (seen_.why.empty()) seen_.why = status.error_message();
  }

  const Client client_;
  const std::shared_ptr<ServiceChannel> channel_;
  const std::unique_ptr<v1::Gateway::Stub> gateway_;
  std::array<uint64_t, Resolution::kSources> calls_{};
  std::mutex mu_;
  Seen seen_;
  std::atomic<bool> ends_{false};
  std::vector<std::thread> threads_;
};

// Of the table that Tell adds to.
void PrintHeader() {
  std::printf("%-48s %6s  %6s  %10s  %8s  %s\n", "what happens", "visits", "failed", "paid later",
              "slowest", "gateways known by");
  std::fflush(stdout);
}

// What was seen while this happened. False: a visit failed.
bool Tell(const std::string& what, Customers& customers) {
  const Seen seen = customers.TakeSeen();
  std::printf("%-48s %6d  %6d  %10d  %5.0f ms  %s\n", what.c_str(), seen.visits, seen.failed,
              seen.paid_later, seen.slowest_ms, customers.TakeSources().c_str());
  if (!seen.why.empty()) std::printf("    the first that failed: %s\n", seen.why.c_str());
  std::fflush(stdout);
  return seen.failed == 0 && seen.visits > 0;
}

int Main(bool header) {
  const auto client = Connect();
  if (!client.ok()) {
    std::cerr << client.status() << std::endl;
    return 2;
  }
  std::string what;
  if (!std::getline(std::cin, what)) return 0;
  if (header) PrintHeader();
  Customers customers(*client);
  bool all_well = true;
  for (std::string next; std::getline(std::cin, next) && !next.empty(); what = next) {
    all_well &= Tell(what, customers);
  }
  all_well &= Tell(what, customers);
  return all_well ? 0 : 1;
}

}  // namespace
}  // namespace shop

int main(int argc, char** argv) {
  return shop::Main(argc < 2 || std::string_view(argv[1]) != "--no-header");
}
