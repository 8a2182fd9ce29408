#include "muster/client/metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/text.h"

namespace muster::client {
namespace {

constexpr std::array<std::string_view, Resolution::kSources> kSourceNames = {
    "registry", "last_known", "snapshot", "dns", "static", "override"};

using Labels = std::string;

std::string Label(std::string_view name, std::string_view value) {
  return absl::StrCat(
      base::Av(name), "=\"",
      absl::StrReplaceAll(base::Av(value), {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}), "\"");
}

// One family: its help, its type, and then its samples.
class Family {
 public:
  Family(std::string* text, std::string_view name, std::string_view type, std::string_view help)
      : text_(text), name_(base::Av(name)) {
    absl::StrAppend(text_, "# HELP ", name_, " ", base::Av(help), "\n# TYPE ", name_, " ",
                    base::Av(type), "\n");
  }
  template <typename Number>
  void Add(const Labels& labels, Number value, std::string_view suffix = "") {
    absl::StrAppend(text_, name_, base::Av(suffix), "{", labels, "} ", value, "\n");
  }
  void Add(const Labels& labels, const LatencyCounts& latency) {
    uint64_t below = 0;
    for (size_t i = 0; i < latency.counts.size(); ++i) {
      below += latency.counts[i];
      const bool is_last = i == LatencyCounts::kBoundsUs.size();
      const std::string bound =
          is_last ? "+Inf"
                  : absl::StrCat(static_cast<double>(LatencyCounts::kBoundsUs[i]) / 1'000'000);
      Add(absl::StrCat(labels, ",", Label("le", bound)), below, "_bucket");
    }
    // All digits: whoever reckons with differences needs the last ones.
    Add(labels, absl::StrFormat("%d.%06d", latency.sum_us / 1'000'000, latency.sum_us % 1'000'000),
        "_sum");
    Add(labels, below, "_count");
  }

 private:
  std::string* text_;
  std::string name_;
};

std::string Of(const ServiceMetrics& service) { return Label("service", service.service); }

std::string Of(const ServiceMetrics& service, const EndpointMetrics& endpoint) {
  return absl::StrCat(Of(service), ",", Label("endpoint", endpoint.endpoint));
}

void AddEndpoints(std::string* text, const Metrics& metrics) {
  const auto each = [&](const auto& add) {
    for (const ServiceMetrics& service : metrics.services) {
      for (const EndpointMetrics& one : service.endpoints) add(Of(service, one), one);
    }
  };
  Family attempts(text, "muster_client_endpoint_attempts_total", "counter",
                  "Attempts at an endpoint");
  each([&](const Labels& labels, const EndpointMetrics& one) {
    attempts.Add(labels, one.attempts);
  });
  Family failed(text, "muster_client_endpoint_failures_total", "counter",
                "Attempts at an endpoint that failed");
  each([&](const Labels& labels, const EndpointMetrics& one) { failed.Add(labels, one.failed); });
  Family seconds(text, "muster_client_endpoint_attempt_seconds", "histogram",
                 "How long attempts at an endpoint took");
  each([&](const Labels& labels, const EndpointMetrics& one) { seconds.Add(labels, one.latency); });
}

// Two samples with the same labels would spoil the scrape: those that have no id yet are numbered.
std::vector<Labels> LabelsOf(const std::vector<RegistrationMetrics>& registrations) {
  std::vector<Labels> labels;
  std::set<Labels> seen;
  for (const RegistrationMetrics& one : registrations) {
    Labels label;
    int number = 0;
    do {
      const std::string id = number == 0 ? one.status.id : absl::StrCat(one.status.id, "#", number);
      label = absl::StrCat(Label("service", one.service), ",", Label("id", id));
      ++number;
    } while (!seen.insert(label).second);
    labels.push_back(std::move(label));
  }
  return labels;
}

// When the registry last said that it has them is the number to watch.
void AddRegistrations(std::string* text, const Metrics& metrics) {
  const std::vector<Labels> labels = LabelsOf(metrics.registrations);
  const auto each = [&](std::string_view name, std::string_view help, const auto& value) {
    Family family(text, name, "gauge", help);
    for (size_t i = 0; i < labels.size(); ++i) {
      family.Add(labels[i], value(metrics.registrations[i].status));
    }
  };
  each("muster_client_registration_held", "1: the registry has it",
       [](const RegistrationStatus& status) {
         return status.state == RegistrationStatus::State::kHeld ? 1 : 0;
       });
  each("muster_client_registration_unconfirmed_seconds",
       "Since the registry last said that it has it; +Inf: never",
       [](const RegistrationStatus& status) {
         const double seconds = absl::ToDoubleSeconds(status.unconfirmed);
         return std::isinf(seconds) ? std::string("+Inf") : absl::StrCat(seconds);
       });
}

}  // namespace

void LatencyCounts::Add(int64_t took_us) {
  const auto at = std::lower_bound(kBoundsUs.begin(), kBoundsUs.end(), took_us);
  ++counts[static_cast<size_t>(at - kBoundsUs.begin())];
  sum_us += took_us;
}

uint64_t LatencyCounts::count() const {
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

std::string PrometheusText(const Metrics& metrics) {
  std::string text;
  const auto each = [&](std::string_view name, std::string_view type, std::string_view help,
                        const auto& value) {
    Family family(&text, name, type, help);
    for (const ServiceMetrics& service : metrics.services) family.Add(Of(service), value(service));
  };
  using Service = ServiceMetrics;
  each("muster_client_calls_total", "counter", "Calls of a service",
       [](const Service& service) { return service.calls; });
  each("muster_client_call_failures_total", "counter", "Calls that failed after all attempts",
       [](const Service& service) { return service.failed; });
  each("muster_client_calls_not_made_total", "counter",
       "Calls without an attempt: the breaker was open, or there was no endpoint",
       [](const Service& service) { return service.not_made; });
  each("muster_client_breaker_state", "gauge", "Of the service: 0 closed, 1 open, 2 half open",
       [](const Service& service) { return static_cast<int>(service.breaker); });
  each("muster_client_call_seconds", "histogram", "How long calls took, with retries and pauses",
       [](const Service& service) { return service.latency; });
  Family attempts(&text, "muster_client_attempts_total", "counter",
                  "Attempts, by who knew the endpoint");
  for (const Service& service : metrics.services) {
    for (size_t i = 0; i < service.by_source.size(); ++i) {
      attempts.Add(absl::StrCat(Of(service), ",", Label("source", kSourceNames[i])),
                   service.by_source[i]);
    }
  }
  AddEndpoints(&text, metrics);
  AddRegistrations(&text, metrics);
  return text;
}

}  // namespace muster::client
