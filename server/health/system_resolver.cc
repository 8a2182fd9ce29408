#include "server/health/system_resolver.h"

#include <netdb.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <cstring>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/text.h"

namespace muster::health {
namespace {

constexpr size_t kThreads = 8;
constexpr size_t kMaxAddresses = 16;

namespace ip = boost::asio::ip;

absl::Status NotResolved(const std::string& host, std::string_view why) {
  return absl::UnavailableError(absl::StrCat("cannot resolve ", host, ": ", base::Av(why)));
}

absl::StatusOr<Resolver::Addresses> LookUp(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found); error != 0) {
    return NotResolved(host, gai_strerror(error));
  }
  Resolver::Addresses addresses;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    ip::tcp::endpoint endpoint;
    if (at->ai_addrlen > endpoint.capacity()) continue;
    std::memcpy(endpoint.data(), at->ai_addr, at->ai_addrlen);
    const auto address = endpoint.address();
    const bool seen = std::find(addresses.begin(), addresses.end(), address) != addresses.end();
    if (!seen && addresses.size() < kMaxAddresses) addresses.push_back(address);
  }
  freeaddrinfo(found);
  if (addresses.empty()) return NotResolved(host, "it has no address");
  return addresses;
}

struct Request {
  std::string host;
  std::weak_ptr<const void> wanted;
  Resolver::Done done;
};

}  // namespace

struct SystemResolver::Queue {
  base::Mutex mu;
  base::CondVar changed;
  // Null once the resolver is gone.
  boost::asio::io_context* loop MUSTER_GUARDED_BY(mu);
  std::deque<Request> requests MUSTER_GUARDED_BY(mu);
};

struct SystemResolver::Worker {
  // The queue's mutex guards it.
  bool resolving = false;
  base::NamedThread thread;
};

SystemResolver::SystemResolver(boost::asio::io_context& loop) : queue_(std::make_shared<Queue>()) {
  base::MutexLock lock(queue_->mu);
  queue_->loop = &loop;
}

SystemResolver::~SystemResolver() {
  std::deque<Request> dropped;
  std::vector<std::shared_ptr<Worker>> idle;
  {
    base::MutexLock lock(queue_->mu);
    queue_->loop = nullptr;
    dropped.swap(queue_->requests);
    for (const auto& worker : workers_) {
      if (worker->resolving) {
        worker->thread.Detach();
      } else {
        idle.push_back(worker);
      }
    }
  }
  queue_->changed.NotifyAll();
  for (const auto& worker : idle) worker->thread.Join();
}

void SystemResolver::Resolve(const std::string& host, std::weak_ptr<const void> wanted, Done done) {
  {
    base::MutexLock lock(queue_->mu);
    queue_->requests.push_back({host, std::move(wanted), std::move(done)});
    while (workers_.size() < kThreads) {
      auto worker = std::make_shared<Worker>();
      worker->thread =
          base::NamedThread("muster-resolve", [queue = queue_, worker] { Work(queue, worker); });
      workers_.push_back(std::move(worker));
    }
  }
  queue_->changed.NotifyOne();
}

bool SystemResolver::IsCrowded() const {
  base::MutexLock lock(queue_->mu);
  return !queue_->requests.empty();
}

void SystemResolver::Work(const std::shared_ptr<Queue>& queue,
                          const std::shared_ptr<Worker>& worker) {
  for (;;) {
    Request request;
    {
      base::MutexLock lock(queue->mu);
      worker->resolving = false;
      while (queue->loop != nullptr && queue->requests.empty()) queue->changed.Wait(queue->mu);
      if (queue->loop == nullptr) return;
      request = std::move(queue->requests.front());
      queue->requests.pop_front();
      worker->resolving = true;
    }
    if (request.wanted.expired()) continue;
    auto addresses = LookUp(request.host);
    base::MutexLock lock(queue->mu);
    if (queue->loop == nullptr) return;
    boost::asio::post(*queue->loop,
                      [request = std::move(request), addresses = std::move(addresses)]() mutable {
                        if (!request.wanted.expired()) request.done(std::move(addresses));
                      });
  }
}

}  // namespace muster::health
