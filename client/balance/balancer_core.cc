#include "client/balance/balancer_core.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "base/rng.h"
#include "client/balance/edf_queue.h"

namespace muster::client {
namespace {

// Over which latencies are forgotten, in microseconds.
constexpr double kLatencyMemory = 10e6;
// What an endpoint is taken for that has calls under way and none that ended.
constexpr double kUnknownLatency = 1e5;
// Maglev's next entries are asked when an endpoint has gone and its table is still in use.
constexpr uint32_t kProbes = 16;
// How many are proposed, by weight, before all are looked at.
constexpr uint32_t kTries = 8;

std::atomic<uint64_t> last_id{0};

bool Contains(const EndpointList* tried, const Endpoint* endpoint) {
  return tried != nullptr &&
         std::any_of(tried->begin(), tried->end(),
                     [endpoint](const EndpointPtr& one) { return one.get() == endpoint; });
}

// What is left of a latency after so many microseconds: (1 - t/6)^6 for e^-t, which takes longer
// than all the rest. Nothing is left after a minute.
double Kept(double age_us) {
  const double part = std::clamp(1 - age_us / (6 * kLatencyMemory), 0.0, 1.0);
  const double cubed = part * part * part;
  return cubed * cubed;
}

}  // namespace

struct BalancerCore::Slot {
  std::weak_ptr<bool> exists;        // its balancer does
  uint64_t version = 0;              // of the view
  std::shared_ptr<const View> view;  // by a count of its own
  EdfQueue queue;                    // of the view's seats; empty when they are equal
  struct Wait {
    const EndpointLoad* load = nullptr;  // whose it is
    double until = 0;                    // its turn, as a part of its step
  };
  std::vector<Wait> waits;  // by a seat's number
  uint64_t turn = 0;
  base::SeededRng rng{base::SystemRng().Next()};
};

BalancerCore::BalancerCore(BalanceOptions options, Breaking breaking, uint64_t seed,
                           const base::Clock& clock, Scheduler& scheduler)
    : policy_(options.policy),
      zone_(options.zone),
      breaking_(breaking),
      id_(++last_id),
      clock_(clock),
      scheduler_(scheduler),
      views_(std::move(options), breaking.breaker, seed) {
  Remake();
}

BalancerCore::~BalancerCore() { scheduler_.Cancel(timer_); }

void BalancerCore::Update(const Resolution& resolution, const std::string& service) {
  endpoints_ = *resolution.endpoints;
  source_ = resolution.source;
  if (endpoints_.empty()) why_empty_ = absl::UnavailableError(resolution.WhyEmpty(service));
  Remake();
}

void BalancerCore::Fail(absl::Status why) {
  why_empty_ = std::move(why);
  Remake();
}

void BalancerCore::Remake() {
  const base::SteadyTime now = clock_.Steady();
  auto view = views_.Make(endpoints_, source_, why_empty_, now);
  {
    base::MutexLock lock(mu_);
    view_.swap(view);
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  arrivals_ = views_.arrivals();
  CountLeftOut();
  scheduler_.Cancel(std::exchange(timer_, 0));
  if (!views_.next()) return;
  timer_ = scheduler_.At(*views_.next(), [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->timer_ = 0;
    self->Remake();
  });
}

absl::Status BalancerCore::status() const {
  base::MutexLock lock(mu_);
  return view_->status;
}

BalancerCore::Slot& BalancerCore::SlotOfThread() {
  thread_local absl::flat_hash_map<uint64_t, std::unique_ptr<Slot>> slots;
  thread_local uint64_t used_id = 0;
  thread_local Slot* used = nullptr;
  if (used_id != id_) {
    std::unique_ptr<Slot>& slot = slots[id_];
    if (slot == nullptr) {
      // Those of balancers that have ended go.
      absl::erase_if(slots, [](const auto& one) {
        return one.second != nullptr && one.second->exists.expired();
      });
      std::unique_ptr<Slot>& made = slots[id_];
      made = std::make_unique<Slot>();
      made->exists = exists_;
      made->turn = made->rng.Next() >> 8;
    }
    used = slots[id_].get();
    used_id = id_;
  }
  Slot& slot = *used;
  if (slot.version == version_.load(std::memory_order_acquire)) return slot;
  TakeView(slot);
  return slot;
}

void BalancerCore::TakeView(Slot& slot) const {
  const std::shared_ptr<const View> former = std::move(slot.view);
  {
    base::MutexLock lock(mu_);
    const auto holder = std::make_shared<std::shared_ptr<const View>>(view_);
    slot.view = std::shared_ptr<const View>(holder, holder->get());
    slot.version = version_.load(std::memory_order_relaxed);
  }
  // Who was in the queue stays where it was in it: if each change dealt anew, the first of each
  // deal would have more than their share.
  if (former != nullptr) {
    slot.queue.ForEach([&](size_t i, double until) {
      const Seat& seat = former->seats[i];
      if (seat.number >= slot.waits.size()) slot.waits.resize(seat.number + 1);
      slot.waits[seat.number] = {seat.load.get(), until};
    });
  }
  const View& view = *slot.view;
  const bool in_turn = policy_ == Policy::kRoundRobin || policy_ == Policy::kWeighted;
  if (view.equal || !in_turn) return slot.queue.Clear();
  slot.queue.Fill(
      view.seats.size(), [&view](size_t i) { return view.seats[i].weight; },
      [&](size_t i) {
        const Seat& seat = view.seats[i];
        const bool waited =
            seat.number < slot.waits.size() && slot.waits[seat.number].load == seat.load.get();
        return waited ? slot.waits[seat.number].until : slot.rng.Unit();
      });
}

Pick BalancerCore::Next() {
  Slot& slot = SlotOfThread();
  return Choose(slot, policy_ == Policy::kConsistentHash ? slot.rng.Next() : 0);
}

Pick BalancerCore::Next(std::string_view key) {
  return Choose(SlotOfThread(), policy_ == Policy::kConsistentHash ? StableHash(key) : 0);
}

Pick BalancerCore::NextBut(const Tried& tried, const std::string* but_zone) {
  Slot& slot = SlotOfThread();
  return Choose(slot, slot.rng.Next(), &tried, but_zone);
}

Pick BalancerCore::NextArrived(uint64_t after) {
  Slot& slot = SlotOfThread();
  const Candidate arrived = Draw(slot, {.came_after = after, .left_out = true});
  return arrived.endpoint != nullptr ? Take(slot, arrived) : Next();
}

Pick BalancerCore::Choose(Slot& slot, uint64_t hash, const Tried* tried,
                          const std::string* but_zone) {
  const View& view = *slot.view;
  if (view.seats.empty()) return {};
  // What ails an endpoint often ails its zone.
  if (but_zone != nullptr && view.has_zones && policy_ != Policy::kConsistentHash) {
    const Candidate other = Draw(slot, {.tried = tried, .but_zone = but_zone});
    if (other.endpoint != nullptr) return Take(slot, other);
  }
  if (tried == nullptr && left_out_.load(std::memory_order_relaxed) == 0) {
    return Take(slot, Propose(slot, hash, 0, tried));
  }
  Candidate found = Find(slot, hash, tried);
  if (found.endpoint == nullptr) found = Draw(slot, {.tried = tried});
  // When nobody at all is let through somebody is better than nobody.
  if (found.endpoint == nullptr) found = Propose(slot, hash, 0, tried);
  return Take(slot, found);
}

BalancerCore::Candidate BalancerCore::Find(Slot& slot, uint64_t hash, const Tried* tried) {
  for (uint32_t probe = 0; probe < kTries; ++probe) {
    const Candidate candidate = Propose(slot, hash, probe, tried);
    if (Admits(candidate, tried)) return candidate;
  }
  // One that has nearly all the weight was proposed again and again.
  const View& view = *slot.view;
  const size_t size = view.seats.size();
  const size_t from = slot.rng.Uniform(size);
  for (size_t i = 0; i < size; ++i) {
    const Seat& seat = view.seats[(from + i) % size];
    const Candidate candidate{&seat.endpoint, seat.load.get()};
    if (Admits(candidate, tried)) return candidate;
  }
  return {};
}

BalancerCore::Candidate BalancerCore::Draw(Slot& slot, const Conditions& conditions) const {
  Candidate drawn;
  double total = 0;
  const int64_t now_us = clock_.Steady().us;
  for (const std::vector<Seat>* seats : {&slot.view->seats, &slot.view->reserve}) {
    for (const Seat& seat : *seats) {
      const EndpointLoad& load = *seat.load;
      const bool is_due =
          conditions.probes && load.probe_us.load(std::memory_order_relaxed) <= now_us;
      const bool is_out = load.left_out.load(std::memory_order_relaxed);
      if (is_out && !is_due && !conditions.left_out) continue;
      if (Contains(conditions.tried, seat.endpoint.get())) continue;
      if (conditions.but_zone != nullptr && seat.endpoint->zone == *conditions.but_zone) continue;
      if (conditions.came_after && seat.came <= *conditions.came_after) continue;
      total += seat.own;
      if (slot.rng.Unit() * total < seat.own) drawn = {&seat.endpoint, seat.load.get()};
    }
  }
  if (drawn.endpoint == nullptr || conditions.left_out || Admits(drawn, nullptr)) return drawn;
  Conditions well = conditions;
  well.probes = false;
  return Draw(slot, well);
}

Pick BalancerCore::Take(const Slot& slot, const Candidate& candidate) const {
  Pick pick;
  pick.endpoint_ = std::shared_ptr<const Endpoint>(slot.view, candidate.endpoint->get());
  pick.own_ = candidate.endpoint;
  pick.load_ = candidate.load;
  pick.source_ = slot.view->source;
  if (policy_ == Policy::kLeastLoaded) {
    candidate.load->outstanding.fetch_add(1, std::memory_order_relaxed);
    pick.clock_ = &clock_;
    // One that was found at last, among all, has no time yet.
    pick.began_us_ = candidate.now_us != 0 ? candidate.now_us : clock_.Steady().us;
  }
  return pick;
}

BalancerCore::Candidate BalancerCore::Propose(Slot& slot, uint64_t hash, uint32_t probe,
                                              const Tried* tried) const {
  const View& view = *slot.view;
  if (policy_ == Policy::kConsistentHash) {
    for (uint32_t i = 0; i < kProbes; ++i) {
      const Maglev::Member& member = view.maglev->Find(hash, probe + i);
      if (!member.load->gone.load(std::memory_order_relaxed)) {
        return {&member.endpoint, member.load.get()};
      }
    }
    const Seat& seat = view.seats[(hash + probe) % view.seats.size()];
    return {&seat.endpoint, seat.load.get()};
  }
  if (policy_ == Policy::kLeastLoaded) {
    const int64_t now_us = clock_.Steady().us;
    const Seat& seat = LessLoaded(slot, now_us, probe, tried);
    return {&seat.endpoint, seat.load.get(), now_us};
  }
  const size_t at = view.equal ? slot.turn++ % view.seats.size() : slot.queue.Next();
  return {&view.seats[at].endpoint, view.seats[at].load.get()};
}

bool BalancerCore::Admits(const Candidate& candidate, const Tried* tried) const {
  if (Contains(tried, candidate.endpoint->get())) return false;
  EndpointLoad& load = *candidate.load;
  if (!load.left_out.load(std::memory_order_relaxed)) return true;
  base::MutexLock lock(load.mu);
  const bool may = load.breaker.Allow(clock_.Steady());
  load.probe_us.store(load.breaker.until().us, std::memory_order_relaxed);
  return may;
}

bool BalancerCore::Report(const Pick& pick, bool ok, BreakerState* state) {
  EndpointLoad& load = *pick.load_;
  const base::SteadyTime now = clock_.Steady();
  CountOfZone(*pick, ok, now);
  {
    base::MutexLock lock(load.mu);
    const BreakerState before = load.breaker.state();
    load.breaker.Record(ok, now);
    *state = load.breaker.state();
    if (*state == before) return false;
    load.probe_us.store(load.breaker.until().us, std::memory_order_relaxed);
    if (*state == BreakerState::kClosed) {
      load.left_out.store(false, std::memory_order_relaxed);
    } else if (before == BreakerState::kClosed && !TryLeaveOut(load, now)) {
      // It begins to count anew.
      load.breaker.Close();
      *state = BreakerState::kClosed;
      return false;
    }
  }
  CountLeftOut();
  return true;
}

void BalancerCore::GiveBack(const Pick& pick) {
  base::MutexLock lock(pick.load_->mu);
  pick.load_->breaker.GiveBack();
}

bool BalancerCore::IsProbe(const Pick& pick) {
  return pick.load_->left_out.load(std::memory_order_relaxed);
}

void BalancerCore::Lighten(Pick* pick) {
  struct Kept {
    EndpointPtr endpoint;
    std::shared_ptr<EndpointLoad> load;
  };
  auto kept = std::make_shared<Kept>(Kept{*pick->own_, pick->load_->shared_from_this()});
  pick->own_ = &kept->endpoint;
  pick->endpoint_ = std::shared_ptr<const Endpoint>(kept, kept->endpoint.get());
}

void BalancerCore::CountOfZone(const Endpoint& endpoint, bool ok, base::SteadyTime now) {
  const uint32_t most = breaking_.breaker.in_a_row;
  if (zone_.empty() || most == 0 || endpoint.zone != zone_) return;
  if (ok) {
    if (zone_failed_.load(std::memory_order_relaxed) != 0) zone_failed_ = 0;
    return;
  }
  // What was called before it was left.
  if (now.us < suspended_until_us_.load(std::memory_order_relaxed)) return;
  const bool on_trial = now.us < on_trial_until_us_.load(std::memory_order_relaxed);
  if (++zone_failed_ < most && !on_trial) return;
  if (leaves_zone_.exchange(true)) return;
  scheduler_.Post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->SuspendZone();
  });
}

