#include "client/fallback/cares_dns.h"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <resolv.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <list>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/text.h"
#include "base/thread.h"

namespace muster::client {
namespace {

// Of one answer; more are left out.
constexpr size_t kMaxTargets = 256;

void InitOnce() {
  static const int done = ares_library_init(ARES_LIB_INIT_ALL);
  (void)done;
}

struct Srv {
  std::string target;
  uint16_t port = 0;
  uint16_t priority = 0;
  uint16_t weight = 0;
};

// The SRV records of an answer, those of the lowest priority, and their smallest TTL in seconds.
std::vector<Srv> ParseSrv(const unsigned char* bytes, int length, int64_t* ttl) {
  std::vector<Srv> found;
  ns_msg message;
  if (ns_initparse(bytes, length, &message) != 0) return found;
  for (int i = 0; i < ns_msg_count(message, ns_s_an) && found.size() < kMaxTargets; ++i) {
    ns_rr record;
    if (ns_parserr(&message, ns_s_an, i, &record) != 0) break;
    if (ns_rr_type(record) != ns_t_srv || ns_rr_rdlen(record) < 7) continue;
    const unsigned char* data = ns_rr_rdata(record);
    std::array<char, NS_MAXDNAME> target{};
    if (dn_expand(ns_msg_base(message), ns_msg_end(message), data + 6, target.data(),
                  target.size()) < 0) {
      continue;
    }
    *ttl = std::min<int64_t>(*ttl, ns_rr_ttl(record));
    // "." says that there is none; dn_expand gives it as an empty name.
    if (target[0] == '\0' || (target[0] == '.' && target[1] == '\0')) continue;
    found.push_back({target.data(), static_cast<uint16_t>(ns_get16(data + 4)),
                     static_cast<uint16_t>(ns_get16(data)),
                     static_cast<uint16_t>(ns_get16(data + 2))});
  }
  if (found.empty()) return found;
  const uint16_t lowest =
      std::min_element(found.begin(), found.end(), [](const auto& a, const auto& b) {
        return a.priority < b.priority;
      })->priority;
  std::erase_if(found, [lowest](const Srv& srv) { return srv.priority != lowest; });
  return found;
}

std::string TextOf(const ares_addrinfo_node& node) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* address =
      node.ai_family == AF_INET
          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(node.ai_addr)->sin_addr)
          : &reinterpret_cast<const sockaddr_in6*>(node.ai_addr)->sin6_addr;
  if (inet_ntop(node.ai_family, address, text.data(), text.size()) == nullptr) return "";
  return text.data();
}

bool IsAbsent(int status) {
  return status == ARES_ENOTFOUND || status == ARES_ENODATA || status == ARES_ENONAME;
}

// One name that is being looked up. Its callbacks come from c-ares, within the calls of this.
class Question {
 public:
  Question(Address host, DnsResolver::Done done) : host_(std::move(host)), done_(std::move(done)) {}
  ~Question() {
    is_over_ = true;
    if (channel_ != nullptr) ares_destroy(channel_);
  }
  Question(const Question&) = delete;

  void Begin(const CaresDns::Options& options, base::SteadyTime now) {
    until_ = end_ = now + options.within;
    srv_patience_ = options.srv_patience;
    ares_options set{};
    set.timeout = static_cast<int>(absl::ToInt64Milliseconds(options.timeout));
    set.tries = 2;
    if (ares_init_options(&channel_, &set, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES) != ARES_SUCCESS) {
      channel_ = nullptr;
      return;
    }
    if (!options.servers.empty()) ares_set_servers_ports_csv(channel_, options.servers.c_str());
    pending_ = 2;
    srv_pending_ = true;
    LookUp(host_.host, {.port = host_.port, .weight = 0}, false);
    ares_search(
        channel_, host_.host.c_str(), ns_c_in, ns_t_srv,
        [](void* self, int status, int, unsigned char* bytes, int length) {
          static_cast<Question*>(self)->OnSrv(status, bytes, length);
        },
        this);
  }

