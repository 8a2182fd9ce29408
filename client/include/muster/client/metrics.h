// What is counted of the calls that the callers and channels of a client make, and how its
// registrations are.
//
//   std::cout << PrometheusText(client->metrics());
//
// All numbers count from the client's beginning. Callers and channels of one service count
// together. An endpoint that hasn't been called for an hour is no longer listed; what was counted
// of it stays in the service's own numbers.
//
// Thread safety: values and pure functions. Units: microseconds.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "muster/client/caller.h"
#include "muster/client/registration.h"
#include "muster/client/resolution.h"

namespace muster::client {

struct LatencyCounts {
  static constexpr std::array<int64_t, 13> kBoundsUs = {
      500,     1'000,   2'500,   5'000,     10'000,    25'000,   50'000,
      100'000, 250'000, 500'000, 1'000'000, 2'500'000, 5'000'000};
  // Those that took at most kBoundsUs[i], and longer than the bound before; the last: all longer
  // ones.
  std::array<uint64_t, kBoundsUs.size() + 1> counts{};
  int64_t sum_us = 0;

  void Add(int64_t took_us);
  uint64_t count() const;
};

struct EndpointMetrics {
  std::string endpoint;  // "10.0.0.7:8001"
  uint64_t attempts = 0;
  uint64_t failed = 0;    // of them, with what counts as a failure of an endpoint (caller.h)
  LatencyCounts latency;  // of attempts
};

struct ServiceMetrics {
  std::string service;
  uint64_t calls = 0;
  uint64_t failed = 0;    // of the calls, after all attempts; those that weren't made, too
  uint64_t not_made = 0;  // of those: the breaker was open, or there was no endpoint
  uint64_t attempts = 0;
  LatencyCounts latency;  // of calls, pauses included
  // Attempts at endpoints that were known from there, by Resolution::Source.
  std::array<uint64_t, Resolution::kSources> by_source{};
  BreakerState breaker = BreakerState::kClosed;  // as it changed last, of any of the callers
  std::vector<EndpointMetrics> endpoints;        // by name
};

// One that hasn't been destroyed.
struct RegistrationMetrics {
  std::string service;
  RegistrationStatus status;
};

struct Metrics {
  std::vector<ServiceMetrics> services;  // by name
  std::vector<RegistrationMetrics> registrations;
};

// In Prometheus' text format 0.0.4: muster_client_calls_total and so on, labelled with `service`
// and `endpoint`, those of registrations with `service` and `id`.
std::string PrometheusText(const Metrics& metrics);

}  // namespace muster::client
