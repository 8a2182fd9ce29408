#include "client/balance/view.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace muster::client {
namespace {

// Of its weight, what an endpoint gets at the very beginning; and in how many steps it grows.
constexpr double kFirstPart = 0.1;
constexpr int kSteps = 10;
// Tables of Maglev are made ten times a second at most.
constexpr absl::Duration kBetweenTables = absl::Milliseconds(100);

// Of its capacity, with what a zone begins that has been left.
constexpr double kTrialPart = 0.05;
// A zone without endpoints counts as one that calls for so long.
constexpr absl::Duration kZoneMemory = absl::Hours(1);

bool TakesCalls(const Endpoint& endpoint) {
  return endpoint.state == Endpoint::State::kActive && endpoint.weight() > 0;
}

}  // namespace

void Views::Learn(const EndpointList& endpoints, base::SteadyTime now) {
  std::set<Key> present;
  for (const EndpointPtr& endpoint : endpoints) {
    const Key key(endpoint->node, endpoint->id);
    present.insert(key);
    const auto [it, is_new] = known_.try_emplace(key);
    if (is_new) {
      it->second.number = static_cast<uint32_t>(known_.size() - 1);
      if (!free_numbers_.empty()) {
        it->second.number = free_numbers_.back();
        free_numbers_.pop_back();
      }
    }
    LearnOf(*endpoint, is_new, now, &it->second);
  }
  began_ |= !endpoints.empty();
  std::erase_if(known_, [&](const auto& known) {
    if (present.contains(known.first)) return false;
    known.second.load->gone = true;
    free_numbers_.push_back(known.second.number);
    return true;
  });
}

void Views::LearnOf(const Endpoint& endpoint, bool is_new, base::SteadyTime now, Known* known) {
  const bool has_moved = !is_new && known->address != endpoint.address;
  const bool has_changed = has_moved || (!is_new && known->revision != endpoint.revision);
  // What was counted of another process says nothing of this one.
  if (has_moved) known->load->gone = true;
  if (is_new || has_moved) {
    known->load = std::make_shared<EndpointLoad>(breaker_);
    known->since = began_ ? now : now - options_.slow_start;
  }
  if (has_changed || (is_new && began_)) known->came = ++arrivals_;
  known->address = endpoint.address;
  known->revision = endpoint.revision;
}