  // Where it waits; and until when.
  void Wants(std::vector<pollfd>* fds, base::SteadyTime now, absl::Duration* patience) const {
    *patience = std::min(*patience, until_ - now);
    if (channel_ == nullptr) return;
    std::array<ares_socket_t, ARES_GETSOCK_MAXNUM> sockets{};
    const int bits = ares_getsock(channel_, sockets.data(), ARES_GETSOCK_MAXNUM);
    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; ++i) {
      short events = 0;
      if (ARES_GETSOCK_READABLE(bits, i)) events |= POLLIN;
      if (ARES_GETSOCK_WRITABLE(bits, i)) events |= POLLOUT;
      if (events != 0) fds->push_back({sockets[i], events, 0});
    }
    timeval wait{};
    if (ares_timeout(channel_, nullptr, &wait) != nullptr) {
      *patience = std::min(*patience, absl::DurationFromTimeval(wait));
    }
  }

  void Process(const std::vector<pollfd>& fds) {
    if (channel_ == nullptr) return;
    for (const pollfd& fd : fds) {
      if (fd.revents == 0) continue;
      const bool reads = (fd.revents & (POLLIN | POLLERR | POLLHUP)) != 0;
      ares_process_fd(channel_, reads ? fd.fd : ARES_SOCKET_BAD,
                      (fd.revents & POLLOUT) != 0 ? fd.fd : ARES_SOCKET_BAD);
    }
    ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  }

  // True: all that will come has come.
  bool IsOver(base::SteadyTime now) {
    if (channel_ == nullptr || pending_ == 0 || now >= until_) return true;
    if (pending_ == 1 && srv_pending_ && !addresses_.empty() && srv_patience_) {
      until_ = std::min(until_, now + *std::exchange(srv_patience_, std::nullopt));
    }
    return false;
  }

  DnsResolver::Done TakeDone() { return std::move(done_); }

  absl::StatusOr<DnsAnswer> Answer() {
    EndpointList& endpoints = targets_.empty() ? addresses_ : targets_;
    if (!endpoints.empty()) {
      const int64_t ttl = targets_.empty() ? address_ttl_ : std::min(srv_ttl_, target_ttl_);
      return DnsAnswer{std::move(endpoints), absl::Seconds(ttl)};
    }
    const std::string name = base::Quoted(host_.host);
    if (channel_ != nullptr && pending_ == 0 && !failed_) {
      return absl::NotFoundError(absl::StrCat("DNS knows no address of ", name));
    }
    return absl::UnavailableError(
        absl::StrCat("DNS doesn't say who ", name,
                     " is: ", failed_ ? ares_strerror(*failed_) : "nothing came in time"));
  }

 private:
  struct Lookup {
    Question* question;
    Srv srv;
    bool is_target;
  };

  void LookUp(const std::string& host, Srv srv, bool is_target) {
    ares_addrinfo_hints hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = ARES_AI_NOSORT;
    ares_getaddrinfo(
        channel_, host.c_str(), nullptr, &hints,
        [](void* argument, int status, int, ares_addrinfo* found) {
          const std::unique_ptr<Lookup> lookup(static_cast<Lookup*>(argument));
          lookup->question->OnAddresses(*lookup, status, found);
          if (found != nullptr) ares_freeaddrinfo(found);
        },
        new Lookup{this, std::move(srv), is_target});
  }

  void OnSrv(int status, const unsigned char* bytes, int length) {
    if (is_over_) return;
    srv_pending_ = false;
    --pending_;
    if (status != ARES_SUCCESS) return;  // the addresses say whether anybody answers
    for (const Srv& srv : ParseSrv(bytes, length, &srv_ttl_)) {
      until_ = end_;  // now it is these that are waited for
      ++pending_;
      LookUp(srv.target, srv, true);
    }
  }

  void OnAddresses(const Lookup& lookup, int status, const ares_addrinfo* found) {
    if (is_over_) return;
    --pending_;
    if (status != ARES_SUCCESS) {
      if (!IsAbsent(status)) failed_ = status;
      return;
    }
    EndpointList& into = lookup.is_target ? targets_ : addresses_;
    int64_t& ttl = lookup.is_target ? target_ttl_ : address_ttl_;
    bool has_v4 = false;
    for (const auto* node = found->nodes; node != nullptr; node = node->ai_next) {
      has_v4 |= node->ai_family == AF_INET;
    }
    for (const auto* node = found->nodes; node != nullptr; node = node->ai_next) {
      if (node->ai_family != (has_v4 ? AF_INET : AF_INET6)) continue;
      const std::string host = TextOf(*node);
      if (host.empty()) continue;
      ttl = std::min<int64_t>(ttl, std::max(node->ai_ttl, 0));
      Endpoint endpoint{.id = absl::StrCat(host, ":", lookup.srv.port),
                        .address = {host, lookup.srv.port}};
      if (lookup.is_target) endpoint.passing_weight = std::max<uint32_t>(lookup.srv.weight, 1);
      into.push_back(std::make_shared<const Endpoint>(std::move(endpoint)));
    }
  }

  static constexpr int64_t kLongestTtl = 24 * 3600;

  const Address host_;
  DnsResolver::Done done_;
  ares_channel channel_ = nullptr;
  bool is_over_ = false;
  base::SteadyTime until_{};
  base::SteadyTime end_{};
  std::optional<absl::Duration> srv_patience_;  // until it has begun
  int pending_ = 0;
  bool srv_pending_ = false;
  EndpointList targets_;    // by SRV
  EndpointList addresses_;  // of the name itself
  int64_t srv_ttl_ = kLongestTtl;
  int64_t target_ttl_ = kLongestTtl;
  int64_t address_ttl_ = kLongestTtl;
  std::optional<int> failed_;  // c-ares's; nobody answered
};

}  // namespace

