#include "server/core/registry.h"

#include <algorithm>
#include <limits>
#include <list>
#include <optional>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/log.h"
#include "base/text.h"
#include "server/core/field_rules.h"
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
// However many leases fall due at once: user writes go in between.
constexpr size_t kMaxRemovalsUnderWay = 512;
constexpr absl::Duration kRemovalRetry = absl::Seconds(1);
constexpr absl::Duration kMaxRemovalRetry = absl::Seconds(60);
constexpr absl::Duration kRetryForEachHeld = absl::Microseconds(100);

void ToProto(absl::Duration d, google::protobuf::Duration* out) {
  const int64_t us = absl::ToInt64Microseconds(d);
  out->set_seconds(us / 1'000'000);
  out->set_nanos(static_cast<int32_t>(us % 1'000'000) * 1000);
}

absl::Status NotFound(const storage::InstanceKey& key) {
  return MakeError(StatusCode::kNotFound, Reason::kInstanceNotFound,
                   absl::StrCat("service ", Quoted(key.service), " has no instance ",
                                Quoted(key.id), OnNode(key.node)));
}

absl::Status Uncertain() {
  return MakeError(StatusCode::kUnavailable, Reason::kStorageReadOnly,
                   "storage is read-only, and the outcome of an earlier write of this instance is "
                   "unknown until the server is restarted");
}

absl::Status CheckLife(std::string_view life) {
  if (life.empty()) return absl::OkStatus();
  const auto error = [](std::string message) {
    return base::WithField(MakeError(StatusCode::kInvalidArgument, Reason::kInvalidField, message),
                           "life_id");
  };
  if (life.size() != LifeId().size()) {
    return error(absl::StrCat("life_id has ", life.size(), " bytes; allowed: 0 or 16"));
  }
  if (life.find_first_not_of('\0') == std::string_view::npos) {
    return error("life_id is all zeroes; draw it at random");
  }
  return absl::OkStatus();
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
  if (absl::Status status =
          CheckDuration({"", "ttl"}, request.ttl(), options.min_ttl, options.max_ttl);
      !status.ok()) {
    return status;
  }
  return absl::Floor(FromProto(request.ttl()), absl::Milliseconds(1));
}

}  // namespace

// One change of one instance, tried again when the state that it was decided on has moved.
struct Registry::Write {
  enum class Kind { kRegister, kDeregister, kReport, kExpire };
  Kind kind = Kind::kRegister;
  std::string key;
  storage::InstanceKey names;
  storage::WriteClass write_class = storage::WriteClass::kUser;
  int attempts = 0;
  bool creating = false;  // counted in creating_

  Registration registration;                                // kRegister
  std::shared_ptr<const ServiceInfo> service;               // kRegister; null: not known
  uint64_t incarnation = 0;                                 // kDeregister
  std::unique_ptr<const v1::ReportHealthRequest> report{};  // kReport
  LeasePtr lease;                                           // kExpire

  // What the present attempt proposed.
  Change change;

  // An expiry doesn't: its lease is expiring already, and whatever comes first decides.
  bool waits_its_turn() const { return kind != Kind::kExpire; }
  std::string_view service_key() const { return storage::ServiceKeyOf(key); }

  struct Outcome {
    uint64_t seq = 0;
    uint64_t incarnation = 0;
    bool changed = false;
  };
  std::function<void(absl::StatusOr<Outcome>)> done;
};

// Writes of one instance go one after another, so that each is decided on what the one before led
// to.
class Registry::Turns {
 public:
  // True: it is the write's turn. False: it waits until Leave hands it out.
  bool Enter(const std::shared_ptr<Write>& write) {
    Shard& shard = ShardOf(write->key);
    base::MutexLock lock(shard.mu);
    const auto [it, first] = shard.queues.try_emplace(write->key);
    if (!first) it->second.push_back(write);
    return first;
  }
  // Ends a turn. Whose turn it is now; null: nobody waits.
  std::shared_ptr<Write> Leave(const std::string& key) {
    Shard& shard = ShardOf(key);
    base::MutexLock lock(shard.mu);
    const auto it = shard.queues.find(key);
    if (it->second.empty()) {
      shard.queues.erase(it);
      return nullptr;
    }
    std::shared_ptr<Write> next = std::move(it->second.front());
    it->second.pop_front();
    return next;
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
    // By key, while somebody has the turn: who waits.
    absl::flat_hash_map<std::string, std::list<std::shared_ptr<Write>>> queues
        MUSTER_GUARDED_BY(mu);
  };
  Shard& ShardOf(const std::string& key) { return shards_[absl::HashOf(key) >> 58]; }
  std::array<Shard, 64> shards_;
  std::atomic<bool> any_uncertain_{false};
  base::Mutex uncertain_mu_;
  absl::flat_hash_set<std::string> uncertain_ MUSTER_GUARDED_BY(uncertain_mu_);
};

