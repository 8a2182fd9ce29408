#include "tests/simulation/model.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "muster/storage/v1/storage.pb.h"

namespace muster::simulation {
namespace {

constexpr int64_t kLongestTickUs = 1'000'000;
constexpr int64_t kTickUs = 100'000;

std::string Show(std::string key) {
  std::replace(key.begin(), key.end(), '\0', '/');
  return key;
}

template <typename Message>
Message Parsed(std::string_view value) {
  Message out;
  const auto decoded = storage::DecodeValue(value);
  if (decoded.ok()) {
    (void)out.ParseFromArray(decoded->payload.data(), static_cast<int>(decoded->payload.size()));
  }
  return out;
}

std::string ServiceKeyOf(const storage::InstanceKey& key) {
  return storage::EncodeServiceKey(key.ns, key.service);
}

storage::InstanceKey OwnedKey(std::string_view encoded) {
  const auto view = storage::DecodeInstanceKey(encoded);
  if (!view) return {};
  return {std::string(view->ns), std::string(view->service), std::string(view->node),
          std::string(view->id)};
}

// Which instance a commit writes and how; no key when it writes none.
std::pair<std::string, Effect> InstanceEffect(const LoggedCommit& commit) {
  std::pair<std::string, Effect> out{"", Effect::kNone};
  for (const storage::Op& op : commit.ops) {
    const bool put = op.kind == storage::Op::Kind::kPut;
    if (op.family == Family::kInstances) {
      return {op.key, put ? Effect::kPut : Effect::kRemove};
    }
    if (op.family == Family::kChecks && put) {
      out = {std::string(storage::DecodeCheckKey(op.key)->instance_key), Effect::kOutput};
    }
  }
  return out;
}

// The deletion is the key's present state, so it is in the store.
bool IsStored(const Service& service, size_t index) {
  const EndpointName& name = service.deletions[index].name;
  if (service.instances.contains(name)) return false;
  for (size_t later = index + 1; later < service.deletions.size(); ++later) {
    if (service.deletions[later].name == name) return false;
  }
  return true;
}

Upkeep PruningDue(const Service& service, const core::RegistryOptions& options, uint64_t now_ms) {
  Upkeep out;
  const size_t allowed = std::max(options.tombstones_per_service, service.instances.size());
  const size_t count = service.deletions.size();
  const size_t excess = count > allowed ? count - allowed : 0;
  const absl::Duration age = service.instances.empty()
                                 ? std::max(options.tombstone_age, options.forget_empty_after)
                                 : options.tombstone_age;
  for (size_t i = 0; i < count; ++i) {
    const Deletion& deletion = service.deletions[i];
    const bool stored = IsStored(service, i);
    const bool old =
        deletion.at_ms + static_cast<uint64_t>(absl::ToInt64Milliseconds(age)) <= now_ms;
    if (i >= excess && stored && !old) break;
    out.floor = deletion.seq;
    if (stored) {
      out.tombstones.insert(storage::EncodeInstanceKey(service.ns, service.name,
                                                       deletion.name.first, deletion.name.second));
    }
  }
  return out;
}

}  // namespace

uint64_t ChecksumOf(const std::map<EndpointName, v1::Endpoint>& endpoints) {
  uint64_t sum = 0;
  for (const auto& [name, endpoint] : endpoints) {
    std::string bytes = name.first + '\0' + name.second + '\0';
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(endpoint.revision() >> (8 * i)));
    uint64_t hash = 0xcbf29ce484222325;
    for (const char c : bytes) {
      hash ^= static_cast<unsigned char>(c);
      hash *= 0x100000001b3;
    }
    hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53;
    sum += hash ^ (hash >> 33);
  }
  return sum;
}

const Service* Model::Find(const std::string& service_key) const {
  const auto it = services_.find(service_key);
  return it == services_.end() ? nullptr : &it->second;
}

const Instance* Model::Find(const storage::InstanceKey& key) const {
  const Service* service = Find(ServiceKeyOf(key));
  if (service == nullptr) return nullptr;
  const auto it = service->instances.find({key.node, key.id});
  return it == service->instances.end() ? nullptr : &it->second;
}

Instance* Model::Find(const storage::InstanceKey& key) {
  return const_cast<Instance*>(static_cast<const Model*>(this)->Find(key));
}

size_t Model::instance_count() const {
  size_t out = 0;
  for (const auto& [key, service] : services_) out += service.instances.size();
  return out;
}

v1::Endpoint Model::EndpointAt(const Service& service, const EndpointName& name) const {
  const Instance& instance = service.instances.at(name);
  v1::Endpoint out =
      EndpointOf({service.ns, service.name, name.first, name.second}, instance.content);
  out.set_health(instance.health);
  out.set_state(v1::ACTIVE);
  out.set_revision(instance.visible_seq);
  return out;
}

