// 20,000 checks at intervals of 10 s, of targets that this process plays: what the server spends on
// them, and how evenly their starts are spread.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "muster/v1/registry.pb.h"
#include "tests/bench/measure.h"
#include "tests/bench/requests.h"
#include "tests/bench/servers.h"
#include "tests/bench/workload.h"
#include "tests/support/process.h"

namespace muster::bench {
namespace {

constexpr size_t kChecks = 20'000;
constexpr size_t kBatch = 1000;
constexpr absl::Duration kInterval = absl::Seconds(10);
// Until the first results are written and the runs are spread.
const absl::Duration kSettle = 2.5 * kInterval;
constexpr size_t kBins = 50;
// Of chi-square with 49 degrees of freedom, p = 0.001.
constexpr double kMostChiSquare = 85.4;

enum class Kind { kHttp, kTcp };

// Answers every connection with 200, or closes it, and notes when it came.
class Targets {
 public:
  explicit Targets(Kind kind) : kind_(kind) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    ok_ = ::bind(listener_, reinterpret_cast<sockaddr*>(&at), size) == 0 &&
          ::listen(listener_, 4096) == 0 &&
          getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) == 0;
    port_ = ntohs(at.sin_port);
    for (auto& thread : threads_) thread = std::thread([this] { Serve(); });
  }
  ~Targets() {
    shutdown(listener_, SHUT_RDWR);
    for (auto& thread : threads_) thread.join();
    close(listener_);
  }
  Targets(const Targets&) = delete;

  bool ok() const { return ok_; }
  int port() const { return port_; }
  // When connections came since the last call.
  std::vector<absl::Time> Take() {
    base::MutexLock lock(mu_);
    return std::exchange(came_, {});
  }

 private:
  void Serve() {
    constexpr std::string_view kAnswer =
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfine\n";
    char request[4096];
    for (;;) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      {
        base::MutexLock lock(mu_);
        came_.push_back(test::Now());
      }
      if (kind_ == Kind::kHttp && recv(fd, request, sizeof request, 0) > 0) {
        (void)!send(fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL);
      }
      close(fd);
    }
  }

  const Kind kind_;
  int listener_ = -1;
  int port_ = 0;
  bool ok_ = false;
  base::Mutex mu_;
  std::vector<absl::Time> came_ MUSTER_GUARDED_BY(mu_);
  std::array<std::thread, 2> threads_;
};

v1::RegisterRequest Request(size_t number, Kind kind, int port) {
  v1::RegisterRequest request;
  request.set_permanent(true);
  v1::Instance& instance = *request.mutable_instance();
  instance.set_service(absl::StrCat("service-", number % 1000));
  instance.set_id(absl::StrCat("i-", number));
  instance.set_address("127.0.0.1");
  instance.set_port(static_cast<uint32_t>(port));
  v1::Check& check = *instance.add_checks();
  if (kind == Kind::kHttp) {
    check.mutable_http()->set_url("/health");
  } else {
    check.mutable_tcp();
  }
  check.mutable_interval()->set_seconds(absl::ToInt64Seconds(kInterval));
  return request;
}

// A server with checks that have run for a while.
class Checked {
 public:
  static absl::StatusOr<std::shared_ptr<Checked>> Make(Kind kind, const Options& options) {
    auto out = std::make_shared<Checked>();
    out->count_ = options.Scaled(kChecks);
    out->targets_ = std::make_unique<Targets>(kind);
    if (!out->targets_->ok()) return absl::UnavailableError("no target can be played");
    auto server = WithClient(StartMusterd());
    if (!server.ok()) return server.status();
    out->server_ = *std::move(server);
    for (size_t begin = 0; begin < out->count_; begin += kBatch) {
      v1::BatchRegisterRequest batch;
      for (size_t i = begin; i < std::min(begin + kBatch, out->count_); ++i) {
        *batch.add_requests() = Request(i, kind, out->targets_->port());
      }
      auto done = CallOnce(*out->server_->client, kBatchRegister, batch.SerializeAsString());
      if (!done.ok()) return done.status();
    }
    test::Pause(options.quick ? absl::Seconds(1) : kSettle);
    return out;
  }

  absl::StatusOr<Readings> Cost(absl::Duration duration) {
    targets_->Take();
    const Meter meter(*server_->process);
    const absl::Time begin = test::Now();
    test::Pause(duration);
    const absl::Duration cpu = meter.CpuTime();
    const absl::Duration elapsed = test::Now() - begin;
    const double runs = static_cast<double>(targets_->Take().size());
    return Readings{{"cores", absl::FDivDuration(cpu, elapsed)},
                    {"rate", runs / absl::ToDoubleSeconds(elapsed)},
                    {"us", absl::ToDoubleMicroseconds(cpu) / std::max(runs, 1.0)}};
  }

  // Of an interval.
  absl::StatusOr<Readings> Spread(absl::Duration window) {
    targets_->Take();
    const absl::Time begin = test::Now();
    test::Pause(window);
    std::array<double, kBins> bins{};
    const std::vector<absl::Time> came = targets_->Take();
    for (const absl::Time at : came) {
      const double place = absl::FDivDuration(at - begin, window) * kBins;
      ++bins[std::min(static_cast<size_t>(std::max(place, 0.0)), kBins - 1)];
    }
    const double expected = std::max(static_cast<double>(came.size()) / kBins, 1e-9);
    double chi_square = 0;
    for (const double n : bins) chi_square += (n - expected) * (n - expected) / expected;
    return Readings{{"chi_square", chi_square}};
  }

 private:
  size_t count_ = 0;
  std::unique_ptr<Targets> targets_;
  std::shared_ptr<Server> server_;
};

absl::StatusOr<Plan> PlanHealth(const Options& options) {
  Plan plan;
  plan.warm_up = false;
  const absl::Duration window = options.quick ? options.round : kInterval;
  for (const auto& [kind, name] : {std::pair(Kind::kHttp, "http"), {Kind::kTcp, "tcp"}}) {
    auto checked = Checked::Make(kind, options);
    if (!checked.ok()) return checked.status();
    plan.contestants.push_back(
        {name, [made = *checked, round = options.round] { return made->Cost(round); }});
    plan.comparisons.push_back({.metric = absl::StrCat("server CPU, ", name),
                                .unit = "cores",
                                .value = {name, "cores"},
                                .goal = AtMost(0.5)});
    plan.comparisons.push_back(
        {.metric = absl::StrCat("runs, ", name), .unit = "1/s", .value = {name, "rate"}});
    plan.comparisons.push_back(
        {.metric = absl::StrCat("CPU of a run, ", name), .unit = "us", .value = {name, "us"}});
    if (kind != Kind::kHttp) continue;
    plan.contestants.push_back({"spread",
                                [made = *checked, window, done = std::make_shared<Readings>()]()
                                    -> absl::StatusOr<Readings> {
                                  // Takes an interval: once is enough.
                                  if (done->empty()) {
                                    auto spread = made->Spread(window);
                                    if (!spread.ok()) return spread.status();
                                    *done = *std::move(spread);
                                  }
                                  return *done;
                                }});
  }
  plan.comparisons.push_back({.metric = "chi-square of 50 parts of an interval",
                              .unit = "",
                              .value = {"spread", "chi_square"},
                              .goal = AtMost(kMostChiSquare)});
  return plan;
}

const Registration registration("health",
                                "20,000 checks every 10 s: what the server spends on them",
                                &PlanHealth);

}  // namespace
}  // namespace muster::bench