Registry::Registry(storage::Engine& engine, Catalog& catalog, LeaseTable& leases, HeldSet& held,
                   const base::Clock& clock, RegistryOptions options)
    : engine_(engine),
      catalog_(catalog),
      leases_(leases),
      held_(held),
      clock_(clock),
      options_(options),
      turns_(std::make_unique<Turns>()) {}

Registry::~Registry() = default;

absl::StatusOr<std::shared_ptr<Registry::Write>> Registry::MakeRegistration(
    v1::RegisterRequest&& request, const Caller& caller) {
  if (absl::Status status = CheckLife(request.life_id()); !status.ok()) return status;
  auto ttl = GrantedTtl(request, options_);
  if (!ttl.ok()) return ttl.status();
  auto instance = Normalise(std::move(*request.mutable_instance()), caller.peer_address,
                            caller.loopback_peer_ok);
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
  // As it was first given, whatever the spelling of this request.
  const auto info =
      write.service != nullptr ? write.service : catalog_.GetByKey(write.service_key());
  key->set_service(info == nullptr ? write.registration.instance.display_name : info->display);
  key->set_node(write.names.node);
  key->set_id(write.names.id);
  return out;
}

void Registry::Register(const v1::RegisterRequest& request, const Caller& caller,
                        RegisterDone done) {
  Register(v1::RegisterRequest(request), caller, std::move(done));
}

void Registry::Register(v1::RegisterRequest&& request, const Caller& caller, RegisterDone done) {
  auto write = MakeRegistration(std::move(request), caller);
  if (!write.ok()) return done(write.status());
  (*write)->done = [this, w = write->get(), done = std::move(done)](auto outcome) {
    if (!outcome.ok()) return done(outcome.status());
    done(RegisteredReply(*w, outcome->seq, outcome->incarnation, outcome->changed));
  };
  Begin({*std::move(write)});
}

void Registry::BatchRegister(const v1::BatchRegisterRequest& request, const Caller& caller,
                             BatchDone done) {
  BatchRegister(v1::BatchRegisterRequest(request), caller, std::move(done));
}

void Registry::BatchRegister(v1::BatchRegisterRequest&& request, const Caller& caller,
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
    auto write =
        MakeRegistration(std::move(*request.mutable_requests(static_cast<int>(i))), caller);
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
  Begin(std::move(writes));
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
  Begin({std::move(write)});
}

void Registry::ReportHealth(const v1::ReportHealthRequest& request, ReportDone done) {
  auto key = NormalKey(request.key(), "key");
  if (!key.ok()) return done(key.status());
  auto write = std::make_shared<Write>();
  write->kind = Write::Kind::kReport;
  write->names = *std::move(key);
  write->key = storage::EncodeInstanceKey(write->names);
  write->write_class = storage::WriteClass::kInternal;
  write->report = std::make_unique<const v1::ReportHealthRequest>(request);
  write->done = [this, done = std::move(done)](auto outcome) {
    if (!outcome.ok()) return done(outcome.status());
    v1::ReportHealthResponse response;
    response.mutable_revision()->set_epoch(catalog_.revision().epoch);
    response.mutable_revision()->set_seq(std::max(outcome->seq, catalog_.revision().seq));
    response.set_changed(outcome->changed);
    done(std::move(response));
  };
  Begin({std::move(write)});
}

