#include "server/core/verify.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/text.h"
#include "muster/storage/v1/storage.pb.h"
#include "server/core/instance_change.h"
#include "server/core/verify_marks.h"
#include "storage/schema.h"

namespace muster::core {
namespace {

using storage::Family;
using Leases = std::vector<LeasePtr>;

constexpr absl::Duration kApplyTimeout = absl::Seconds(10);
constexpr absl::Duration kApplyPoll = absl::Milliseconds(50);

// A walk over the endpoints of a view, in order.
class Walk {
 public:
  explicit Walk(const ServiceView& view) : view_(view) {}
  bool done() const { return leaf_ == view_.leaves().size(); }
  const Leaf& leaf() const { return *view_.leaves()[leaf_].leaf; }
  const EndpointEntry& entry() const { return leaf().entries[at_]; }
  std::pair<std::string_view, std::string_view> key() const {
    return {leaf().node(entry()), leaf().id(entry())};
  }
  void Next() {
    if (++at_ < leaf().entries.size()) return;
    at_ = 0;
    ++leaf_;
  }

 private:
  const ServiceView& view_;
  size_t leaf_ = 0;
  size_t at_ = 0;
};

std::string NameOf(std::string_view node, std::string_view id) {
  return absl::StrCat(
      "instance \"", base::EscapeForTerminal(id), "\"",
      node.empty() ? "" : absl::StrCat(" on node \"", base::EscapeForTerminal(node), "\""));
}

// One service as a snapshot holds it.
struct Stored {
  std::optional<uint64_t> mod_seq;  // of its record; nullopt = it has none
  SettingsPtr settings;
  std::shared_ptr<const ServiceView> view;
  // Ascending, by (node, id) as the view.
  std::vector<std::pair<std::string, uint64_t>> created;  // instance key -> create seq
};

// One comparison with one snapshot.
class Round {
 public:
  Round(const storage::Engine& engine, const storage::Snapshot& snapshot, const Catalog& catalog,
        const LeaseTable& table, const StoredMarks& marks)
      : engine_(engine), snapshot_(snapshot), catalog_(catalog), table_(table), marks_(marks) {
    leases_ = table.All();
    std::sort(leases_.begin(), leases_.end(),
              [](const auto& a, const auto& b) { return a->key() < b->key(); });
    out_.revision = snapshot.revision();
    out_.leases = leases_.size();
  }

  // Keys of all services that anything knows of.
  absl::StatusOr<std::set<std::string>> Services() const;
  // True when nothing is wrong with it.
  absl::StatusOr<bool> Check(const std::string& service_key);

  Verification& out() { return out_; }

 private:
  uint64_t seq() const { return snapshot_.revision().seq; }
  void Problem(std::string_view what);
  // Is the value of the snapshot still the present one? Then nobody changed it meanwhile.
  bool Unchanged(Family family, std::string_view key, uint64_t mod_seq) const;
  absl::StatusOr<Stored> Read(const std::string& service_key);
  void ReadInstance(std::string_view key, std::string_view value, ViewBuilder& view,
                    Stored& stored);
  void CheckLease(const LeaseSpec& wanted);
  void CheckLeases(const Stored& stored);
  void CheckInfo(const std::string& service_key, const Stored& stored,
                 const std::optional<ServiceInfo>& info);
  void CheckEndpoints(const ServiceView& stored, const ServiceView& served);
  void CheckTombstones(const Stored& stored, const ServiceView& served);
  void CheckTotals(const ServiceView& stored, const ServiceView& served);
  std::string KeyOf(std::string_view node, std::string_view id) const {
    return storage::EncodeInstanceKey(ns_, service_, node, id);
  }