void BalancerCore::SuspendZone() {
  const base::SteadyTime until = clock_.Steady() + breaking_.breaker.reset;
  const base::SteadyTime on_trial_until = until + breaking_.breaker.reset;
  suspended_until_us_ = until.us;
  on_trial_until_us_ = on_trial_until.us;
  views_.SuspendZone(until, on_trial_until);
  Remake();
  zone_failed_ = 0;
  leaves_zone_ = false;
}

size_t BalancerCore::left_out() const {
  base::MutexLock lock(mu_);
  return OutNow(clock_.Steady());
}

size_t BalancerCore::OutNow(base::SteadyTime now) const {
  const auto is_out = [](const Seat& seat) {
    return seat.load->left_out.load(std::memory_order_relaxed);
  };
  // Nobody asks the others whether they are well again, unless they are needed.
  const auto is_out_now = [&](const Seat& seat) {
    return is_out(seat) && seat.load->probe_us.load(std::memory_order_relaxed) > now.us;
  };
  return static_cast<size_t>(
      std::count_if(view_->seats.begin(), view_->seats.end(), is_out) +
      std::count_if(view_->reserve.begin(), view_->reserve.end(), is_out_now));
}

bool BalancerCore::TryLeaveOut(EndpointLoad& load, base::SteadyTime now) {
  base::MutexLock lock(mu_);
  const auto size = static_cast<double>(view_->seats.size() + view_->reserve.size());
  const auto would_be = static_cast<double>(OutNow(now) + 1);
  const bool may = would_be < size && (would_be == 1 || would_be <= breaking_.most * size);
  if (may) load.left_out.store(true, std::memory_order_relaxed);
  return may;
}

