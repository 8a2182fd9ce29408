#include "server/core/registry.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/log.h"
#include "base/text.h"
#include "server/core/instance_change.h"
#include "storage/engine.h"

namespace muster::core {
namespace {

using absl::StatusCode;
using base::MakeError;
using base::Reason;
using storage::Family;
using storage::UnitResult;

constexpr int kMaxAttempts = 64;
constexpr size_t kMaxExpiriesPerCall = 512;

void ToProto(absl::Duration d, google::protobuf::Duration* out) {
  const int64_t us = absl::ToInt64Microseconds(d);
  out->set_seconds(us / 1'000'000);
  out->set_nanos(static_cast<int32_t>(us % 1'000'000) * 1000);
}

absl::Status NotFound(const storage::InstanceKey& key) {
  return MakeError(StatusCode::kNotFound, Reason::kInstanceNotFound,
                   absl::StrCat("service \"", key.service, "\" has no instance \"",
                                base::EscapeForTerminal(key.id), "\" on node \"",
                                base::EscapeForTerminal(key.node), "\""));
}

absl::Status Uncertain() {
  return MakeError(StatusCode::kUnavailable, Reason::kStorageReadOnly,
                   "storage is read-only, and the outcome of an earlier write of this instance is "
                   "unknown until the server is restarted");
}

absl::Status LifeError(size_t size) {
  return base::WithField(MakeError(StatusCode::kInvalidArgument, Reason::kInvalidField,
                                   absl::StrCat("life_id has ", size, " bytes; allowed: 0 or 16")),
                         "life_id");
}

absl::StatusOr<absl::Duration> GrantedTtl(const v1::RegisterRequest& request,
                                          const RegistryOptions& options) {
  const auto error = [](std::string message) {
    return base::WithField(MakeError(StatusCode::kInvalidArgument, Reason::kInvalidField, message),
                           "ttl");
  };
  if (request.permanent()) {
    if (request.has_ttl()) return error("ttl and permanent are both set; give one");
    return absl::ZeroDuration();
  }
  if (!request.has_ttl()) return options.default_ttl;
  const absl::Duration ttl =
      absl::Seconds(request.ttl().seconds()) + absl::Nanoseconds(request.ttl().nanos());
  if (ttl < options.min_ttl || ttl > options.max_ttl) {
    return error(absl::StrCat("ttl is ", absl::FormatDuration(ttl),
                              "; allowed: ", absl::FormatDuration(options.min_ttl), " to ",
                              absl::FormatDuration(options.max_ttl)));
  }
  return absl::Floor(ttl, absl::Milliseconds(1));
}

}  // namespace

// Keys whose writes are on their way. A no-op verdict on such a key would be premature.
class Registry::PendingKeys {
 public:
  void Add(const std::string& key) {
    Shard& shard = ShardOf(key);
    base::MutexLock lock(shard.mu);
    ++shard.counts[key];
  }
  void Remove(const std::string& key) {
    Shard& shard = ShardOf(key);
    base::MutexLock lock(shard.mu);
    const auto it = shard.counts.find(key);
    if (it != shard.counts.end() && --it->second == 0) shard.counts.erase(it);
  }
  bool Has(const std::string& key) {
    Shard& shard = ShardOf(key);
    base::MutexLock lock(shard.mu);
    return shard.counts.contains(key);
  }

  // A write of it has an unknown outcome: until the server starts again, what is applied may not be
  // what is stored.
  void MarkUncertain(const std::string& key) {
    base::MutexLock lock(uncertain_mu_);
    uncertain_.insert(key);
    any_uncertain_.store(true);
  }
  bool IsUncertain(const std::string& key) {
    if (!any_uncertain_.load()) return false;
    base::MutexLock lock(uncertain_mu_);
    return uncertain_.contains(key);
  }