std::vector<EndpointPtr> Views::Chosen(const EndpointList& endpoints) const {
  std::vector<EndpointPtr> chosen;
  std::copy_if(endpoints.begin(), endpoints.end(), std::back_inserter(chosen),
               [](const EndpointPtr& endpoint) { return TakesCalls(*endpoint); });
  if (options_.subset == 0 || chosen.size() <= options_.subset) return chosen;
  // By rendezvous: each has a number for this balancer, and the highest are in.
  std::vector<std::pair<uint64_t, EndpointPtr>> numbered;
  numbered.reserve(chosen.size());
  for (EndpointPtr& endpoint : chosen) {
    const std::string name = absl::StrCat(endpoint->node, std::string(1, '\0'), endpoint->id);
    numbered.emplace_back(StableHash(name, seed_), std::move(endpoint));
  }
  std::nth_element(numbered.begin(), numbered.begin() + options_.subset, numbered.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  chosen.clear();
  for (size_t i = 0; i < options_.subset; ++i) chosen.push_back(std::move(numbered[i].second));
  return chosen;
}

void Views::MakeAgainAt(base::SteadyTime time) { next_ = next_ ? std::min(*next_, time) : time; }

double Views::StartedBy(const Known& known, base::SteadyTime now) {
  const absl::Duration age = now - known.since;
  if (age >= options_.slow_start) return 1;
  MakeAgainAt(now + options_.slow_start / kSteps);
  return std::max(kFirstPart, absl::FDivDuration(age, options_.slow_start));
}

std::shared_ptr<const View> Views::Make(const EndpointList& endpoints, Resolution::Source source,
                                        absl::Status why_empty, base::SteadyTime now) {
  next_.reset();
  Learn(endpoints, now);
  auto view = std::make_shared<View>();
  view->source = source;
  const bool hashes = options_.policy == Policy::kConsistentHash;
  for (EndpointPtr& endpoint : Chosen(endpoints)) {
    const Known& known = known_.at({endpoint->node, endpoint->id});
    double weight = options_.policy == Policy::kRoundRobin ? 1 : endpoint->weight();
    if (!hashes) weight *= StartedBy(known, now);
    view->seats.push_back(
        {std::move(endpoint), known.load, weight, known.number, weight, known.came});
  }
  if (view->seats.empty()) {
    view->status = endpoints.empty() ? std::move(why_empty)
                                     : absl::UnavailableError("no endpoint takes calls");
    return view;
  }
  view->has_zones = std::any_of(view->seats.begin(), view->seats.end(), [&](const Seat& seat) {
    return seat.endpoint->zone != view->seats.front().endpoint->zone;
  });
  if (hashes) {
    Hash(*view, now);
  } else if (!options_.zone.empty()) {
    PreferZone(*view, now);
  }
  view->equal = std::all_of(view->seats.begin(), view->seats.end(), [&](const Seat& seat) {
    return seat.weight == view->seats.front().weight;
  });
  if (options_.policy == Policy::kLeastLoaded && !view->equal) {
    std::vector<double> weights;
    weights.reserve(view->seats.size());
    for (const Seat& seat : view->seats) weights.push_back(seat.weight);
    view->chances = AliasTable(weights);
  }
  return view;
}

double Views::PartOfZone(bool others, base::SteadyTime now) {
  if (!others || now >= on_trial_until_) return 1;
  MakeAgainAt(now < suspended_until_ ? suspended_until_ : on_trial_until_);
  return now < suspended_until_ ? 0 : kTrialPart;
}

void Views::PreferZone(View& view, base::SteadyTime now) {
  std::map<std::string, double> capacity;
  double total = 0;
  for (const Seat& seat : view.seats) {
    capacity[seat.endpoint->zone] += seat.weight;
    zones_[seat.endpoint->zone] = now;
    total += seat.weight;
  }
  // Callers are still there when the last endpoint of a zone has gone.
  zones_[options_.zone] = now;
  std::erase_if(zones_, [now](const auto& zone) { return now - zone.second > kZoneMemory; });
  for (const auto& [zone, seen] : zones_) capacity[zone];
  const double part_of_zone = PartOfZone(capacity[options_.zone] < total, now);
  total -= capacity[options_.zone] * (1 - part_of_zone);
  capacity[options_.zone] *= part_of_zone;
  const double part = total / static_cast<double>(capacity.size());
  const double here = capacity[options_.zone];
  const double stays = std::min(1.0, here / part);
  double spare = 0;  // of the others, above their own part
  for (const auto& [zone, has] : capacity) {
    if (zone != options_.zone) spare += std::max(0.0, has - part);
  }
  for (Seat& seat : view.seats) {
    const double has = capacity[seat.endpoint->zone];
    if (seat.endpoint->zone == options_.zone) {
      seat.weight *= has > 0 ? part_of_zone * stays / has : 0;
    } else if (spare > 0) {
      seat.weight *= (1 - stays) * std::max(0.0, has - part) / spare / has;
    } else {
      seat.weight *= (1 - stays) / (total - here);
    }
  }
  const auto is_used = [](const Seat& seat) { return seat.weight > 0; };
  const auto unused = std::stable_partition(view.seats.begin(), view.seats.end(), is_used);
  view.reserve.assign(std::move_iterator(unused), std::move_iterator(view.seats.end()));
  view.seats.erase(unused, view.seats.end());
}

void Views::Hash(View& view, base::SteadyTime now) {
  const auto is_of = [&view](const Maglev& table) {
    if (table.members().size() != view.seats.size()) return false;
    std::map<EndpointPtr, double> weights;
    for (const Maglev::Member& member : table.members()) weights[member.endpoint] = member.weight;
    return std::all_of(view.seats.begin(), view.seats.end(), [&](const Seat& seat) {
      const auto found = weights.find(seat.endpoint);
      return found != weights.end() && found->second == seat.weight;
    });
  };
  if (maglev_ == nullptr || !is_of(*maglev_)) {
    if (maglev_ != nullptr && now - hashed_ < kBetweenTables) {
      MakeAgainAt(hashed_ + kBetweenTables);
    } else {
      std::vector<Maglev::Member> members;
      members.reserve(view.seats.size());
      for (const Seat& seat : view.seats) {
        members.push_back({seat.endpoint, seat.load, seat.weight});
      }
      maglev_ = std::make_shared<const Maglev>(std::move(members));
      hashed_ = now;
    }
  }
  view.maglev = maglev_;
}

}  // namespace muster::client
