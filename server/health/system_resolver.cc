#include "server/health/system_resolver.h"

#include <netdb.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <cstring>
#include <deque>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/text.h"

namespace muster::health {
namespace {

constexpr size_t kThreads = 8;
constexpr size_t kThreadsOfSlow = kThreads / 2;
// Of names; beyond it all are taken for quick ones again.
constexpr size_t kMaxSlow = 10'000;
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
  std::weak_ptr<const void> wanted;
  Resolver::Done done;
};

// Of one name, for all who ask for it until it ends.
struct Lookup {
  std::string host;
  bool slow = false;
  std::atomic<bool> begun{false};
  // The queue's mutex guards them.
  std::vector<Request> requests;
};
using LookupPtr = std::shared_ptr<Lookup>;

}  // namespace

struct SystemResolver::Queue {
  explicit Queue(Options from) : options(std::move(from)) {}

  // The next one whose turn it is, that anybody still waits for; null when there is none.
  LookupPtr Take() MUSTER_REQUIRES(mu);
  // Who is to be answered.
  std::vector<Request> End(Lookup& lookup, absl::Duration took) MUSTER_REQUIRES(mu);

  const Options options;
  base::Mutex mu;
  base::CondVar changed;
  // Null once the resolver is gone.
  boost::asio::io_context* loop MUSTER_GUARDED_BY(mu) = nullptr;
  absl::flat_hash_map<std::string, LookupPtr> of_host MUSTER_GUARDED_BY(mu);
  std::deque<LookupPtr> quick MUSTER_GUARDED_BY(mu);
  std::deque<LookupPtr> slow MUSTER_GUARDED_BY(mu);
  size_t slow_under_way MUSTER_GUARDED_BY(mu) = 0;
  absl::flat_hash_set<std::string> slow_hosts MUSTER_GUARDED_BY(mu);
};

struct SystemResolver::Worker {
  // The queue's mutex guards it.
  bool resolving = false;
  base::NamedThread thread;
};

LookupPtr SystemResolver::Queue::Take() {
  for (;;) {
    const bool of_slow = !slow.empty() && slow_under_way < kThreadsOfSlow;
    std::deque<LookupPtr>& line = of_slow ? slow : quick;
    if (line.empty()) return nullptr;
    LookupPtr lookup = std::move(line.front());
    line.pop_front();
    if (std::all_of(lookup->requests.begin(), lookup->requests.end(),
                    [](const Request& request) { return request.wanted.expired(); })) {
      of_host.erase(lookup->host);
      continue;
    }
    slow_under_way += of_slow ? 1 : 0;
    lookup->begun = true;
    return lookup;
  }
}

std::vector<Request> SystemResolver::Queue::End(Lookup& lookup, absl::Duration took) {
  of_host.erase(lookup.host);
  slow_under_way -= lookup.slow ? 1 : 0;
  if (took < options.slow) {
    slow_hosts.erase(lookup.host);
  } else {
    if (slow_hosts.size() >= kMaxSlow) slow_hosts.clear();
    slow_hosts.insert(lookup.host);
  }
  return std::move(lookup.requests);
}

SystemResolver::SystemResolver(boost::asio::io_context& loop, Options options)
    : queue_([&] {
        if (!options.look_up) options.look_up = LookUp;
        return std::make_shared<Queue>(std::move(options));
      }()) {
  base::MutexLock lock(queue_->mu);
  queue_->loop = &loop;
}

SystemResolver::~SystemResolver() {
  absl::flat_hash_map<std::string, LookupPtr> dropped;
  std::vector<std::shared_ptr<Worker>> idle;
  {
    base::MutexLock lock(queue_->mu);
    queue_->loop = nullptr;
    dropped.swap(queue_->of_host);
    queue_->quick.clear();
    queue_->slow.clear();
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

Resolver::Begun SystemResolver::Resolve(const std::string& host, std::weak_ptr<const void> wanted,
                                        Done done) {
  LookupPtr lookup;
  {
    base::MutexLock lock(queue_->mu);
    LookupPtr& of_host = queue_->of_host[host];
    if (of_host == nullptr) {
      of_host = std::make_shared<Lookup>();
      of_host->host = host;
      of_host->slow = queue_->slow_hosts.contains(host);
      (of_host->slow ? queue_->slow : queue_->quick).push_back(of_host);
    }
    lookup = of_host;
    // A name may wait for long, and its runs come and go.
    std::erase_if(lookup->requests, [](const Request& one) { return one.wanted.expired(); });
    lookup->requests.push_back({std::move(wanted), std::move(done)});
    while (workers_.size() < kThreads) {
      auto worker = std::make_shared<Worker>();
      worker->thread =
          base::NamedThread("muster-resolve", [queue = queue_, worker] { Work(queue, worker); });
      workers_.push_back(std::move(worker));
    }
  }
  queue_->changed.NotifyOne();
  return {lookup, &lookup->begun};
}

void SystemResolver::Work(const std::shared_ptr<Queue>& queue,
                          const std::shared_ptr<Worker>& worker) {
  for (;;) {
    LookupPtr lookup;
    {
      base::MutexLock lock(queue->mu);
      worker->resolving = false;
      while (queue->loop != nullptr && (lookup = queue->Take()) == nullptr) {
        queue->changed.Wait(queue->mu);
      }
      if (lookup == nullptr) return;
      worker->resolving = true;
    }
    const base::SteadyTime began = base::RealClock().Steady();
    const auto addresses = queue->options.look_up(lookup->host);
    base::MutexLock lock(queue->mu);
    std::vector<Request> requests = queue->End(*lookup, base::RealClock().Steady() - began);
    queue->changed.NotifyOne();
    if (queue->loop == nullptr) return;
    boost::asio::post(*queue->loop, [requests = std::move(requests), addresses]() {
      for (const Request& request : requests) {
        if (!request.wanted.expired()) request.done(addresses);
      }
    });
  }
}

}  // namespace muster::health
