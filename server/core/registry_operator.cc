// What operators say: maintenance of instances and nodes, settings of services; and the states that
// follow from it.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "server/core/registry.h"
#include "server/core/registry_write.h"
#include "server/core/service_settings.h"

namespace muster::core {
namespace {

using absl::StatusCode;
using base::MakeError;
using base::Reason;
using storage::Family;

constexpr size_t kRewrittenAtOnce = 256;
// Every 100 ms or so, and behind a registration.
constexpr size_t kStraysAtOnce = 4096;
constexpr size_t kServicesAtOnce = 1024;
constexpr absl::Duration kRetryStrays = absl::Seconds(1);

absl::Status TooMany(std::string_view what, uint64_t max) {
  return base::WithRetryAfter(MakeError(StatusCode::kResourceExhausted, Reason::kLimitInstances,
                                        absl::StrCat("the server keeps at most ", max, " ",
                                                     base::Av(what), "; end some first")),
                              absl::Seconds(10));
}

// nullopt: there is none.
absl::StatusOr<std::optional<std::string>> Read(const storage::Engine& engine, Family family,
                                                std::string_view key) {
  auto value = engine.Get(family, key);
  if (absl::IsNotFound(value.status())) return std::nullopt;
  if (!value.ok()) return value.status();
  return std::optional(*std::move(value));
}

// Of a service's endpoints: those of the node whose state contradicts `marks`.
void AppendContradicting(const ServiceInfo& info, const std::string& node,
                         const MaintenanceSet& marks, std::vector<std::string>& out) {
  const ServiceView& view = *info.view;
  auto [leaf, entry] = view.UpperBound(node, "");
  for (; leaf < view.leaves().size(); ++leaf, entry = 0) {
    const Leaf& present = *view.leaves()[leaf].leaf;
    for (; entry < present.entries.size(); ++entry) {
      const EndpointEntry& e = present.entries[entry];
      if (present.node(e) != node) return;
      std::string key = storage::EncodeInstanceKey(info.identity->ns, info.identity->service, node,
                                                   present.id(e));
      if (marks.Covers(key) != (e.state == v1::MAINTENANCE)) out.push_back(std::move(key));
    }
  }
}

}  // namespace

// A look for the instances of a node, some services at a time.
struct Registry::Sweep {
  std::string ns, node;
  std::string after;  // the key of the last service that was looked at
  std::vector<std::string> keys;
  std::function<void(absl::Status)> done;
};

// Instances whose states are written anew, some at a time.
struct Registry::Rewriting {
  std::vector<std::string> keys;
  size_t begun = 0;
  std::function<void(absl::Status)> done;

  base::Mutex mu;
  size_t left MUSTER_GUARDED_BY(mu) = 0;  // of those that were begun
  absl::Status status MUSTER_GUARDED_BY(mu);

