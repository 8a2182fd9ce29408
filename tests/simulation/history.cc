#include "tests/simulation/history.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/simulation/checks.h"

namespace muster::simulation {
namespace {

const std::vector<std::string>& ServiceKeys() {
  static const auto& keys = *new std::vector<std::string>{
      storage::EncodeServiceKey("default", "api"), storage::EncodeServiceKey("default", "api-b"),
      storage::EncodeServiceKey("default", "web"), storage::EncodeServiceKey("prod", "api")};
  return keys;
}

std::shared_ptr<FaultyStore> StoreOf(
    const std::array<storage::MemoryStore::Table, storage::kFamilyCount>& tables, uint64_t seq,
    bool identity) {
  auto store = std::make_shared<FaultyStore>(seq);
  std::vector<storage::Op> ops;
  for (int i = 0; i < storage::kFamilyCount; ++i) {
    for (const auto& [key, value] : tables[static_cast<size_t>(i)]) {
      const auto family = static_cast<Family>(i);
      if (!identity && family == Family::kMeta && key == storage::kStoreKey) continue;
      ops.push_back(storage::Put(family, key, value));
    }
  }
  const storage::Commit all{seq, ops};
  (void)store->Write({&all, 1});
  return store;
}

}  // namespace

History::History(HistoryOptions options) : options_(std::move(options)), rng_(options_.seed) {
  core::RegistryOptions& registry = server_options_.registry;
  registry.tombstones_per_service = 2 + rng_.Uniform(6);
  registry.tombstone_age = absl::Seconds(20 + static_cast<int64_t>(rng_.Uniform(100)));
  registry.forget_empty_after = absl::Seconds(40 + static_cast<int64_t>(rng_.Uniform(200)));
  big_ = rng_.Uniform(20) == 0;
  if (rng_.Uniform(10) == 0 && !big_) registry.max_instances = 5;
  tight_ = rng_.Uniform(8) == 0 && !big_;
  storage::EngineLimits& limits = server_options_.limits;
  if (tight_) limits.queue_max = 6;
  const size_t groups[] = {1, 2, 3, 1024};
  limits.group_max_units = groups[rng_.Uniform(4)];
  server_options_.sabotage = options_.sabotage;
  watch_limits_.snapshot_part = static_cast<uint32_t>(1 + rng_.Uniform(big_ ? 200 : 4));
  if (rng_.Uniform(4) == 0) watch_limits_.snapshot_budget_bytes = 300;
  watchers_ = std::make_unique<Watchers>(model_, clock_, rng_, tally_, options_.sabotage);
  store_ = std::make_shared<FaultyStore>();
}

History::~History() {
  if (server_ != nullptr) server_->engine.Close();
  watchers_.reset();
}

void History::Say(const std::string& what) {
  if (options_.print) options_.print(what);
}

std::string History::Run() {
  std::string wrong = Start();
  if (wrong.empty()) Load();
  const int steps = big_ ? options_.steps / 3 : options_.steps;  // each costs more
  for (int step = 0; wrong.empty() && step < steps; ++step) {
    wrong = Step();
    if (!wrong.empty()) wrong = absl::StrCat("step ", step, ": ", wrong);
  }
  return wrong;
}

std::string History::Step() {
  std::string wrong = StepOf(rng_.Uniform(100));
  if (wrong.empty() && loaded_ && rng_.Uniform(5) != 0) wrong = RunStore();
  if (wrong.empty()) wrong = CheckServer(*server_, model_);
  if (wrong.empty()) wrong = watchers_->Deliver();
  if (wrong.empty()) {
    const auto& keys = ServiceKeys();
    wrong = CheckQuery(*server_, model_, keys[rng_.Uniform(keys.size())], rng_);
  }
  if (!wrong.empty()) return wrong;
  if (server_->catalog.revision().seq < highest_seq_) return "the revision went back";
  highest_seq_ = server_->catalog.revision().seq;
  return wrong;
}

std::string History::StepOf(uint64_t dice) {
  if (!loaded_) {
    if (dice < 50) {
      Load();
      return "";
    }
    if (dice < 75) return Heartbeat();
    Pass(static_cast<int64_t>(rng_.Uniform(3'000'000)));
    return "";
  }
  if (frozen_ && dice < 15) return Restart(false);
  if (dice < 26) return Register();
  if (dice < 32) return Batch();
  if (dice < 43) return Deregister();
  if (dice < 52) return Heartbeat();
  if (dice < 62) return Report();
  if (dice < 76) return Advance();
  if (dice < 80) return Maintain();
  if (dice < 85) {
    Say(watchers_->Subscribe(ServiceKeys()));
    return "";
  }
  if (dice < 94) {
    Say(watchers_->Act());
    return "";
  }
  if (dice < 95) {
    Break();
    return "";
  }
  if (dice < 97) return Restart(rng_.Uniform(2) == 0);
  if (dice < 98) {
    SaveBackup();
    return "";
  }
  if (dice < 99) return Restore();
  return rng_.Uniform(4) == 0 ? Wipe() : Maintain();
}

// The store

std::string History::RunStore() {
  server_->Run();
  return Settle();
}

Room History::RoomNow() const {
  const uint64_t max = server_options_.registry.max_instances;
  const size_t count = model_.instance_count();
  if (count >= max) return pending_.empty() ? Room::kFull : Room::kMaybeFull;
  return count + pending_.size() > max ? Room::kMaybeFull : Room::kFree;
}

// False: the lease is given back, the removal came to nothing.
bool History::SettleExpiry(const Call& call, bool frozen, bool froze_now) {
  const std::string key = storage::EncodeInstanceKey(call.key);
  for (const LoggedCommit& commit : log_) {
    for (const storage::Op& op : commit.ops) {
      if (op.family == Family::kInstances && op.key == key) return true;
    }
  }
  if (!frozen && !tight_) return true;
  ++tally_["expiries given back"];
  if (froze_now) uncertain_calls_.push_back(call);
  Instance* instance = model_.Find(call.key);
  // As overdue as before, and looked at again in a second.
  instance->expiring = false;
  instance->due.filed_at = std::max(model_.looked_us(), model_.LeaseNow()) + 1'000'000;
  return false;
}

std::string History::Settle() {
  const bool frozen = server_->engine.Stats().frozen;
  if (frozen && !frozen_) ++tally_["freezes"];
  const bool froze_now = frozen && !frozen_;
  const Room room = RoomNow();
  std::vector<Call> calls;
  std::vector<Call> asked;
  for (Pending& pending : pending_) {
    asked.push_back(pending.call);
    if (pending.call.kind == Call::Kind::kExpire) {
      if (SettleExpiry(pending.call, frozen, froze_now)) calls.push_back(pending.call);
      continue;
    }
    if (!pending.answered) return "a request was not answered";
    const std::string& reason = pending.call.answer->reason;
    if (reason == "OUTCOME_UNKNOWN") {
      if (!froze_now) return "an outcome is unknown and no write failed";
      uncertain_calls_.push_back(pending.call);
      uncertain_.insert(storage::EncodeInstanceKey(pending.call.key));
      ++tally_["unknown outcomes"];
    } else if (reason == "STORAGE_READ_ONLY") {
      if (!frozen) return "a write was refused though the store works";
    } else if (reason == "CLOSED") {
      // It would have been tried again.
      if (!stopping_) return "the store was closed while it served";
    } else if (reason == "QUEUE_FULL") {
      if (!tight_) return "the queue was full";
      ++tally_["full queues"];
    } else {
      calls.push_back(pending.call);
    }
  }
  pending_.clear();
  if (froze_now) {
    uncertain_upkeep_ = upkeep_;
    uncertain_asked_ = asked;
  }
  frozen_ = frozen;
  const size_t commits = log_.size();
  tally_["commits"] += commits;
  const std::string wrong =
      model_.Take(std::exchange(log_, {}), asked, calls, upkeep_, /*heard=*/true, room);
  if (!wrong.empty()) return wrong;
  if (maintained_ == 1 && !frozen && !tight_ && calls.empty() && commits != upkeep_.size()) {
    return "upkeep was proposed and not done";
  }
  upkeep_.clear();
  maintained_ = 0;
  for (Call& call : calls) Remember(call);
  return "";
}

void History::Remember(const Call& call) {
  if (!call.answer) {
    ++tally_["expiries"];
    return;
  }
  const Answer& answer = *call.answer;
  if (!answer.reason.empty()) {
    ++tally_[absl::StrCat("refused ", answer.reason)];
    return;
  }
  if (call.kind != Call::Kind::kRegister) {
    ++tally_[call.kind == Call::Kind::kReport ? "reports" : "deregistrations"];
    return;
  }
  ++tally_[answer.changed ? "registrations" : "no-ops"];
  owners_[storage::EncodeInstanceKey(call.key)].incarnations.push_back(answer.incarnation);
}

// Time and upkeep

void History::Pass(int64_t us) {
  clock_.Advance(absl::Microseconds(us));
  model_.AdvanceBy(us);
}

void History::Tick() {
  server_->leases.Tick();
  model_.Tick();
}

std::string History::Advance() {
  const uint64_t kind = rng_.Uniform(10);
  if (kind < 3) {  // nobody ticks: the process stands still, or the machine
    const int64_t most_s[] = {2, 60, 1800};
    const auto us = static_cast<int64_t>(
        rng_.Uniform(static_cast<uint64_t>(most_s[rng_.Uniform(3)]) * 1'000'000));
    Say(absl::StrCat("time: ", us, " us without a tick"));
    Pass(us);
    return "";
  }
  const int64_t tick_us = kind < 7 ? 100'000 : 1'000'000;
  const uint64_t ticks = 1 + rng_.Uniform(kind < 9 ? 20 : 45);
  Say(absl::StrCat("time: ", ticks, " ticks of ", tick_us, " us"));
  for (uint64_t i = 0; i < ticks; ++i) {
    Pass(tick_us);
    if (options_.sabotage == Sabotage::kEarlyExpiry) clock_.Advance(absl::Milliseconds(50));
    Tick();
    std::string wrong = Expire();
    if (wrong.empty() && rng_.Uniform(4) != 0) wrong = RunStore();
    if (!wrong.empty()) return wrong;
  }
  return "";
}

std::string History::Expire() {
  (void)server_->spy.TakeProposed();
  const size_t taken = server_->registry.ExpireDue();
  const int64_t now = model_.LeaseNow();
  size_t removals = 0;
  for (const storage::Unit& unit : server_->spy.TakeProposed()) {
    for (const storage::Op& op : unit.ops) {
      if (op.family != Family::kInstances) continue;
      const auto view = storage::DecodeInstanceKey(op.key);
      Call call;
      call.kind = Call::Kind::kExpire;
      call.key = {std::string(view->ns), std::string(view->service), std::string(view->node),
                  std::string(view->id)};
      Instance* instance = model_.Find(call.key);
      const std::string name = absl::StrCat(call.key.service, "/", call.key.node, "/", call.key.id);
      if (instance == nullptr || instance->ttl_us == 0) return name + " expires and has no lease";
      if (instance->due.from > now) {
        return absl::StrCat(name, " expires ", instance->due.from - now, " us too early");
      }
      if (instance->expiring) return name + " expires twice";
      instance->expiring = true;
      call.mod_seq = instance->mod_seq;
      pending_.push_back({.call = call, .answered = true});
      ++removals;
      Say(absl::StrCat("expiry: ", name));
    }
  }
  // While the store refuses, one tries for all.
  if (removals > taken || (removals < taken && !frozen_)) {
    return "a lease was taken and its removal not proposed";
  }
  model_.Looked();
  server_->held.Refresh();
  const std::string wrong = CheckOverdue();
  return wrong.empty() ? CheckHeld() : wrong;
}

bool History::IsHeld(const std::string& service_key, const EndpointName& name) const {
  const auto held = server_->held.Of(service_key);
  return held != nullptr && held->Find(name.first, name.second) != nullptr;
}

// Only what is overdue is held, and only while the store refuses its removal.
std::string History::CheckHeld() {
  std::string wrong;
  server_->held.List([&](std::string_view service_key, const core::HeldService& held) {
    for (const auto& zone : held.zones) {
      for (const core::HeldKey& key : zone->keys) {
        const Instance* instance = nullptr;
        if (const Service* service = model_.Find(std::string(service_key))) {
          const auto it = service->instances.find({key.node, key.id});
          if (it != service->instances.end()) instance = &it->second;
        }
        ++tally_["held"];
        if (instance == nullptr) {
          wrong = key.id + " is held and gone";
        } else if (instance->ttl_us == 0 || instance->due.from > model_.LeaseNow()) {
          wrong = key.id + " is held and not overdue";
        } else if (!frozen_) {
          wrong = key.id + " is held though the store works";
        }
      }
    }
    return wrong.empty();
  });
  return wrong;
}

std::string History::CheckOverdue() const {
  constexpr int64_t kWheelUs = 200'000;  // two ticks of the wheel
  const int64_t now = model_.LeaseNow();
  for (const auto& [key, service] : model_.services()) {
    for (const auto& [name, instance] : service.instances) {
      if (instance.ttl_us == 0 || instance.expiring || !instance.due.started) continue;
      if (now < std::max(instance.due.to, instance.due.filed_at) + kWheelUs) continue;
      if (IsHeld(key, name)) continue;
      return absl::StrCat(service.name, "/", name.first, "/", name.second, " is overdue by ",
                          now - instance.due.to, " us and still there");
    }
  }
  return "";
}

std::string History::Maintain() {
  const auto now_ms = static_cast<uint64_t>(clock_.System().us / 1000);
  const auto due = model_.UpkeepDue(server_options_.registry, now_ms);
  (void)server_->spy.TakeProposed();
  server_->registry.Maintain();
  std::map<std::string, Upkeep> proposed;
  for (const storage::Unit& unit : server_->spy.TakeProposed()) {
    Upkeep upkeep;
    std::string service_key;
    for (const storage::Op& op : unit.ops) {
      if (op.family == Family::kTombstones) upkeep.tombstones.insert(op.key);
      if (op.family != Family::kServices) continue;
      service_key = op.key;
      upkeep.forget = op.kind == storage::Op::Kind::kDelete;
      storage::v1::ServiceRecord record;
      const auto value = storage::DecodeValue(op.value);
      if (value.ok() && record.ParseFromString(std::string(value->payload))) {
        upkeep.floor = record.floor();
      }
    }
    proposed[service_key] = upkeep;
  }
  Say(absl::StrCat("upkeep: ", proposed.size(), " services"));
  for (const auto& [key, upkeep] : proposed) {
    ++tally_[upkeep.forget ? "services forgotten" : "prunings"];
  }
  if (proposed != due) return "upkeep is not what is due";
  upkeep_.insert(due.begin(), due.end());
  ++maintained_;
  return "";
}

// Faults

void History::Break() {
  if (store_->failing()) return;
  const bool durable = rng_.Uniform(2) == 0;
  const auto after = static_cast<int>(rng_.Uniform(3));
  Say(absl::StrCat("fault: the disk fails after ", after, " writes, ",
                   durable ? "durable all the same" : "nothing written"));
  store_->FailAfter(after, durable);
}

// Ends the server. Clean: what waits is written, if it can be; else power is cut.
std::string History::Stop(bool clean) {
  if (!clean && !store_->failing()) store_->FailAfter(0, rng_.Uniform(2) == 0);
  stopping_ = true;
  server_->engine.Close();
  const std::string wrong = Settle();
  stopping_ = false;
  watchers_->Detach();
  server_.reset();
  pending_.clear();
  upkeep_.clear();
  frozen_ = loaded_ = false;
  uncertain_.clear();
  return wrong;
}

std::string History::Start() {
  server_ = std::make_unique<Server>(clock_, rng_, server_options_, store_, log_);
  watchers_->Attach(*server_, watch_limits_);
  if (const absl::Status opened = server_->Open(); !opened.ok()) {
    return std::string(opened.message());
  }
  const storage::Revision revision = server_->engine.revision();
  if (revision.epoch != model_.epoch() && revision.seq <= highest_seq_) {
    return absl::StrCat("a new epoch begins at ", revision.seq, ", not above ", highest_seq_);
  }
  model_.Restart(revision.epoch, revision.seq);
  return "";
}

void History::Load() {
  Say("loaded");
  server_->leases.SetLoaded();
  model_.Loaded();
  loaded_ = true;
}

void History::SpoilStore() {
  const bool write = options_.sabotage == Sabotage::kLostWrite;
  if (!write && options_.sabotage != Sabotage::kForgottenDeletion) return;
  uint64_t seq = 0;
  auto tables = store_->Copy(&seq);
  auto& table = tables[static_cast<size_t>(write ? Family::kInstances : Family::kTombstones)];
  if (!table.empty()) table.erase(table.begin());
  store_ = StoreOf(tables, seq, /*identity=*/true);
}

std::string History::Restart(bool clean) {
  Say(clean ? "restart" : "restart after a power cut");
  ++tally_[clean ? "clean restarts" : "power cuts"];
  if (std::string wrong = Stop(clean); !wrong.empty()) return wrong;
  std::vector<LoggedCommit> unheard;
  if (!store_->Reopen(unheard).ok()) return "the store could not be reopened";
  if (!unheard.empty()) ++tally_["writes found after a failure"];
  for (Call& call : uncertain_calls_) call.answer.reset();
  std::string wrong = model_.Take(unheard, uncertain_asked_, uncertain_calls_, uncertain_upkeep_,
                                  /*heard=*/false, Room::kMaybeFull);
  uncertain_calls_.clear();
  uncertain_asked_.clear();
  uncertain_upkeep_.clear();
  if (!wrong.empty()) return wrong;
  SpoilStore();
  return Start();
}

void History::SaveBackup() {
  if (frozen_ || !pending_.empty()) return;
  Say("backup");
  Backup backup{.model = model_, .tables = {}, .seq = 0};
  backup.tables = store_->Copy(&backup.seq);
  backup_ = std::move(backup);
}

std::string History::Restore() {
  if (!backup_) return "";
  Say("restore");
  ++tally_["restores"];
  if (std::string wrong = Stop(true); !wrong.empty()) return wrong;
  uncertain_calls_.clear();
  uncertain_asked_.clear();
  uncertain_upkeep_.clear();
  clock_.Advance(absl::Seconds(1));
  store_ = StoreOf(backup_->tables, backup_->seq, /*identity=*/false);
  auto incarnations = std::move(model_.incarnations);
  model_ = backup_->model;
  model_.incarnations = std::move(incarnations);
  return Start();
}

std::string History::Wipe() {
  Say("wipe");
  ++tally_["wipes"];
  if (std::string wrong = Stop(true); !wrong.empty()) return wrong;
  uncertain_calls_.clear();
  uncertain_asked_.clear();
  uncertain_upkeep_.clear();
  clock_.Advance(absl::Seconds(1));
  store_ = std::make_shared<FaultyStore>();
  auto incarnations = std::move(model_.incarnations);
  model_ = Model();
  model_.incarnations = std::move(incarnations);
  return Start();
}

}  // namespace muster::simulation