Selected Model::Select(const std::string& service_key, int selector) const {
  Selected out;
  const Service* service = Find(service_key);
  bool defined = false;
  if (service != nullptr) {
    for (const auto& [name, instance] : service->instances) {
      v1::Endpoint endpoint = EndpointAt(*service, name);
      defined |= SelectsDefinition(selector, endpoint);
      if (Selects(selector, endpoint)) out.endpoints.emplace(name, std::move(endpoint));
    }
  }
  out.checksum = ChecksumOf(out.endpoints);
  if (!out.endpoints.empty()) return out;
  out.empty_reason = service == nullptr           ? v1::UNKNOWN_SERVICE
                     : service->instances.empty() ? v1::NO_INSTANCES
                     : defined                    ? v1::ALL_UNHEALTHY
                                                  : v1::FILTERED_OUT;
  return out;
}

// Time

void Model::Tick() {
  ticked_us_ += since_tick_us_ > kLongestTickUs ? kTickUs : since_tick_us_;
  since_tick_us_ = 0;
}

int64_t Model::LeaseNow() const { return ticked_us_ + std::min(since_tick_us_, kLongestTickUs); }

void Model::Restart(uint64_t epoch, uint64_t base_seq) {
  if (epoch != epoch_) seq_ = base_seq_ = base_seq;
  epoch_ = epoch;
  ticked_us_ = since_tick_us_ = looked_us_ = 0;
  for (auto& [key, service] : services_) {
    for (auto& [name, instance] : service.instances) {
      instance.expiring = false;
      instance.due = {.started = false};
    }
    std::vector<Deletion> stored;
    for (size_t i = 0; i < service.deletions.size(); ++i) {
      if (IsStored(service, i)) stored.push_back(service.deletions[i]);
    }
    service.deletions = std::move(stored);
  }
}

void Model::Loaded() {
  Tick();
  const int64_t now = LeaseNow();
  for (auto& [key, service] : services_) {
    for (auto& [name, instance] : service.instances) {
      if (instance.due.started) continue;
      instance.due = {true, now + instance.ttl_us, now + instance.ttl_us * 3 / 2, now};
    }
  }
}

// Upkeep

std::map<std::string, Upkeep> Model::UpkeepDue(const core::RegistryOptions& options,
                                               uint64_t now_ms) const {
  std::map<std::string, Upkeep> out;
  const auto forget_ms =
      static_cast<uint64_t>(absl::ToInt64Milliseconds(options.forget_empty_after));
  for (const auto& [key, service] : services_) {
    if (!service.deletions.empty()) {
      if (Upkeep due = PruningDue(service, options, now_ms); due.floor != 0) out[key] = due;
    } else if (service.instances.empty() && service.created_at_ms + forget_ms <= now_ms) {
      out[key].forget = true;
    }
  }
  return out;
}

// Commits

std::string Model::Take(const std::vector<LoggedCommit>& commits, const std::vector<Call>& asked,
                        const std::vector<Call>& calls,
                        const std::multimap<std::string, Upkeep>& upkeep, bool heard, Room room) {
  std::map<std::string, std::vector<KeyCommit>> by_instance;
  for (const LoggedCommit& commit : commits) {
    if (commit.seq <= seq_) return absl::StrCat("seq ", commit.seq, " comes after ", seq_);
    seq_ = commit.seq;
    const auto [instance_key, effect] = InstanceEffect(commit);
    if (effect != Effect::kNone) by_instance[instance_key].push_back({commit.seq, effect});
    bool known = effect != Effect::kNone;
    for (const storage::Op& op : commit.ops) {
      if (op.family == Family::kServices) {
        known = true;
        if (auto wrong = TakeService(commit, op, asked, upkeep); !wrong.empty()) return wrong;
      }
      if (effect == Effect::kRemove && op.family == Family::kTombstones) {
        const storage::InstanceKey key = OwnedKey(op.key);
        Service& service = services_.at(ServiceKeyOf(key));
        service.deletions.push_back(
            {{key.node, key.id},
             commit.seq,
             Parsed<storage::v1::TombstoneRecord>(op.value).deleted_at_ms()});
      }
    }
    if (!known) return absl::StrCat("commit ", commit.seq, " writes nothing that anybody knows");
  }
  return TakeInstances(by_instance, calls, heard, room);
}