 private:
  struct Shard {
    base::Mutex mu;
    absl::flat_hash_map<std::string, int> counts MUSTER_GUARDED_BY(mu);
  };
  Shard& ShardOf(const std::string& key) { return shards_[absl::HashOf(key) % shards_.size()]; }
  std::array<Shard, 64> shards_;
  std::atomic<bool> any_uncertain_{false};
  base::Mutex uncertain_mu_;
  absl::flat_hash_set<std::string> uncertain_ MUSTER_GUARDED_BY(uncertain_mu_);
};

// One change of one instance, tried again when the state that it was decided on has moved.
struct Registry::Write {
  enum class Kind { kRegister, kDeregister, kReport, kExpire };
  Kind kind = Kind::kRegister;
  std::string key;
  storage::InstanceKey names;
  storage::WriteClass write_class = storage::WriteClass::kUser;
  int attempts = 0;
  bool ensure_service = false;

  Registration registration;           // kRegister
  uint64_t incarnation = 0;            // kDeregister
  v1::ReportHealthRequest report;      // kReport
  std::shared_ptr<const Lease> lease;  // kExpire

  // What the present attempt proposed.
  Change change;

  struct Outcome {
    uint64_t seq = 0;
    uint64_t incarnation = 0;
    bool changed = false;
  };
  std::function<void(absl::StatusOr<Outcome>)> done;
};

Registry::Registry(storage::Engine& engine, Catalog& catalog, LeaseTable& leases,
                   const base::Clock& clock, RegistryOptions options)
    : engine_(engine),
      catalog_(catalog),
      leases_(leases),
      clock_(clock),
      options_(options),
      pending_(std::make_unique<PendingKeys>()) {}

Registry::~Registry() = default;

absl::StatusOr<std::shared_ptr<Registry::Write>> Registry::MakeRegistration(
    const v1::RegisterRequest& request, const Caller& caller) {
  if (!request.life_id().empty() && request.life_id().size() != 16) {
    return LifeError(request.life_id().size());
  }
  auto ttl = GrantedTtl(request, options_);
  if (!ttl.ok()) return ttl.status();
  auto instance = Normalise(request.instance(), caller.peer_address, caller.loopback_peer_ok);
  if (!instance.ok()) return instance.status();
  auto write = std::make_shared<Write>();
  write->names = instance->key;
  write->key = storage::EncodeInstanceKey(instance->key);
  write->registration.key = write->key;
  write->registration.instance = *std::move(instance);
  write->registration.life = request.life_id();
  write->registration.ttl = *ttl;
  write->registration.precondition = request.precondition();
  write->registration.origin = caller.origin;
  return write;
}

v1::RegisterResponse Registry::RegisteredReply(const Write& write, uint64_t seq,
                                               uint64_t incarnation, bool changed) const {
  v1::RegisterResponse out;
  const absl::Duration ttl = write.registration.ttl;
  out.set_incarnation(incarnation);
  out.set_changed(changed);
  const storage::Revision revision = catalog_.revision();
  out.mutable_revision()->set_epoch(revision.epoch);
  out.mutable_revision()->set_seq(std::max(seq, revision.seq));
  if (ttl > absl::ZeroDuration()) {
    out.set_lease_handle(incarnation);
    ToProto(ttl, out.mutable_ttl());
    ToProto(ttl / 3, out.mutable_heartbeat_interval());
  }
  v1::InstanceKey* key = out.mutable_key();
  key->set_namespace_(write.names.ns);
  key->set_service(write.registration.instance.display_name);
  key->set_node(write.names.node);
  key->set_id(write.names.id);
  return out;
}

void Registry::Register(const v1::RegisterRequest& request, const Caller& caller,
                        RegisterDone done) {
  auto write = MakeRegistration(request, caller);
  if (!write.ok()) return done(write.status());
  (*write)->done = [this, w = write->get(), done = std::move(done)](auto outcome) {
    if (!outcome.ok()) return done(outcome.status());
    done(RegisteredReply(*w, outcome->seq, outcome->incarnation, outcome->changed));
  };
  AttemptMany({*std::move(write)});
}

void Registry::BatchRegister(const v1::BatchRegisterRequest& request, const Caller& caller,
                             BatchDone done) {
  const auto count = static_cast<size_t>(request.requests_size());
  if (count == 0 || count > options_.max_batch) {
    const absl::Status error = base::WithField(
        MakeError(
            StatusCode::kInvalidArgument, Reason::kLimitBatch,
            absl::StrCat("requests has ", count, " items; allowed: 1 to ", options_.max_batch)),
        "requests");
    return done(std::vector<absl::StatusOr<v1::RegisterResponse>>(1, error));
  }
  struct Gather {
    std::vector<absl::StatusOr<v1::RegisterResponse>> results;
    std::atomic<size_t> left;
    BatchDone done;
  };
  auto gather = std::make_shared<Gather>();
  gather->results.assign(count, absl::UnknownError("no answer"));
  gather->left = count;
  gather->done = std::move(done);
  const auto settle = [gather](size_t i, absl::StatusOr<v1::RegisterResponse> result) {
    gather->results[i] = std::move(result);
    if (gather->left.fetch_sub(1) == 1) gather->done(std::move(gather->results));
  };
  std::vector<std::shared_ptr<Write>> writes;
  for (size_t i = 0; i < count; ++i) {
    auto write = MakeRegistration(request.requests(static_cast<int>(i)), caller);
    if (!write.ok()) {
      settle(i, write.status());
      continue;
    }
    (*write)->done = [this, settle, i, w = write->get()](auto outcome) {
      if (!outcome.ok()) return settle(i, outcome.status());
      settle(i, RegisteredReply(*w, outcome->seq, outcome->incarnation, outcome->changed));
    };
    writes.push_back(*std::move(write));
  }
  if (!writes.empty()) AttemptMany(std::move(writes));
}

void Registry::Deregister(const v1::DeregisterRequest& request, DeregisterDone done) {
  auto key = NormalKey(request.key(), "key");
  if (!key.ok()) return done(key.status());
  auto write = std::make_shared<Write>();
  write->kind = Write::Kind::kDeregister;
  write->names = *std::move(key);
  write->key = storage::EncodeInstanceKey(write->names);
  write->write_class = storage::WriteClass::kInternal;
  write->incarnation = request.incarnation();
  write->done = [this, done = std::move(done)](auto outcome) {
    if (!outcome.ok()) return done(outcome.status());
    v1::DeregisterResponse response;
    response.mutable_revision()->set_epoch(catalog_.revision().epoch);
    response.mutable_revision()->set_seq(outcome->seq);
    done(std::move(response));
  };
  AttemptMany({std::move(write)});
}

void Registry::ReportHealth(const v1::ReportHealthRequest& request, ReportDone done) {
  auto key = NormalKey(request.key(), "key");
  if (!key.ok()) return done(key.status());
  auto write = std::make_shared<Write>();
  write->kind = Write::Kind::kReport;
  write->names = *std::move(key);
  write->key = storage::EncodeInstanceKey(write->names);
  write->write_class = storage::WriteClass::kInternal;
  write->report = request;
  write->done = [this, done = std::move(done)](auto outcome) {
    if (!outcome.ok()) return done(outcome.status());
    v1::ReportHealthResponse response;
    response.mutable_revision()->set_epoch(catalog_.revision().epoch);
    response.mutable_revision()->set_seq(std::max(outcome->seq, catalog_.revision().seq));
    response.set_changed(outcome->changed);
    done(std::move(response));
  };
  AttemptMany({std::move(write)});
}

// Decides one write on the present state: settles it at once, or leaves a unit in write.change.
absl::StatusOr<bool> Registry::Decide(Write& write) {
  if (write.kind != Write::Kind::kExpire && pending_->IsUncertain(write.key)) return Uncertain();
  write.change = Change{};
  std::optional<StoredInstance> present;
  const auto read_present = [&]() -> absl::Status {
    auto value = engine_.Get(Family::kInstances, write.key);
    if (absl::IsNotFound(value.status())) return absl::OkStatus();
    if (!value.ok()) return value.status();
    auto stored = DecodeStored(*value);
    if (!stored.ok()) return stored.status();
    present = *std::move(stored);
    return absl::OkStatus();
  };
  const ReadCheck read_check = [&](std::string_view id) -> std::optional<storage::v1::CheckRecord> {
    auto value = engine_.Get(Family::kChecks, storage::EncodeCheckKey(write.key, id));
    if (!value.ok()) return std::nullopt;
    auto decoded = storage::DecodeValue(*value);
    storage::v1::CheckRecord record;
    if (!decoded.ok() || !record.ParseFromArray(decoded->payload.data(),
                                                static_cast<int>(decoded->payload.size()))) {
      return std::nullopt;
    }
    return record;
  };
  if (write.kind == Write::Kind::kRegister) {
    return DecideRegister(write, read_present, present, read_check);
  }

  if (absl::Status status = read_present(); !status.ok()) return status;
  const auto now_ms = static_cast<uint64_t>(clock_.System().us / 1000);
  if (write.kind == Write::Kind::kExpire) {
    // Whatever changed the instance since also gave it another lease.
    if (!present || present->mod_seq != write.lease->spec().mod_seq) return false;
    write.change = RemovalOf(write.key, *present, now_ms);
    return true;
  }
  if (!present) return NotFound(write.names);
  const uint64_t given =
      write.kind == Write::Kind::kDeregister ? write.incarnation : write.report.incarnation();
  if (absl::Status s = CheckIncarnation(given, present->words.incarnation, write.names); !s.ok()) {
    return s;
  }
  if (write.kind == Write::Kind::kDeregister) {
    write.change = RemovalOf(write.key, *present, now_ms);
    return true;
  }
  auto change = ReportOn(write.key, *present, write.report, read_check, now_ms);
  if (!change.ok()) return change.status();
  write.change = *std::move(change);
  return !write.change.unit.ops.empty();
}

absl::StatusOr<bool> Registry::DecideRegister(Write& write,
                                              const std::function<absl::Status()>& read_present,
                                              std::optional<StoredInstance>& present,
                                              const ReadCheck& read_check) {
  const Registration& registration = write.registration;
  const std::shared_ptr<const Lease> lease = leases_.Find(write.key);
  if (lease != nullptr && IsNoOp(registration, lease->spec())) {
    if (absl::Status s = CheckPreconditions(registration, &lease->spec()); !s.ok()) return s;
    write.change.incarnation = lease->spec().incarnation;
    if (!pending_->Has(write.key) && leases_.Renew(*lease)) return false;
    // Something else is under way: a barrier tells what it leads to.
    write.change.unit.preconditions.push_back(
        storage::ModSeqIs(Family::kInstances, write.key, lease->spec().mod_seq));
    return true;
  }
  if (lease != nullptr || write.attempts > 1) {
    if (absl::Status status = read_present(); !status.ok()) return status;
  }
  if (present) {
    const LeaseSpec spec =
        MakeLeaseSpec(write.key, present->mod_seq, present->words.incarnation, present->record);
    if (absl::Status s = CheckPreconditions(registration, &spec); !s.ok()) return s;
  } else if (absl::Status s = CheckPreconditions(registration, nullptr); !s.ok()) {
    return s;
  } else if (catalog_.instance_count() >= options_.max_instances) {
    return base::WithRetryAfter(
        MakeError(StatusCode::kResourceExhausted, Reason::kLimitInstances,
                  absl::StrCat("the server holds ", options_.max_instances,
                               " instances; the limit is limits.instances")),
        absl::Seconds(10));
  }
  write.change = ChangeFor(registration, present ? &*present : nullptr, read_check);
  write.change.unit.preconditions.push_back(storage::Present(
      Family::kServices, storage::EncodeServiceKey(write.names.ns, write.names.service)));
  return true;
}

// Goes before the first registration of a service. Rejected when somebody else was first: fine,
// the registration itself only asks that the record is present.
storage::Unit Registry::EnsureService(const Write& write) const {
  storage::Unit unit;
  const std::string key = storage::EncodeServiceKey(write.names.ns, write.names.service);
  if (auto value = engine_.Get(Family::kServices, key); value.ok()) {
    // Known and empty: written anew, so that nobody forgets it at this moment.
    unit.preconditions.push_back(
        storage::ModSeqIs(Family::kServices, key, storage::ModSeqOf(*value)));
    storage::StampModSeq(*value, 0);
    unit.ops.push_back(storage::Put(Family::kServices, key, *std::move(value)));
    return unit;
  }
  const uint64_t forgotten = catalog_.forgotten_seq();
  unit.preconditions.push_back(storage::Absent(Family::kServices, key));
  // What the unknown service was before is known only from there on.
  unit.preconditions.push_back(
      storage::ModSeqIs(Family::kMeta, std::string(storage::kForgottenKey), forgotten));
  storage::v1::ServiceRecord record;
  record.set_name(write.registration.instance.display_name);
  record.set_floor(forgotten);
  record.set_created_at_ms(static_cast<uint64_t>(clock_.System().us / 1000));
  unit.ops.push_back(
      storage::Put(Family::kServices, key, storage::EncodeValue(record.SerializeAsString())));
  return unit;
}

bool Registry::NeedsService(const Write& write) const {
  if (write.kind != Write::Kind::kRegister || write.change.unit.ops.empty()) return false;
  if (write.attempts > 1) return true;
  const auto info = catalog_.Get(write.names.ns, write.names.service);
  return info == nullptr || info->view->size() == 0;
}

void Registry::AttemptMany(std::vector<std::shared_ptr<Write>> writes) {
  storage::Batch batch;
  std::vector<std::shared_ptr<Write>> proposed;  // null: a service's record
  absl::flat_hash_set<std::string> ensured;
  auto write_class = storage::WriteClass::kInternal;
  for (auto& write : writes) {
    ++write->attempts;
    absl::StatusOr<bool> decided = Decide(*write);
    if (!decided.ok() || !*decided) {
      Finish(*write, std::move(decided).status(), catalog_.revision().seq);
      continue;
    }
    if (write->write_class == storage::WriteClass::kUser) write_class = write->write_class;
    if (NeedsService(*write) &&
        ensured.insert(storage::EncodeServiceKey(write->names.ns, write->names.service)).second) {
      batch.units.push_back(EnsureService(*write));
      proposed.push_back(nullptr);
    }
    pending_->Add(write->key);
    batch.units.push_back(std::move(write->change.unit));
    proposed.push_back(std::move(write));
  }
  if (proposed.empty()) return;
  engine_.Propose(std::move(batch), write_class,
                  [this, proposed = std::move(proposed)](std::vector<UnitResult> results) {
                    Settle(proposed, std::move(results));
                  });
}

void Registry::Settle(const std::vector<std::shared_ptr<Write>>& writes,
                      std::vector<UnitResult> results) {
  std::vector<std::shared_ptr<Write>> again;
  for (size_t i = 0; i < writes.size(); ++i) {
    if (writes[i] == nullptr) continue;
    if (results[i].verdict == UnitResult::Verdict::kUnknown) {
      pending_->MarkUncertain(writes[i]->key);
    }
    pending_->Remove(writes[i]->key);
  }
  for (size_t i = 0; i < writes.size(); ++i) {
    if (writes[i] == nullptr) continue;
    Write& write = *writes[i];
    UnitResult& result = results[i];
    switch (result.verdict) {
      case UnitResult::Verdict::kCommitted:
        if (!write.change.changed && write.kind == Write::Kind::kRegister &&
            leases_.Renew(write.key, write.change.incarnation).outcome != RenewOutcome::kRenewed) {
          again.push_back(writes[i]);  // it expired behind the barrier
          break;
        }
        Finish(write, absl::OkStatus(), result.seq);
        break;
      case UnitResult::Verdict::kRejected:
        if (write.attempts >= kMaxAttempts) {
          Finish(write,
                 base::WithRetryAfter(MakeError(StatusCode::kUnavailable, Reason::kQueueFull,
                                                "too many writes of this instance at once"),
                                      absl::Milliseconds(100)),
                 0);
          break;
        }
        again.push_back(writes[i]);
        break;
      default:
        Finish(write, result.status, 0);
    }
  }
  if (!again.empty()) AttemptMany(std::move(again));
}

void Registry::Finish(Write& write, absl::Status status, uint64_t seq) {
  if (!status.ok()) return write.done(std::move(status));
  Write::Outcome outcome;
  outcome.seq = seq;
  outcome.incarnation = write.change.incarnation == 0 ? seq : write.change.incarnation;
  outcome.changed = write.change.changed;
  write.done(outcome);
}

absl::StatusOr<v1::HeartbeatResponse> Registry::Heartbeat(const v1::HeartbeatRequest& request) {
  const int count = request.lease_handles_size() + request.leases_size();
  if (count > kMaxHeartbeats) {
    return base::WithField(MakeError(StatusCode::kInvalidArgument, Reason::kLimitBatch,
                                     absl::StrCat("lease_handles and leases have ", count,
                                                  " items; at most ", kMaxHeartbeats)),
                           "lease_handles");
  }
  v1::HeartbeatResponse out;
  out.set_sequence(request.sequence());
  out.mutable_outcomes()->Reserve(count);
  out.mutable_remaining_ms()->Reserve(count);
  const auto add = [&out](const Renewal& renewal) {
    using R = v1::HeartbeatResponse;
    static constexpr R::Outcome kOutcomes[] = {R::RENEWED, R::UNKNOWN, R::STALE, R::LOADING};
    out.add_outcomes(kOutcomes[static_cast<int>(renewal.outcome)]);
    // Leases of more than 49 days do not fit.
    out.add_remaining_ms(static_cast<uint32_t>(std::min<int64_t>(
        absl::ToInt64Milliseconds(renewal.remaining), std::numeric_limits<uint32_t>::max())));
  };
  for (const uint64_t handle : request.lease_handles()) add(leases_.RenewHandle(handle));
  for (int i = 0; i < request.leases_size(); ++i) {
    auto key = NormalKey(request.leases(i).key(), "leases.key");
    if (!key.ok()) return key.status();
    add(leases_.Renew(storage::EncodeInstanceKey(*key), request.leases(i).incarnation()));
  }
  return out;
}

size_t Registry::ExpireDue() {
  const auto due = leases_.TakeExpired(kMaxExpiriesPerCall);
  std::vector<std::shared_ptr<Write>> writes;
  for (const auto& lease : due) {
    const auto names = storage::DecodeInstanceKey(lease->spec().key);
    if (!names) continue;
    auto write = std::make_shared<Write>();
    write->kind = Write::Kind::kExpire;
    write->key = lease->spec().key;
    write->names = {std::string(names->ns), std::string(names->service), std::string(names->node),
                    std::string(names->id)};
    write->write_class = storage::WriteClass::kInternal;
    write->lease = lease;
    write->done = [this, lease](const auto& outcome) {
      if (!outcome.ok()) leases_.GiveBack(*lease, absl::Seconds(1));
    };
    writes.push_back(std::move(write));
  }
  if (!writes.empty()) AttemptMany(std::move(writes));
  return due.size();
}

}  // namespace muster::core
