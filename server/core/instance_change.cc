#include "server/core/instance_change.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"
#include "server/core/check_change.h"
#include "server/core/maintenance_set.h"
#include "server/core/record_view.h"

namespace muster::core {
namespace {

using absl::StatusCode;
using base::MakeError;
using base::Reason;
using storage::Family;

constexpr int kMaxSuperseded = 4;

bool SameLife(const std::string& life, const LeaseSpec& present) {
  return present.fenced && life.size() == present.life.size() &&
         std::equal(present.life.begin(), present.life.end(), life.begin(),
                    [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); });
}

// No life given joins the present one.
bool Continues(const std::string& life, const std::string& present) {
  return life.empty() || life == present;
}

// Keeps the results of checks whose definition stays, drops the others', and says the worst.
v1::Health CarryChecks(const Registration& registration, const StoredInstance* present,
                       ReadCheck read_check, storage::Unit& unit) {
  if (present == nullptr) return registration.instance.initial_health;
  std::map<std::string, std::string> old;
  for (const v1::Check& check : present->record.checks()) {
    AppendDeterministic(check, old[check.id()]);
  }
  v1::Health worst = v1::PASSING;
  for (const NormalCheck& check : registration.instance.checks) {
    const auto it = old.find(check.id);
    const bool same = it != old.end() && it->second == check.encoded;
    const auto result = same ? read_check(check.id) : std::nullopt;
    worst = std::max(worst, result ? result->status() : check.initial_status);
    if (same) old.erase(it);
  }
  for (const auto& [id, definition] : old) DeleteResults(registration.key, id, read_check, unit);
  return worst;
}

void CarryLives(const StoredInstance& present, RecordRest& record) {
  auto* first = record.superseded.Add();
  first->set_life(present.record.life());
  first->set_incarnation(present.words.incarnation);
  for (const auto& old : present.record.superseded()) {
    if (record.superseded.size() == kMaxSuperseded) break;
    *record.superseded.Add() = old;
  }
}

// All but the results of checks.
Change Removal(std::string_view key, uint64_t mod_seq, uint64_t incarnation, uint64_t now_ms) {
  Change out;
  out.changed = true;
  out.incarnation = incarnation;
  const std::string k(key);
  out.unit.preconditions.push_back(storage::ModSeqIs(Family::kInstances, k, mod_seq));
  out.unit.ops.reserve(2);
  out.unit.ops.push_back(storage::Delete(Family::kInstances, k));
  storage::v1::TombstoneRecord tombstone;
  tombstone.set_deleted_at_ms(now_ms);
  out.unit.ops.push_back(
      storage::Put(Family::kTombstones, k, storage::EncodeValue(tombstone.SerializeAsString())));
  return out;
}

}  // namespace

absl::StatusOr<StoredInstance> DecodeStored(std::string_view value) {
  auto decoded = storage::DecodeInstanceValue(value);
  if (!decoded.ok()) return decoded.status();
  StoredInstance out;
  out.mod_seq = decoded->mod_seq;
  out.words = decoded->words;
  if (!out.record.ParseFromArray(decoded->payload.data(),
                                 static_cast<int>(decoded->payload.size()))) {
    return MakeError(StatusCode::kDataLoss, Reason::kStorageDamaged,
                     "an instance record can't be read");
  }
  return out;
}

LeaseSpec MakeLeaseSpec(std::string key, uint64_t mod_seq, uint64_t incarnation,
                        const storage::v1::InstanceRecord& record) {
  LeaseSpec spec;
  spec.key = std::move(key);
  spec.mod_seq = mod_seq;
  spec.incarnation = incarnation;
  const auto copy_life = [](const std::string& from, LifeId& to) {
    if (from.size() != to.size()) return false;
    std::copy(from.begin(), from.end(), to.begin());
    return true;
  };
  spec.fenced = copy_life(record.life(), spec.life);
  spec.digest = DigestOf(record.endpoint(), record.checks());
  spec.ttl = absl::Milliseconds(record.ttl_ms());
  spec.never_reported = record.never_reported();
  for (const auto& old : record.superseded()) {
    Superseded superseded;
    superseded.incarnation = old.incarnation();
    copy_life(old.life(), superseded.life);
    spec.superseded.push_back(superseded);
  }
  return spec;
}