std::string Model::TakeService(const LoggedCommit& commit, const storage::Op& op,
                               const std::vector<Call>& asked,
                               const std::multimap<std::string, Upkeep>& upkeep) {
  const auto [first, last] = upkeep.equal_range(op.key);
  const auto proposed = [&](const Upkeep& what) {
    return std::any_of(first, last, [&](const auto& entry) { return entry.second == what; });
  };
  const auto present = services_.find(op.key);
  if (op.kind == storage::Op::Kind::kDelete) {
    if (!proposed({.forget = true})) return absl::StrCat(Show(op.key), " was forgotten by nobody");
    if (present == services_.end() || !present->second.instances.empty() ||
        !present->second.deletions.empty()) {
      return absl::StrCat(Show(op.key), " was forgotten while there was something in it");
    }
    services_.erase(present);
    forgotten_seq_ = commit.seq;
    return "";
  }
  const auto record = Parsed<storage::v1::ServiceRecord>(op.value);
  Upkeep pruning;
  pruning.floor = record.floor();
  for (const storage::Op& other : commit.ops) {
    if (other.family == Family::kTombstones) pruning.tombstones.insert(other.key);
  }
  const auto wanted = [&](const Call& call) {
    return call.kind == Call::Kind::kRegister && ServiceKeyOf(call.key) == op.key &&
           (present != services_.end() || call.display == record.name());
  };
  const bool registered = std::any_of(asked.begin(), asked.end(), wanted);
  if (present == services_.end()) {
    if (!registered) return absl::StrCat(Show(op.key), " was created by nobody");
    if (record.floor() != forgotten_seq_) {
      return absl::StrCat(Show(op.key), " begins with floor ", record.floor(), ", not ",
                          forgotten_seq_);
    }
    const auto names = storage::DecodeServiceKey(op.key);
    services_[op.key] = {.ns = std::string(names->ns),
                         .name = std::string(names->service),
                         .display = record.name(),
                         .created_at_ms = record.created_at_ms(),
                         .mod_seq = commit.seq,
                         .floor = record.floor(),
                         .instances = {},
                         .deletions = {}};
    return "";
  }
  Service& service = present->second;
  service.mod_seq = commit.seq;
  if (record.floor() == service.floor && pruning.tombstones.empty()) {
    return registered ? "" : absl::StrCat("the record of ", Show(op.key), " was written by nobody");
  }
  if (!proposed(pruning)) return absl::StrCat("deletions of ", Show(op.key), " went unasked");
  service.floor = record.floor();
  std::erase_if(service.deletions, [&](const Deletion& d) { return d.seq <= service.floor; });
  return "";
}

std::string Model::TakeInstances(const std::map<std::string, std::vector<KeyCommit>>& commits,
                                 const std::vector<Call>& calls, bool heard, Room room) {
  std::map<std::string, std::vector<const Call*>> by_key;
  for (const Call& call : calls) by_key[storage::EncodeInstanceKey(call.key)].push_back(&call);
  for (const auto& [key, list] : commits) by_key[key];
  static const std::vector<KeyCommit> kNothing;
  for (const auto& [encoded, under_way] : by_key) {
    const storage::InstanceKey key = OwnedKey(encoded);
    const auto list = commits.find(encoded);
    const Instance* present = static_cast<const Model*>(this)->Find(key);
    std::optional<Instance> state;
    if (present != nullptr) state = *present;
    const uint64_t before = state ? state->incarnation : 0;
    if (!Explain(state, under_way, list == commits.end() ? kNothing : list->second, heard, room,
                 LeaseNow(), std::max(looked_us_, LeaseNow()))) {
      std::string what = absl::StrCat(Show(encoded), ": no order of these explains it:");
      for (const Call* call : under_way) {
        absl::StrAppend(&what, " [", static_cast<int>(call->kind), " ",
                        call->answer ? call->answer->reason : "unheard", " inc ",
                        call->answer ? call->answer->incarnation : call->incarnation, "]");
      }
      if (list != commits.end()) {
        for (const KeyCommit& commit : list->second) {
          absl::StrAppend(&what, " {", commit.seq, " ", static_cast<int>(commit.effect), "}");
        }
      }
      return what;
    }
    if (state && state->incarnation != before && !incarnations.insert(state->incarnation).second) {
      return absl::StrCat(Show(encoded), " has incarnation ", state->incarnation,
                          ", which was given before");
    }
    const auto service = services_.find(ServiceKeyOf(key));
    if (service == services_.end()) {
      if (state) return absl::StrCat(Show(encoded), " is in no service");
      continue;
    }
    if (state) {
      service->second.instances[{key.node, key.id}] = *std::move(state);
    } else {
      service->second.instances.erase({key.node, key.id});
    }
  }
  return "";
}

}  // namespace muster::simulation
