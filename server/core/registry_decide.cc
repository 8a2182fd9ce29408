// What a write of one instance comes to, decided on the present state.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "server/core/drain.h"
#include "server/core/field_rules.h"
#include "server/core/instance_change.h"
#include "server/core/registry.h"
#include "server/core/registry_write.h"

namespace muster::core {
namespace {

using absl::StatusCode;
using base::MakeError;
using base::Reason;
using storage::Family;

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

}  // namespace

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
  const auto read_check = [&](std::string_view id) -> std::optional<storage::v1::CheckRecord> {
    if (present && present->record.never_reported()) return std::nullopt;
    return ReadResult(engine_, Family::kChecks, storage::EncodeCheckKey(write.key, id));
  };
  if (write.kind == Write::Kind::kRegister) {
    return DecideRegister(write, read_present, present, read_check);
  }
  if (write.is_operators()) return DecideOperator(write, read_present, present);

  const auto now_ms = static_cast<uint64_t>(clock_.System().us / 1000);
  if (write.attempts == 1 &&
      (write.kind == Write::Kind::kExpire || write.kind == Write::Kind::kDeregister)) {
    const LeasePtr lease =
        write.kind == Write::Kind::kExpire ? write.lease : leases_.Find(write.hashed_key());
    if (lease != nullptr && lease->never_reported()) return DecideRemoval(write, *lease, now_ms);
  }
  if (absl::Status status = read_present(); !status.ok()) return status;
  if (write.kind == Write::Kind::kExpire) {
    // Whatever changed the instance since also gave it another lease.
    if (!present || present->mod_seq != write.lease->mod_seq()) return false;
    write.change = RemovalOf(write.key, *present, read_check, now_ms);
    return true;
  }
  if (!present) return NotFound(write.names);
  absl::Status named = CheckIncarnation(write.incarnation, present->words.incarnation, write.names);
  if (!named.ok()) return named;
  if (write.kind == Write::Kind::kDeregister) {
    write.change = RemovalOf(write.key, *present, read_check, now_ms);
    return true;
  }
  if (write.kind == Write::Kind::kDrain) {
    DrainChange drain = DrainOf(write.key, *present);
    write.change = std::move(drain.change);
    write.drained.seq = drain.visible_seq;
    write.drained.endpoint = std::move(drain.endpoint);
    return write.change.changed;
  }
  auto change = write.edit(write.key, *present, read_check, now_ms);
  if (!change.ok()) return change.status();
  write.change = *std::move(change);
  return !write.change.unit.ops.empty();
}

// Without reading the store. When the instance has changed since, the unit is rejected, and the
// next attempt looks.
absl::StatusOr<bool> Registry::DecideRemoval(Write& write, const Lease& lease,
                                             uint64_t now_ms) const {
  if (write.kind == Write::Kind::kDeregister) {
    absl::Status status = CheckIncarnation(write.incarnation, lease.incarnation(), write.names);
    if (!status.ok()) return status;
  }
  write.change = RemovalOf(lease, now_ms);
  return true;
}

bool Registry::TakePlace(Write& write) {
  write.creating = true;
  return catalog_.instance_count() + creating_++ < options_.max_instances;
}

absl::StatusOr<bool> Registry::DecideRegister(Write& write,
                                              absl::FunctionRef<absl::Status()> read_present,
                                              std::optional<StoredInstance>& present,
                                              ReadCheck read_check) {
  Registration& registration = write.registration;
  write.service = catalog_.StandingOf(write.service_key(), registration.instance.display_name);
  if (!write.ttl_given && write.service.default_ttl > absl::ZeroDuration()) {
    registration.ttl = std::clamp(write.service.default_ttl, options_.min_ttl, options_.max_ttl);
  } else if (!write.ttl_given) {
    registration.ttl = options_.default_ttl;
  }
  registration.in_maintenance = catalog_.maintenance().Covers(write.key);
  const LeasePtr lease = leases_.Find(write.hashed_key());
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
  const bool buried = write.attempts > 1 || write.service.has_tombstones;
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
  const bool known = write.service.known || write.attempts > 1;
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
  return NewService(key, write.registration.instance.display_name, nullptr);
}

bool Registry::NeedsService(const Write& write) const {
  if (write.kind != Write::Kind::kRegister || write.change.unit.ops.empty()) return false;
  if (write.attempts > 1) return true;
  return !write.service.has_instances;
}

}  // namespace muster::core