void BalancerCore::CountLeftOut() {
  base::MutexLock lock(mu_);
  left_out_ = static_cast<size_t>(std::count_if(
      view_->seats.begin(), view_->seats.end(),
      [](const Seat& seat) { return seat.load->left_out.load(std::memory_order_relaxed); }));
}

const Seat& BalancerCore::LessLoaded(Slot& slot, int64_t now_us, uint32_t probe,
                                     const Tried* tried) const {
  const View& view = *slot.view;
  const size_t size = view.seats.size();
  size_t one = 0;
  size_t other = 0;
  if (view.equal) {
    one = slot.rng.Uniform(size);
    if (size > 1) other = (one + 1 + slot.rng.Uniform(size - 1)) % size;
  } else {
    one = view.chances.Draw(slot.rng.Next());
    other = view.chances.Draw(slot.rng.Next());
  }
  const auto cost = [&](const Seat& seat) {
    const EndpointLoad& load = *seat.load;
    // Of those that fail the cheapest would be proposed again and again. One whose time has come is
    // tried before all others.
    if (load.left_out.load(std::memory_order_relaxed)) {
      const bool is_due = load.probe_us.load(std::memory_order_relaxed) <= now_us;
      return probe == 0 && is_due ? -1.0 : std::numeric_limits<double>::infinity();
    }
    if (Contains(tried, seat.endpoint.get())) return std::numeric_limits<double>::infinity();
    const double calls = load.outstanding.load(std::memory_order_relaxed);
    const double latency = load.latency_us.load(std::memory_order_relaxed);
    if (latency == 0) return kUnknownLatency * calls;  // the first one is free
    const auto age = static_cast<double>(now_us - load.updated_us.load(std::memory_order_relaxed));
    // A microsecond more, so that those under way count also when the latency is forgotten.
    return (latency * Kept(age) + 1) * (calls + 1);
  };
  return cost(view.seats[one]) <= cost(view.seats[other]) ? view.seats[one] : view.seats[other];
}