class CaresDns::Loop {
 public:
  Loop(Options options, const base::Clock& clock)
      : options_(std::move(options)), clock_(clock), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    InitOnce();
  }
  ~Loop() {
    {
      base::MutexLock lock(mu_);
      stopped_ = true;
    }
    eventfd_write(wake_, 1);
    thread_.Join();
    close(wake_);
  }

  void Add(const Address& host, Done done) {
    base::MutexLock lock(mu_);
    added_.push_back(std::make_unique<Question>(host, std::move(done)));
    if (!thread_.joinable()) {
      thread_ = base::NamedThread("muster-dns", [this] { Run(); });
    }
    eventfd_write(wake_, 1);
  }

 private:
  void Run() {
    std::list<std::unique_ptr<Question>> open;
    while (TakeAdded(&open)) {
      std::vector<pollfd> fds = {{wake_, POLLIN, 0}};
      absl::Duration patience = absl::Hours(1);
      for (const auto& question : open) question->Wants(&fds, clock_.Steady(), &patience);
      const absl::Duration rounded = patience + absl::Milliseconds(1);
      poll(fds.data(), fds.size(),
           static_cast<int>(std::max<int64_t>(absl::ToInt64Milliseconds(rounded), 0)));
      eventfd_t count = 0;
      eventfd_read(wake_, &count);
      fds.front().revents = 0;
      for (const auto& question : open) question->Process(fds);
      Answer(&open);
    }
  }

  // False: it has to end.
  bool TakeAdded(std::list<std::unique_ptr<Question>>* open) {
    std::vector<std::unique_ptr<Question>> added;
    {
      base::MutexLock lock(mu_);
      if (stopped_) return false;
      added.swap(added_);
    }
    for (auto& question : added) {
      question->Begin(options_, clock_.Steady());
      open->push_back(std::move(question));
    }
    Answer(open);
    return true;
  }

  void Answer(std::list<std::unique_ptr<Question>>* open) {
    for (auto it = open->begin(); it != open->end();) {
      if (!(*it)->IsOver(clock_.Steady())) {
        ++it;
        continue;
      }
      const Done done = (*it)->TakeDone();
      auto answer = (*it)->Answer();
      it = open->erase(it);
      done(std::move(answer));
    }
  }

  const Options options_;
  const base::Clock& clock_;
  const int wake_;
  base::Mutex mu_;
  bool stopped_ MUSTER_GUARDED_BY(mu_) = false;
  std::vector<std::unique_ptr<Question>> added_ MUSTER_GUARDED_BY(mu_);
  base::NamedThread thread_;
};

CaresDns::CaresDns(Options options, const base::Clock& clock)
    : loop_(std::make_unique<Loop>(std::move(options), clock)) {}

CaresDns::~CaresDns() = default;

void CaresDns::Lookup(const Address& host, Done done) { loop_->Add(host, std::move(done)); }

absl::Status CheckDnsServers(const std::string& servers) {
  if (servers.empty()) return absl::OkStatus();
  InitOnce();
  ares_channel channel = nullptr;
  if (ares_init(&channel) != ARES_SUCCESS) return absl::UnavailableError("c-ares can't be used");
  const int status = ares_set_servers_ports_csv(channel, servers.c_str());
  ares_destroy(channel);
  if (status == ARES_SUCCESS) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(base::Quoted(servers),
                   " isn't a list of addresses; allowed: IP, IP:PORT, "
                   "[IPV6]:PORT, with commas between them"));
}

}  // namespace muster::client
