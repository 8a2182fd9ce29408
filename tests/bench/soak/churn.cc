#include "tests/bench/soak/churn.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/thread.h"
#include "muster/v1/admin.pb.h"
#include "muster/v1/registry.pb.h"
#include "tests/bench/measure.h"
#include "tests/bench/requests.h"

namespace muster::bench {
namespace {

constexpr char kDeregister[] = "/muster.v1.Registry/Deregister";
constexpr char kVerify[] = "/muster.v1.Admin/Verify";
constexpr size_t kInFlight = 256;
constexpr size_t kFillBatch = 1'000;
constexpr size_t kBeatStreams = 16;
constexpr size_t kBeatLeases = 100;  // in a message
constexpr int64_t kStayingTtlSeconds = 60;
// So many numbers are used for what comes and goes; then they come again.
constexpr size_t kGuests = 500'000;
constexpr double kShare = 0.25;
// Register, and Deregister or expiry of the same instance.
constexpr double kWritesOfAGuest = 2;

std::string RegisterFor(absl::Duration ttl, size_t services) {
  v1::RegisterRequest request = MakeRegister(0, services);
  request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
  return request.SerializeAsString();
}

absl::Status AllRenewed(uint64_t, const grpc::ByteBuffer& reply) {
  v1::HeartbeatResponse response;
  bool renewed = response.ParseFromString(ToString(reply)) && response.outcomes_size() > 0;
  for (const int outcome : response.outcomes()) {
    renewed &= outcome == v1::HeartbeatResponse::RENEWED;
  }
  return renewed ? absl::OkStatus() : absl::InternalError("a lease was not renewed");
}

}  // namespace

Churn::Churn(const ServerProcess& server, const ChurnOptions& options)
    : options_(options),
      registering_(server.address(), 2, 1),
      deregistering_(server.address(), 1, 1),
      discovering_(server.address(), 2, 1),
      keeping_(server.address(), 1, 1),
      watchers_(server.address(), options.watchers),
      long_lived_(RegisterFor(absl::Hours(24), options.services), options.services),
      short_lived_(RegisterFor(options.life, options.services), options.services) {}

absl::StatusOr<std::unique_ptr<Churn>> Churn::Start(const ServerProcess& server,
                                                    const ChurnOptions& options) {
  std::unique_ptr<Churn> churn(new Churn(server, options));
  if (absl::Status status = churn->Calibrate(); !status.ok()) return status;
  if (absl::Status status = churn->Fill(); !status.ok()) return status;
  return churn;
}

// What stays, with handles.
absl::Status Churn::Fill() {
  handles_.resize(options_.staying);
  const NumberedBytes staying(RegisterFor(absl::Seconds(kStayingTtlSeconds), options_.services),
                              options_.services);
  UnaryLoad load{.method = kRegister, .in_flight = kInFlight};
  load.request = [&](uint64_t number, grpc::ByteBuffer* buffer) {
    *buffer = ToBuffer(staying.For(number));
    return number < handles_.size();
  };
  load.reply = [&](uint64_t number, const grpc::ByteBuffer& reply) {
    v1::RegisterResponse response;
    if (!response.ParseFromString(ToString(reply))) return absl::InternalError("unreadable reply");
    handles_[number] = response.lease_handle();
    return absl::OkStatus();
  };
  return registering_.Call(load, absl::Minutes(5)).status();
}

absl::Status Churn::Calibrate() {
  if (auto filled = bench::Fill(registering_, 0, options_.staying, options_.services);
      !filled.ok()) {
    return filled.status();
  }
  const auto registered =
      registering_.Call({.method = kRegister,
                         .in_flight = kInFlight,
                         .request = Rewrites(options_.staying, options_.services)},
                        options_.calibration);
  if (!registered.ok()) return registered.status();
  const auto discovered = discovering_.Call(
      {.method = kDiscover, .in_flight = kInFlight, .request = DiscoverAny(options_.services)},
      options_.calibration);
  if (!discovered.ok()) return discovered.status();
  registrations_ = registered->PerSecond() * kShare / kWritesOfAGuest;
  discovers_ = discovered->PerSecond() * kShare;
  return absl::OkStatus();
}

size_t Churn::NumberOf(uint64_t n) const { return options_.staying + n % kGuests; }

// Even ones stay until they are deregistered, odd ones expire.
UnaryLoad Churn::Registering() {
  UnaryLoad load{.method = kRegister, .in_flight = kInFlight, .per_second = registrations_};
  load.request = [this](uint64_t, grpc::ByteBuffer* buffer) {
    const uint64_t n = came_++;
    *buffer = ToBuffer((n % 2 == 0 ? long_lived_ : short_lived_).For(NumberOf(n)));
    return true;
  };
  load.reply = [this](uint64_t, const grpc::ByteBuffer&) {
    ++acknowledged_;
    return absl::OkStatus();
  };
  return load;
}

// In the order in which they came, when they came long enough ago. Ends a Run early when none did:
// then registrations fell behind.
UnaryLoad Churn::Deregistering() {
  UnaryLoad load{.method = kDeregister, .in_flight = kInFlight};
  if (!ending_) load.per_second = registrations_ / 2;
  const auto wait =
      ending_ ? uint64_t{0}
              : static_cast<uint64_t>(registrations_ * absl::ToDoubleSeconds(options_.life));
  load.request = [this, wait](uint64_t, grpc::ByteBuffer* buffer) {
    const uint64_t n = 2 * deregistered_.load();
    if (n + wait >= acknowledged_) return false;
    ++deregistered_;
    v1::DeregisterRequest request;
    *request.mutable_key() = KeyOf(NumberOf(n), options_.services);
    *buffer = ToBuffer(request.SerializeAsString());
    return true;
  };
  return load;
}

// Twice, each time on new streams.
absl::Status Churn::KeepAlive(absl::Duration duration) {
  const size_t messages = (handles_.size() + kBeatLeases - 1) / kBeatLeases;
  for (int half = 0; half < 2; ++half) {
    const absl::Time until = test::Now() + duration / 2;
    const auto kept = keeping_.Converse(
        {.method = kKeepAlive,
         .streams = kBeatStreams,
         .request =
             [&](uint64_t number, grpc::ByteBuffer* buffer) {
               if (number >= messages) return false;
               v1::HeartbeatRequest request;
               const size_t begin = number * kBeatLeases;
               for (size_t i = begin; i < std::min(begin + kBeatLeases, handles_.size()); ++i) {
                 request.add_lease_handles(handles_[i]);
               }
               *buffer = ToBuffer(request.SerializeAsString());
               return true;
             },
         .reply = &AllRenewed},
        absl::Seconds(kStayingTtlSeconds));
    if (!kept.ok()) return kept.status();
    test::Pause(std::max(until - test::Now(), absl::ZeroDuration()));
  }
  return absl::OkStatus();
}

absl::Status Churn::Run(absl::Duration duration, Sample* sample) {
  watchers_.Reopen(options_.watchers.streams / 4);
  absl::StatusOr<LoadResult> registered = absl::UnknownError("");
  absl::StatusOr<LoadResult> discovered = absl::UnknownError("");
  absl::StatusOr<LoadResult> deregistered = absl::UnknownError("");
  absl::Status kept;
  {
    const base::NamedThread a("registering",
                              [&] { registered = registering_.Call(Registering(), duration); });
    const base::NamedThread b(
        "deregistering", [&] { deregistered = deregistering_.Call(Deregistering(), duration); });
    const base::NamedThread c("keeping", [&] { kept = KeepAlive(duration); });
    discovered = discovering_.Call({.method = kDiscover,
                                    .in_flight = kInFlight,
                                    .request = DiscoverAny(options_.services),
                                    .per_second = discovers_},
                                   duration);
  }
  for (const absl::Status& status : {registered.status(), discovered.status(),
                                     deregistered.status(), kept, watchers_.status()}) {
    if (!status.ok()) return status;
  }
  const auto us = [](const LoadResult& result, double share) {
    return absl::ToDoubleMicroseconds(result.latency.Quantile(share));
  };
  sample->register_p50_us = us(*registered, 0.5);
  sample->register_p99_us = us(*registered, 0.99);
  sample->discover_p50_us = us(*discovered, 0.5);
  sample->discover_p99_us = us(*discovered, 0.99);
  const auto status = StatusOf(discovering_);
  if (!status.ok()) return status.status();
  sample->instances = static_cast<double>(status->instances());
  return absl::OkStatus();
}

absl::Status Churn::End() {
  ending_ = true;
  auto left = deregistering_.Call(Deregistering(), absl::Minutes(1));
  if (!left.ok()) return left.status();
  if (absl::Status status = KeepAlive(absl::ZeroDuration()); !status.ok()) return status;
  test::Pause(options_.life + absl::Seconds(2));
  if (absl::Status status = ExpectInstances(discovering_, options_.staying); !status.ok()) {
    return status;
  }
  const auto reply = CallOnce(discovering_, kVerify, "");
  if (!reply.ok()) return reply.status();
  v1::VerifyResponse verified;
  if (!verified.ParseFromString(*reply) || !verified.ok()) {
    return absl::DataLossError("Verify: " + verified.ShortDebugString());
  }
  return absl::OkStatus();
}

}  // namespace muster::bench