// Decides one write on the present state: settles it at once, or leaves a unit in write.change.
absl::StatusOr<bool> Registry::Decide(Write& write) {
  if (write.kind != Write::Kind::kExpire && turns_->IsUncertain(write.key)) return Uncertain();
  write.change = Change{};
  if (std::exchange(write.creating, false)) --creating_;
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
    if (!present || present->mod_seq != write.lease->mod_seq()) return false;
    write.change = RemovalOf(write.key, *present, now_ms);
    return true;
  }
  if (!present) return NotFound(write.names);
  const uint64_t given =
      write.kind == Write::Kind::kDeregister ? write.incarnation : write.report->incarnation();
  if (absl::Status s = CheckIncarnation(given, present->words.incarnation, write.names); !s.ok()) {
    return s;
  }
  if (write.kind == Write::Kind::kDeregister) {
    write.change = RemovalOf(write.key, *present, now_ms);
    return true;
  }
  auto change = ReportOn(write.key, *present, *write.report, read_check, now_ms);
  if (!change.ok()) return change.status();
  write.change = *std::move(change);
  return !write.change.unit.ops.empty();
}

bool Registry::TakePlace(Write& write) {
  write.creating = true;
  return catalog_.instance_count() + creating_++ < options_.max_instances;
}

absl::StatusOr<bool> Registry::DecideRegister(Write& write,
                                              const std::function<absl::Status()>& read_present,
                                              std::optional<StoredInstance>& present,
                                              const ReadCheck& read_check) {
  const Registration& registration = write.registration;
  write.service = catalog_.GetByKey(write.service_key());
  const LeasePtr lease = leases_.Find(write.key);
  const std::optional<LeaseSpec> spec =
      lease == nullptr ? std::nullopt : std::optional(lease->spec());
  if (spec && IsNoOp(registration, *spec)) {
    if (absl::Status s = CheckPreconditions(registration, &*spec); !s.ok()) return s;
    write.change.incarnation = lease->incarnation();
    if (leases_.Renew(*lease)) return false;
    // It has just fallen due, and its removal is on its way: written anew, it stays or comes back.
    write.change.incarnation = 0;
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
  } else if (!TakePlace(write)) {
    return base::WithRetryAfter(
        MakeError(StatusCode::kResourceExhausted, Reason::kLimitInstances,
                  absl::StrCat("the server holds ", options_.max_instances,
                               " instances; the limit is limits.instances")),
        absl::Seconds(10));
  }
  // Nobody else removes this key meanwhile: it is this write's turn.
  const bool buried = write.attempts > 1 ||
                      (write.service != nullptr && write.service->view->tombstone_count() > 0);
  write.change = ChangeFor(registration, present ? &*present : nullptr, buried, read_check);
  write.change.unit.preconditions.push_back(
      storage::Present(Family::kServices, std::string(write.service_key())));
  return true;
}