  const storage::Engine& engine_;
  const storage::Snapshot& snapshot_;
  const Catalog& catalog_;
  const LeaseTable& table_;
  const StoredMarks& marks_;
  Leases leases_;  // by key
  std::string ns_, service_;
  std::vector<uint64_t> mod_seqs_;  // of Stored::created
  uint64_t problems_ = 0;
  Verification out_;
};

void Round::Problem(std::string_view what) {
  ++problems_;
  if (out_.problems.size() >= kMaxVerifyProblems) return;
  out_.problems.push_back(
      absl::StrCat("service \"", service_, "\" of namespace \"", ns_, "\": ", base::Av(what)));
}

bool Round::Unchanged(Family family, std::string_view key, uint64_t mod_seq) const {
  const auto value = engine_.Get(family, key);
  return value.ok() && storage::ModSeqOf(*value) == mod_seq;
}

absl::StatusOr<std::set<std::string>> Round::Services() const {
  std::set<std::string> out;
  std::string last;
  const auto add = [&](std::string_view instance_key) {
    const auto key = storage::DecodeInstanceKey(instance_key);
    if (!key) return;
    std::string service_key = storage::EncodeServiceKey(key->ns, key->service);
    if (service_key == last) return;
    last = service_key;
    out.insert(std::move(service_key));
  };
  absl::Status status =
      snapshot_.Scan(Family::kServices, "", [&](std::string_view key, std::string_view) {
        out.emplace(key);
        return true;
      });
  for (const Family family : {Family::kInstances, Family::kTombstones}) {
    if (!status.ok()) return status;
    status = snapshot_.Scan(family, "", [&](std::string_view key, std::string_view) {
      add(key);
      return true;
    });
  }
  if (!status.ok()) return status;
  catalog_.List("*", "", "", [&](const auto& info) {
    out.insert(storage::EncodeServiceKey(info.identity->ns, info.identity->service));
    return true;
  });
  for (const auto& lease : leases_) add(lease->key());
  return out;
}

absl::StatusOr<bool> Round::Check(const std::string& service_key) {
  const auto names = storage::DecodeServiceKey(service_key);
  if (!names) return true;
  ns_ = std::string(names->ns);
  service_ = std::string(names->service);
  const uint64_t before = problems_;
  auto stored = Read(service_key);
  if (!stored.ok()) return stored.status();
  CheckLeases(*stored);
  const auto info = catalog_.Get(ns_, service_);
  CheckInfo(service_key, *stored, info);
  ++out_.services;
  return problems_ == before;
}

absl::StatusOr<Stored> Round::Read(const std::string& service_key) {
  Stored out;
  mod_seqs_.clear();
  ViewBuilder view(nullptr);
  absl::Status status = snapshot_.Scan(
      Family::kServices, service_key, [&](std::string_view key, std::string_view value) {
        if (key != service_key) return false;
        const auto decoded = storage::DecodeValue(value);
        storage::v1::ServiceRecord record;
        if (!decoded.ok() || !record.ParseFromArray(decoded->payload.data(),
                                                    static_cast<int>(decoded->payload.size()))) {
          Problem("its record can't be read");
        }
        view.SetFloor(record.floor());
        if (record.has_settings()) out.settings = KeptSettings(record.settings());
        out.mod_seq = storage::ModSeqOf(value);
        return false;
      });
  const std::string prefix = storage::InstancePrefix(ns_, service_);
  if (!status.ok()) return status;
  status = snapshot_.Scan(Family::kInstances, prefix, [&](std::string_view key, auto value) {
    ReadInstance(key, value, view, out);
    return true;
  });
  if (!status.ok()) return status;
  status = snapshot_.Scan(Family::kTombstones, prefix, [&](std::string_view key, auto value) {
    const auto k = storage::DecodeInstanceKey(key);
    if (k) view.AddTombstone(k->node, k->id, storage::ModSeqOf(value));
    return true;
  });
  if (!status.ok()) return status;
  out.view = view.Build();
  return out;
}

void Round::ReadInstance(std::string_view key, std::string_view value, ViewBuilder& view,
                         Stored& stored) {
  const auto names = storage::DecodeInstanceKey(key);
  const auto instance = DecodeStored(value);
  ++out_.instances;
  if (!names || !instance.ok()) return Problem("an instance's record can't be read");
  view.Upsert({names->node, names->id, instance->record.endpoint(), instance->record.health(),
               instance->record.state(), instance->words.visible_seq});
  if (marks_.Contradicts(key, instance->record.state())) {
    Problem(absl::StrCat(NameOf(names->node, names->id), " is stored as ",
                         v1::State_Name(instance->record.state()),
                         ", which is not what was said of maintenance"));
  }
  stored.created.emplace_back(std::string(key), instance->words.create_seq);
  mod_seqs_.push_back(instance->mod_seq);
  CheckLease(MakeLeaseSpec(std::string(key), instance->mod_seq, instance->words.incarnation,
                           instance->record));
}

// Leases

void Round::CheckLease(const LeaseSpec& wanted) {
  const auto names = storage::DecodeInstanceKey(wanted.key);
  const std::string name = NameOf(names->node, names->id);
  const auto lease = table_.Find(wanted.key);
  if (lease == nullptr) {
    if (Unchanged(Family::kInstances, wanted.key, wanted.mod_seq)) {
      Problem(absl::StrCat(name, " has no lease"));
    }
    return;
  }
  if (lease->mod_seq() > seq()) return;
  if (lease->mod_seq() != wanted.mod_seq || lease->incarnation() != wanted.incarnation ||
      lease->ttl() != wanted.ttl || !(lease->digest() == wanted.digest)) {
    Problem(absl::StrCat(name, " has a lease of revision ", lease->mod_seq(), ", the store has ",
                         wanted.mod_seq));
  }
}

void Round::CheckLeases(const Stored& stored) {
  const std::string prefix = storage::InstancePrefix(ns_, service_);
  auto at = std::lower_bound(leases_.begin(), leases_.end(), prefix,
                             [](const auto& lease, const auto& key) { return lease->key() < key; });
  for (; at != leases_.end() && (*at)->key().starts_with(prefix); ++at) {
    if ((*at)->mod_seq() > seq()) continue;
    const std::string key((*at)->key());
    const auto found =
        std::lower_bound(stored.created.begin(), stored.created.end(), std::pair(key, uint64_t{0}));
    if (found != stored.created.end() && found->first == key) continue;
    const auto names = storage::DecodeInstanceKey(key);
    Problem(names ? absl::StrCat("a lease for ", NameOf(names->node, names->id),
                                 ", which the store doesn't have")
                  : std::string("a lease whose key can't be read"));
  }
}

// Views

void Round::CheckInfo(const std::string& service_key, const Stored& stored,
                      const std::optional<ServiceInfo>& info) {
  if (!info) {
    if (!stored.mod_seq) {
      if (stored.view->size() > 0) Problem("it has instances and no record");
    } else if (Unchanged(Family::kServices, service_key, *stored.mod_seq)) {
      Problem("it is stored and not served");
    }
    return;
  }
  if (info->identity->mod_seq > seq()) {
    // Its record changed since. Endpoints tell by themselves.
  } else if (!stored.mod_seq) {
    return Problem("it is served and not stored");
  } else if (*stored.mod_seq != info->identity->mod_seq ||
             stored.view->floor() != info->view->floor()) {
    Problem(absl::StrCat("its record is served as of revision ", info->identity->mod_seq,
                         " with floor ", info->view->floor(), "; the store has ", *stored.mod_seq,
                         " with ", stored.view->floor()));
  }
  if (info->identity->mod_seq <= seq() &&
      !SameSettings(stored.settings.get(), info->identity->settings.get())) {
    Problem("its settings are not served as they are stored");
  }
  CheckEndpoints(*stored.view, *info->view);
  CheckTombstones(stored, *info->view);
  CheckTotals(*stored.view, *info->view);
}

void Round::CheckEndpoints(const ServiceView& stored, const ServiceView& served) {
  Walk have(served);
  size_t index = 0;
  const auto extra = [&] {
    const auto [node, id] = have.key();
    if (have.entry().seq <= seq()) Problem(NameOf(node, id) + " is served and not stored");
    have.Next();
  };
  for (Walk want(stored); !want.done(); want.Next(), ++index) {
    while (!have.done() && have.key() < want.key()) extra();
    const auto [node, id] = want.key();
    if (have.done() || have.key() != want.key()) {
      if (Unchanged(Family::kInstances, KeyOf(node, id), mod_seqs_[index])) {
        Problem(NameOf(node, id) + " is stored and not served");
      }
      continue;
    }
    if (have.entry().seq <= seq() &&
        (have.entry().seq != want.entry().seq ||
         have.leaf().endpoint(have.entry()) != want.leaf().endpoint(want.entry()))) {
      Problem(absl::StrCat(NameOf(node, id), " is served as of revision ", have.entry().seq,
                           " and differs from the store, which has ", want.entry().seq));
    }
    have.Next();
  }
  while (!have.done()) extra();
}

// A key that came back keeps its old tombstones in the view, not in the store.
void Round::CheckTombstones(const Stored& stored, const ServiceView& served) {
  using Key = std::pair<std::string, std::string>;
  std::set<std::pair<Key, uint64_t>> have;
  for (const auto& chunk : served.tombstones()) {
    for (const Tombstone& t : *chunk) have.insert({{t.node, t.id}, t.seq});
  }
  std::set<std::pair<Key, uint64_t>> want;
  for (const auto& chunk : stored.view->tombstones()) {
    for (const Tombstone& t : *chunk) {
      want.insert({{t.node, t.id}, t.seq});
      if (t.seq > served.floor() && !have.contains({{t.node, t.id}, t.seq})) {
        Problem(absl::StrCat("the removal of ", NameOf(t.node, t.id), " at ", t.seq,
                             " is stored and not served"));
      }
    }
  }
  for (const auto& [key, removed_at] : have) {
    if (removed_at > seq()) continue;
    const auto later = want.lower_bound({key, removed_at});
    if (later != want.end() && later->first == key) continue;
    const std::string instance_key = KeyOf(key.first, key.second);
    const auto back = std::lower_bound(stored.created.begin(), stored.created.end(),
                                       std::pair(instance_key, removed_at));
    if (back != stored.created.end() && back->first == instance_key) continue;
    Problem(absl::StrCat("the removal of ", NameOf(key.first, key.second), " at ", removed_at,
                         " is served and not stored"));
  }
}

void Round::CheckTotals(const ServiceView& stored, const ServiceView& served) {
  if (served.seq() > seq()) return;
  if (served.size() != stored.size() || served.default_checksum() != stored.default_checksum() ||
      served.default_matches() != stored.default_matches()) {
    Problem(absl::StrCat("it is served with ", served.size(), " instances and checksum ",
                         served.default_checksum(), "; the store has ", stored.size(), " and ",
                         stored.default_checksum()));
  }
}

// Waits until the server has applied what the snapshot holds.
class Applied {
 public:
  static absl::Status Wait(Catalog& catalog, uint64_t seq, const std::function<bool()>& cancelled) {
    const auto state = std::make_shared<Applied>();
    const uint64_t id = catalog.WaitApplied(seq, [state] {
      base::MutexLock lock(state->mu_);
      state->applied_ = true;
      state->changed_.NotifyAll();
    });
    const bool applied = state->Await(cancelled);
    if (!applied) catalog.CancelWait(seq, id);
    if (!applied && cancelled()) return absl::CancelledError("cancelled");
    return applied ? absl::OkStatus()
                   : absl::DeadlineExceededError(absl::StrCat("the store is at revision ", seq,
                                                              " and the server has applied ",
                                                              catalog.revision().seq, " only"));
  }