Pick& Pick::operator=(Pick&& other) noexcept {
  if (this != &other) {
    if (clock_ != nullptr) load_->outstanding.fetch_sub(1, std::memory_order_relaxed);
    endpoint_ = std::move(other.endpoint_);
    own_ = other.own_;
    load_ = std::exchange(other.load_, nullptr);
    clock_ = std::exchange(other.clock_, nullptr);
    began_us_ = other.began_us_;
    source_ = other.source_;
  }
  return *this;
}

Pick::Pick(Pick&& other) noexcept
    : endpoint_(std::move(other.endpoint_)),
      own_(other.own_),
      load_(std::exchange(other.load_, nullptr)),
      clock_(std::exchange(other.clock_, nullptr)),
      began_us_(other.began_us_),
      source_(other.source_) {}

Pick::~Pick() {
  if (clock_ != nullptr) load_->outstanding.fetch_sub(1, std::memory_order_relaxed);
}

void Pick::Done() {
  if (clock_ == nullptr) return;
  EndpointLoad& load = *load_;
  load.outstanding.fetch_sub(1, std::memory_order_relaxed);
  const int64_t now_us = std::exchange(clock_, nullptr)->Steady().us;
  const double took = std::max<double>(static_cast<double>(now_us - began_us_), 1);
  const double before = load.latency_us.load(std::memory_order_relaxed);
  const auto age = static_cast<double>(now_us - load.updated_us.load(std::memory_order_relaxed));
  // A rise counts at once, a fall by and by. Threads may overwrite each other's: it's an estimate.
  const double keeps = Kept(age);
  const double after = took > before ? took : before * keeps + took * (1 - keeps);
  load.latency_us.store(static_cast<float>(after), std::memory_order_relaxed);
  load.updated_us.store(now_us, std::memory_order_relaxed);
}

Pick Balancer::Next() const { return core_->Next(); }

Pick Balancer::Next(std::string_view key) const { return core_->Next(key); }

absl::Status Balancer::status() const { return core_->status(); }

}  // namespace muster::client