absl::Status CheckPreconditions(const Registration& registration, const LeaseSpec* present) {
  const v1::Precondition& precondition = registration.precondition;
  // The same life that asks again (its answer was lost) gets its own success.
  const bool own = present != nullptr && SameLife(registration.life, *present);
  if (present != nullptr && !registration.life.empty() && !own) {
    for (const Superseded& old : present->superseded) {
      if (!std::equal(old.life.begin(), old.life.end(), registration.life.begin(),
                      [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); })) {
        continue;
      }
      if (old.life == LifeId{}) continue;
      return MakeError(StatusCode::kFailedPrecondition, Reason::kSuperseded,
                       absl::StrCat("this life was replaced by incarnation ", present->incarnation,
                                    "; it has to stop"));
    }
  }
  if (precondition.must_be_new() && present != nullptr && !own) {
    return MakeError(StatusCode::kAlreadyExists, Reason::kAlreadyExists,
                     absl::StrCat("the key is taken by incarnation ", present->incarnation));
  }
  if (precondition.kind_case() == v1::Precondition::kMustReplaceIncarnation && !own &&
      (present == nullptr || present->incarnation != precondition.must_replace_incarnation())) {
    return MakeError(StatusCode::kFailedPrecondition, Reason::kPreconditionFailed,
                     present == nullptr
                         ? std::string("there is no instance to replace")
                         : absl::StrCat("the key has incarnation ", present->incarnation, ", not ",
                                        precondition.must_replace_incarnation()));
  }
  return absl::OkStatus();
}

bool IsNoOp(const Registration& registration, const LeaseSpec& present) {
  return present.digest == registration.instance.digest && present.ttl == registration.ttl &&
         (registration.life.empty() || SameLife(registration.life, present));
}

Change ChangeFor(const Registration& registration, const StoredInstance* present, bool buried,
                 ReadCheck read_check) {
  Change out;
  out.changed = true;
  storage::InstanceWords words;  // zero: of this write
  RecordRest record;
  record.life = registration.life;
  record.ttl_ms = static_cast<uint64_t>(absl::ToInt64Milliseconds(registration.ttl));
  record.origin = registration.origin;
  record.health = CarryChecks(registration, present, read_check, out.unit);
  record.never_reported = present == nullptr || present->record.never_reported();
  record.state = StateOf(registration.in_maintenance, /*draining=*/false);
  std::string key(registration.key);
  if (present == nullptr) {
    out.unit.preconditions.push_back(storage::Absent(Family::kInstances, key));
    if (buried) out.unit.ops.push_back(storage::Delete(Family::kTombstones, key));
  } else {
    out.unit.preconditions.push_back(storage::ModSeqIs(Family::kInstances, key, present->mod_seq));
    words.create_seq = present->words.create_seq;
    const bool same_life = Continues(registration.life, present->record.life());
    if (same_life) {
      words.incarnation = present->words.incarnation;
      record.life = present->record.life();
      record.superseded = present->record.superseded();
      record.draining = present->record.draining();
    } else {
      CarryLives(*present, record);
    }
    record.draining = same_life && present->record.draining();  // it ends with the life
    record.state = StateOf(registration.in_maintenance, record.draining);
    const bool visible = registration.instance.endpoint != present->record.endpoint() ||
                         record.health != present->record.health() ||
                         record.state != present->record.state();
    if (!visible) words.visible_seq = present->words.visible_seq;
  }
  out.incarnation = words.incarnation;
  std::string value =
      storage::EncodeInstanceValue(words, "", MaxRecordSize(registration.instance, record));
  AppendRecord(registration.instance, record, value);
  out.unit.ops.push_back(storage::Put(Family::kInstances, std::move(key), std::move(value)));
  return out;
}

Change RemovalOf(std::string_view key, const StoredInstance& present, ReadCheck read_check,
                 uint64_t now_ms) {
  Change out = Removal(key, present.mod_seq, present.words.incarnation, now_ms);
  for (const v1::Check& check : present.record.checks()) {
    DeleteResults(key, check.id(), read_check, out.unit);
  }
  return out;
}

Change RemovalOf(const Lease& lease, uint64_t now_ms) {
  return Removal(lease.key(), lease.mod_seq(), lease.incarnation(), now_ms);
}

absl::Status CheckIncarnation(uint64_t given, uint64_t present, const storage::InstanceKey& key) {
  if (given == 0 || given == present) return absl::OkStatus();
  if (given < present) {
    return MakeError(StatusCode::kFailedPrecondition, Reason::kStaleIncarnation,
                     absl::StrCat("incarnation ", given, " was replaced by ", present));
  }
  return MakeError(StatusCode::kNotFound, Reason::kInstanceNotFound,
                   absl::StrCat("service \"", key.service, "\" has no instance \"",
                                base::EscapeForTerminal(key.id), "\" of incarnation ", given));
}

}  // namespace muster::core