 private:
  bool Await(const std::function<bool()>& cancelled) {
    base::MutexLock lock(mu_);
    for (auto left = kApplyTimeout; left > absl::ZeroDuration(); left -= kApplyPoll) {
      if (applied_ || cancelled()) break;
      changed_.WaitFor(mu_, kApplyPoll);
    }
    return applied_;
  }

  base::Mutex mu_;
  base::CondVar changed_;
  bool applied_ MUSTER_GUARDED_BY(mu_) = false;
};

absl::StatusOr<std::set<std::string>> Suspects(Round& round, const std::set<std::string>& services,
                                               const std::function<bool()>& cancelled) {
  std::set<std::string> out;
  for (const std::string& service : services) {
    if (cancelled()) return absl::CancelledError("cancelled");
    const auto good = round.Check(service);
    if (!good.ok()) return good.status();
    if (!*good) out.insert(service);
  }
  return out;
}

}  // namespace

absl::StatusOr<Verification> Verify(const storage::Engine& engine, Catalog& catalog,
                                    const LeaseTable& leases,
                                    const std::function<bool()>& cancelled) {
  std::optional<Verification> first;
  std::set<std::string> services;
  while (true) {
    StoredMarks marks(catalog.maintenance());
    auto snapshot = engine.GetSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    const storage::Revision revision = (*snapshot)->revision();
    if (auto status = Applied::Wait(catalog, revision.seq, cancelled); !status.ok()) {
      if (absl::IsCancelled(status)) return status;
      return Verification{.revision = revision, .problems = {std::string(status.message())}};
    }
    Round round(engine, **snapshot, catalog, leases, marks);
    if (auto status = marks.Read(engine, **snapshot, round.out().problems); !status.ok()) {
      return status;
    }
    auto& problems = round.out().problems;
    problems.resize(std::min(problems.size(), kMaxVerifyProblems));
    if (!first) {
      auto all = round.Services();
      if (!all.ok()) return all.status();
      services = *std::move(all);
    }
    auto suspects = Suspects(round, services, cancelled);
    if (!suspects.ok()) return suspects.status();
    if (!first && problems.empty()) return std::move(round.out());
    if (first) {
      first->problems = std::move(round.out().problems);
      first->revision = revision;
      return *std::move(first);
    }
    first = std::move(round.out());
    services = *std::move(suspects);
  }
}

}  // namespace muster::core