// Goes before the first registration of a service. Rejected when somebody else was first: fine,
// the registration itself only asks that the record is present.
storage::Unit Registry::EnsureService(const Write& write) const {
  storage::Unit unit;
  const std::string key(write.service_key());
  const bool known = write.service != nullptr || write.attempts > 1;
  absl::StatusOr<std::string> value = absl::NotFoundError("not known");
  if (known) value = engine_.Get(Family::kServices, key);
  if (value.ok()) {
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
  return write.service == nullptr || write.service->view->size() == 0;
}

void Registry::Begin(std::vector<std::shared_ptr<Write>> writes) {
  std::erase_if(writes, [this](const auto& write) {
    return write->waits_its_turn() && !turns_->Enter(write);
  });
  AttemptMany(std::move(writes));
}

// Of those whose turn it is.
void Registry::AttemptMany(std::vector<std::shared_ptr<Write>> writes) {
  storage::Batch batch;
  std::vector<std::shared_ptr<Write>> proposed;  // null: a service's record
  absl::flat_hash_set<std::string> ensured;
  auto write_class = storage::WriteClass::kInternal;
  for (size_t i = 0; i < writes.size(); ++i) {  // Finish may append
    std::shared_ptr<Write> write = std::move(writes[i]);
    ++write->attempts;
    absl::StatusOr<bool> decided = Decide(*write);
    if (!decided.ok() || !*decided) {
      Finish(*write, std::move(decided).status(), catalog_.revision().seq, writes);
      continue;
    }
    if (write->write_class == storage::WriteClass::kUser) write_class = write->write_class;
    if (NeedsService(*write) && ensured.insert(std::string(write->service_key())).second) {
      batch.units.push_back(EnsureService(*write));
      proposed.push_back(nullptr);
    }
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
  std::vector<std::shared_ptr<Write>> next;
  for (size_t i = 0; i < writes.size(); ++i) {
    if (writes[i] == nullptr) continue;
    Write& write = *writes[i];
    UnitResult& result = results[i];
    if (result.verdict == UnitResult::Verdict::kCommitted) {
      Finish(write, absl::OkStatus(), result.seq, next);
    } else if (result.verdict != UnitResult::Verdict::kRejected) {
      if (result.verdict == UnitResult::Verdict::kUnknown) turns_->MarkUncertain(write.key);
      Finish(write, result.status, 0, next);
    } else if (write.attempts < kMaxAttempts) {
      next.push_back(writes[i]);
    } else {
      Finish(write,
             base::WithRetryAfter(MakeError(StatusCode::kResourceExhausted, Reason::kQueueFull,
                                            "too many writes of this instance at once"),
                                  absl::Milliseconds(100)),
             0, next);
    }
  }
  if (!next.empty()) AttemptMany(std::move(next));
}

void Registry::Finish(Write& write, absl::Status status, uint64_t seq,
                      std::vector<std::shared_ptr<Write>>& next) {
  if (std::exchange(write.creating, false)) --creating_;
  if (write.waits_its_turn()) {
    if (auto waiting = turns_->Leave(write.key)) next.push_back(std::move(waiting));
  }
  if (!status.ok()) return write.done(std::move(status));
  // Written anew in the life it had, just as its lease fell due: that was a sign of life.
  const uint64_t kept = write.change.incarnation;
  if (write.kind == Write::Kind::kRegister && write.change.changed && kept != 0) {
    leases_.Renew(write.key, kept);
  }
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
  std::vector<Renewal> renewals(static_cast<size_t>(request.lease_handles_size()));
  leases_.RenewHandles(request.lease_handles(), absl::MakeSpan(renewals));
  for (const Renewal& renewal : renewals) add(renewal);
  for (int i = 0; i < request.leases_size(); ++i) {
    auto key = NormalKey(request.leases(i).key(), "leases.key");
    if (!key.ok()) return key.status();
    add(leases_.Renew(storage::EncodeInstanceKey(*key), request.leases(i).incarnation()));
  }
  return out;
}

std::shared_ptr<Registry::Write> Registry::MakeRemoval(const LeasePtr& lease) {
  const auto names = storage::DecodeInstanceKey(lease->key());
  if (!names) return nullptr;
  auto write = std::make_shared<Write>();
  write->kind = Write::Kind::kExpire;
  write->key = std::string(lease->key());
  write->names = {std::string(names->ns), std::string(names->service), std::string(names->node),
                  std::string(names->id)};
  write->write_class = storage::WriteClass::kInternal;
  write->lease = lease;
  ++removals_under_way_;
  write->done = [this, lease](const auto& outcome) {
    --removals_under_way_;
    Removed(*lease, outcome.status());
  };
  return write;
}

void Registry::Removed(const Lease& lease, const absl::Status& status) {
  if (status.ok()) {
    try_removal_at_us_ = 0;
    return;
  }
  const std::optional<Reason> reason = base::ReasonOf(status);
  if (reason == Reason::kQueueFull || reason == Reason::kClosed) {
    leases_.GiveBack(lease, kRemovalRetry);
    return;
  }
  try_removal_at_us_ = (clock_.Steady() + kRemovalRetry).us;
  HoldOverdue(lease);
}

void Registry::HoldOverdue(const Lease& lease) {
  held_.Hold(lease.key(), HoldReason::kStorageReadOnly);
  // However many wait, the next try costs little.
  leases_.GiveBack(lease,
                   std::clamp(kRetryForEachHeld * held_.size(), kRemovalRetry, kMaxRemovalRetry));
}

size_t Registry::ExpireDue() {
  const size_t under_way = removals_under_way_.load();
  if (under_way >= kMaxRemovalsUnderWay) return 0;
  const auto due = leases_.TakeExpired(kMaxRemovalsUnderWay - under_way);
  std::vector<std::shared_ptr<Write>> writes;
  for (const auto& lease : due) {
    const int64_t try_at_us = try_removal_at_us_.load();
    if (try_at_us != 0) {
      const base::SteadyTime now = clock_.Steady();
      if (now.us < try_at_us) {
        HoldOverdue(*lease);
        continue;
      }
      // This one tries for all.
      try_removal_at_us_ = (now + kRemovalRetry).us;
    }
    if (auto write = MakeRemoval(lease)) writes.push_back(std::move(write));
  }
  Begin(std::move(writes));
  return due.size();
}

}  // namespace muster::core