  // Returns what became of those before.
  absl::Status Begin(size_t count) {
    base::MutexLock lock(mu);
    left = count;
    return status;
  }
  // True: it was the last of them.
  bool Settled(const absl::Status& of_one) {
    base::MutexLock lock(mu);
    status.Update(of_one);
    return --left == 0;
  }
};

void Registry::SetMaintenance(const v1::SetMaintenanceRequest& request, MaintenanceDone done) {
  auto marking = ReadMarking(request);
  if (!marking.ok()) return done(marking.status());
  const auto answer = [this, done = std::move(done)](const absl::Status& status) {
    if (!status.ok()) return done(status);
    v1::SetMaintenanceResponse response;
    response.mutable_revision()->set_epoch(catalog_.revision().epoch);
    response.mutable_revision()->set_seq(catalog_.revision().seq);
    done(std::move(response));
  };
  auto write = std::make_shared<Write>();
  write->kind = Write::Kind::kMarking;
  write->SetNames(marking->names);
  write->write_class = storage::WriteClass::kInternal;
  const bool of_node = marking->of_node();
  write->marking = std::make_unique<const Marking>(*std::move(marking));
  if (!of_node) {
    write->done = [answer](const auto& outcome) { answer(outcome.status()); };
    return Begin(std::move(write));
  }
  // Then its instances. Until they are written, their states contradict the node's.
  catalog_.maintenance().Began();
  write->done = [this, answer, ns = write->names.ns, node = write->names.node](const auto& marked) {
    const auto end = [this, answer](const absl::Status& status) {
      catalog_.maintenance().Ended();
      answer(status);
    };
    if (!marked.ok()) return end(marked.status());
    auto sweep = std::make_shared<Sweep>();
    sweep->ns = ns;
    sweep->node = node;
    sweep->done = end;
    SweepPart(sweep);
  };
  Begin(std::move(write));
}

void Registry::SetServiceSettings(const v1::SetServiceSettingsRequest& request, SettingsDone done) {
  auto ns = NormalNamespace(request.namespace_(), "namespace");
  if (!ns.ok()) return done(ns.status());
  auto service = NormalName("service name", request.service(), "service");
  if (!service.ok()) return done(service.status());
  const auto& settings = request.settings();
  if (auto s = CheckSettings(settings, options_.min_ttl, options_.max_ttl); !s.ok()) {
    return done(s);
  }
  auto write = std::make_shared<Write>();
  write->kind = Write::Kind::kSettings;
  write->SetNames({.ns = *std::move(ns), .service = *std::move(service), .node = "", .id = ""});
  write->settings = std::make_unique<const NewSettings>(
      NewSettings{.display = request.service(), .settings = KeptSettings(settings)});
  write->done = [this, done = std::move(done)](const auto& outcome) {
    if (!outcome.ok()) return done(outcome.status());
    v1::SetServiceSettingsResponse response;
    response.mutable_revision()->set_epoch(catalog_.revision().epoch);
    response.mutable_revision()->set_seq(std::max(outcome->seq, catalog_.revision().seq));
    done(std::move(response));
  };
  Begin(std::move(write));
}

absl::StatusOr<bool> Registry::DecideOperator(Write& write,
                                              absl::FunctionRef<absl::Status()> read_present,
                                              const std::optional<StoredInstance>& present) {
  if (write.kind == Write::Kind::kSettings) return DecideSettings(write);
  const bool of_node = write.kind == Write::Kind::kMarking && write.marking->of_node();
  if (!of_node) {
    if (absl::Status status = read_present(); !status.ok()) return status;
  }
  if (write.kind == Write::Kind::kMarking) return DecideMarking(write, present);
  if (!present) return false;  // gone since
  write.change = StateChange(write.key, *present, catalog_.maintenance().Covers(write.key));
  return !write.change.unit.ops.empty();
}

absl::StatusOr<bool> Registry::DecideMarking(Write& write,
                                             const std::optional<StoredInstance>& present) {
  const Marking& marking = *write.marking;
  const MaintenanceSet& marks = catalog_.maintenance();
  const auto record = Read(engine_, Family::kNodes, marking.RecordKey());
  if (!record.ok()) return record.status();
  storage::Unit unit;
  const auto now_ms = static_cast<uint64_t>(clock_.System().us / 1000);
  const auto begins = AppendMark(marking, *record, now_ms, unit);
  if (!begins.ok()) return begins.status();
  if (*begins && marks.size() >= options_.max_maintenance) {
    return TooMany("instances and nodes in maintenance", options_.max_maintenance);
  }
  if (present) {
    const bool covered = marking.on || marks.CoversNode(marking.names.ns, marking.names.node);
    Change change = StateChange(write.key, *present, covered);
    for (auto& precondition : change.unit.preconditions) {
      unit.preconditions.push_back(std::move(precondition));
    }
    for (auto& op : change.unit.ops) unit.ops.push_back(std::move(op));
  } else if (!marking.of_node()) {
    unit.preconditions.push_back(storage::Absent(Family::kInstances, write.key));
  }
  write.change.changed = !unit.ops.empty();
  write.change.unit = std::move(unit);
  return write.change.changed;
}

absl::StatusOr<bool> Registry::DecideSettings(Write& write) {
  const SettingsPtr& settings = write.settings->settings;
  const std::string key(write.service_key());
  const auto value = Read(engine_, Family::kServices, key);
  if (!value.ok()) return value.status();
  storage::v1::ServiceRecord record;
  if (*value) {
    const auto decoded = storage::DecodeValue(**value);
    if (!decoded.ok()) return decoded.status();
    if (!record.ParseFromArray(decoded->payload.data(),
                               static_cast<int>(decoded->payload.size()))) {
      return MakeError(StatusCode::kDataLoss, Reason::kStorageDamaged,
                       "a service record can't be read");
    }
  }
  const SettingsPtr before = record.has_settings() ? KeptSettings(record.settings()) : nullptr;
  if (SameSettings(before.get(), settings.get())) return false;
  if (before == nullptr && catalog_.settings_count() >= options_.max_settings) {
    return TooMany("services that have settings", options_.max_settings);
  }
  write.change.changed = true;
  storage::Unit& unit = write.change.unit;
  if (!*value) {
    unit = NewService(key, write.settings->display, settings);
    return true;
  }
  record.clear_settings();
  if (settings != nullptr) *record.mutable_settings() = *settings;
  unit.preconditions.push_back(
      storage::ModSeqIs(Family::kServices, key, storage::ModSeqOf(**value)));
  unit.ops.push_back(
      storage::Put(Family::kServices, key, storage::EncodeValue(record.SerializeAsString())));
  return true;
}

storage::Unit Registry::NewService(std::string_view service_key, const std::string& display,
                                   const SettingsPtr& settings) const {
  const std::string key(service_key);
  const uint64_t forgotten = catalog_.forgotten_seq();
  storage::Unit unit;
  unit.preconditions.push_back(storage::Absent(Family::kServices, key));
  // What the unknown service was before is known only from there on.
  unit.preconditions.push_back(
      storage::ModSeqIs(Family::kMeta, std::string(storage::kForgottenKey), forgotten));
  storage::v1::ServiceRecord record;
  record.set_name(display);
  record.set_floor(forgotten);
  record.set_created_at_ms(static_cast<uint64_t>(clock_.System().us / 1000));
  if (settings != nullptr) *record.mutable_settings() = *settings;
  unit.ops.push_back(
      storage::Put(Family::kServices, key, storage::EncodeValue(record.SerializeAsString())));
  return unit;
}

void Registry::SweepPart(const std::shared_ptr<Sweep>& sweep) {
  size_t looked_at = 0;
  catalog_.List(sweep->ns, "", sweep->after, [&](const ServiceInfo& info) {
    AppendContradicting(info, sweep->node, catalog_.maintenance(), sweep->keys);
    if (++looked_at < kServicesAtOnce) return true;
    sweep->after = storage::EncodeServiceKey(info.identity->ns, info.identity->service);
    return false;
  });
  if (looked_at < kServicesAtOnce) {
    return RewriteStates(std::move(sweep->keys), std::move(sweep->done));
  }
  // A barrier that writes nothing: what else was settled is answered before the next part.
  engine_.Propose({{storage::Unit{}}}, storage::WriteClass::kInternal,
                  [this, sweep](const auto&) { SweepPart(sweep); });
}

void Registry::RewriteStates(std::vector<std::string> keys,
                             std::function<void(absl::Status)> done) {
  auto all = std::make_shared<Rewriting>();
  all->keys = std::move(keys);
  all->done = std::move(done);
  RewritePart(all);
}

void Registry::RewritePart(const std::shared_ptr<Rewriting>& all) {
  const size_t count = std::min(kRewrittenAtOnce, all->keys.size() - all->begun);
  if (count == 0) return all->done(all->Begin(0));
  (void)all->Begin(count);
  Writes writes;
  for (const size_t end = all->begun + count; all->begun < end; ++all->begun) {
    const std::string& key = all->keys[all->begun];
    const auto names = storage::DecodeInstanceKey(key);
    auto write = std::make_shared<Write>();
    write->kind = Write::Kind::kState;
    write->SetNames({std::string(names->ns), std::string(names->service), std::string(names->node),
                     std::string(names->id)});
    write->write_class = storage::WriteClass::kInternal;
    write->done = [this, all, key](const auto& outcome) {
      if (!outcome.ok()) {
        catalog_.maintenance().AddStray(key);
        rewrite_strays_at_us_ = (clock_.Steady() + kRetryStrays).us;
      }
      if (all->Settled(outcome.status())) RewritePart(all);
    };
    writes.push_back(std::move(write));
  }
  BeginMany(std::move(writes));
}

void Registry::RewriteStrays() {
  MaintenanceSet& marks = catalog_.maintenance();
  if (!marks.has_strays() || clock_.Steady().us < rewrite_strays_at_us_) return;
  std::vector<std::string> keys = marks.TakeStrays(kStraysAtOnce);
  if (keys.empty()) return;
  const size_t count = keys.size();
  RewriteStates(std::move(keys), [&marks, count](const auto&) { marks.Ended(count); });
}

}  // namespace muster::core
