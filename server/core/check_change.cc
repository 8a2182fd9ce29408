#include "server/core/check_change.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"
#include "server/core/check_rules.h"
#include "server/core/record_view.h"

namespace muster::core {
namespace {

using absl::StatusCode;
using base::MakeError;
using base::Reason;
using storage::Family;

constexpr int kMaxChecks = 32;

absl::Status Wrong(std::string_view field, std::string_view problem) {
  return FieldError({"", field}, problem);
}

const v1::Check* Find(const StoredInstance& present, std::string_view id) {
  const auto& checks = present.record.checks();
  const auto it =
      std::find_if(checks.begin(), checks.end(), [&](const auto& c) { return c.id() == id; });
  return it == checks.end() ? nullptr : &*it;
}

absl::Status NoSuchCheck(std::string_view id) {
  return MakeError(StatusCode::kNotFound, Reason::kCheckNotFound,
                   absl::StrCat("the instance has no check \"",
                                base::EscapeForTerminal(id.substr(0, 64)), "\""));
}

// "" = the only one.
absl::StatusOr<const v1::Check*> Named(const StoredInstance& present, const std::string& id) {
  const int count = present.record.checks_size();
  if (count == 0) {
    return MakeError(StatusCode::kNotFound, Reason::kCheckNotFound, "the instance has no checks");
  }
  if (id.empty() && count == 1) return &present.record.checks(0);
  if (id.empty()) {
    return Wrong("check_id",
                 absl::StrCat("is empty and the instance has ", count, " checks; say which"));
  }
  const v1::Check* check = Find(present, id);
  if (check == nullptr) return NoSuchCheck(id);
  return check;
}

// At most `max` bytes, cut between characters.
std::string Cut(std::string text, size_t max) {
  if (text.size() <= max) return text;
  size_t end = max;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text;
}

v1::Health StatusOf(const v1::Check& check, ReadCheck read_check) {
  const auto record = read_check(check.id());
  return record ? record->status() : InitialStatus(check);
}

// A change of `record`, which `present` is now. Visible if its health changes.
void PutRecord(std::string_view key, const StoredInstance& present, storage::InstanceWords words,
               const storage::v1::InstanceRecord& record, Change& out) {
  if (record.health() != present.record.health()) words.visible_seq = 0;
  out.unit.ops.push_back(
      storage::Put(Family::kInstances, std::string(key),
                   storage::EncodeInstanceValue(words, SerializeRecord(record))));
}

Change ChangeOf(std::string_view key, const StoredInstance& present) {
  Change out;
  out.incarnation = present.words.incarnation;
  out.unit.preconditions.push_back(
      storage::ModSeqIs(Family::kInstances, std::string(key), present.mod_seq));
  return out;
}

storage::Op PutTransition(const std::string& check_key, const storage::v1::CheckRecord& result) {
  storage::v1::CheckRecord transition = result;
  transition.set_output(Cut(result.output(), kMaxTransitionOutput));
  transition.clear_transitions();
  return storage::Put(Family::kTransitions,
                      storage::EncodeTransitionKey(check_key, result.transitions()),
                      storage::EncodeValue(transition.SerializeAsString()));
}

// A new output without a new status is nothing before `output_every` has passed.
Change SetResult(std::string_view key, const StoredInstance& present, const v1::Check& check,
                 storage::v1::CheckRecord result, absl::Duration output_every,
                 ReadCheck read_check) {
  const auto before = read_check(check.id());
  const bool same_status = before && before->status() == result.status();
  Change out = ChangeOf(key, present);
  const auto every_ms = static_cast<uint64_t>(absl::ToInt64Milliseconds(output_every));
  const bool too_soon = same_status && every_ms > 0 && result.at_ms() < before->at_ms() + every_ms;
  if (too_soon || (same_status && before->output() == result.output())) {
    out.unit = {};
    return out;
  }
  out.changed = !same_status;
  result.set_transitions((before ? before->transitions() : 0) + (same_status ? 0 : 1));
  const std::string check_key = storage::EncodeCheckKey(key, check.id());
  out.unit.ops.push_back(
      storage::Put(Family::kChecks, check_key, storage::EncodeValue(result.SerializeAsString())));
  if (same_status) return out;
  out.unit.ops.push_back(PutTransition(check_key, result));
  if (result.transitions() > kKeptTransitions) {
    out.unit.ops.push_back(storage::Delete(
        Family::kTransitions,
        storage::EncodeTransitionKey(check_key, result.transitions() - kKeptTransitions)));
  }
  // A new status goes through the instance's record too, so that whoever decides on the instance
  // at the same time is made to look again.
  storage::v1::InstanceRecord record = present.record;
  v1::Health worst = result.status();
  for (const v1::Check& other : record.checks()) {
    if (other.id() != check.id()) worst = std::max(worst, StatusOf(other, read_check));
  }
  record.set_health(worst);
  record.set_never_reported(false);
  PutRecord(key, present, present.words, record, out);
  return out;
}

storage::v1::CheckRecord ResultOf(v1::Health status, std::string output, uint64_t now_ms) {
  storage::v1::CheckRecord out;
  out.set_status(status);
  out.set_output(Cut(std::move(output), kMaxOutput));
  out.set_at_ms(now_ms);
  return out;
}

// A change of the list of checks to that of `record`.
void SetChecks(std::string_view key, const StoredInstance& present,
               storage::v1::InstanceRecord record, ReadCheck read_check, std::string_view fresh,
               Change& out) {
  v1::Health worst = v1::PASSING;
  for (const v1::Check& check : record.checks()) {
    worst =
        std::max(worst, check.id() == fresh ? InitialStatus(check) : StatusOf(check, read_check));
  }
  record.set_health(worst);
  storage::InstanceWords words = present.words;
  words.definition_seq = 0;
  out.changed = true;
  PutRecord(key, present, words, record, out);
}

absl::Status CheckSize(const storage::v1::InstanceRecord& record) {
  size_t bytes = record.endpoint().size();
  for (const v1::Check& check : record.checks()) bytes += check.ByteSizeLong();
  if (bytes <= kMaxInstanceBytes) return absl::OkStatus();
  return FieldError(
      {"", "check"},
      absl::StrCat("makes the instance ", bytes, " bytes; at most ", kMaxInstanceBytes),
      Reason::kInstanceTooLarge);
}

}  // namespace

std::optional<storage::v1::CheckRecord> ReadResult(const storage::Engine& engine, Family family,
                                                   std::string_view key) {
  const auto value = engine.Get(family, key);
  if (!value.ok()) return std::nullopt;
  const auto decoded = storage::DecodeValue(*value);
  storage::v1::CheckRecord record;
  if (!decoded.ok() ||
      !record.ParseFromArray(decoded->payload.data(), static_cast<int>(decoded->payload.size()))) {
    return std::nullopt;
  }
  return record;
}

void DeleteResults(std::string_view key, std::string_view check_id, ReadCheck read_check,
                   storage::Unit& unit) {
  const auto record = read_check(check_id);
  if (!record) return;
  std::string check_key = storage::EncodeCheckKey(key, check_id);
  const uint64_t last = record->transitions();
  for (uint64_t n = last - std::min(last, kKeptTransitions) + 1; n <= last; ++n) {
    unit.ops.push_back(
        storage::Delete(Family::kTransitions, storage::EncodeTransitionKey(check_key, n)));
  }
  unit.ops.push_back(storage::Delete(Family::kChecks, std::move(check_key)));
}

absl::StatusOr<Change> ReportOn(std::string_view key, const StoredInstance& present,
                                const v1::ReportHealthRequest& report, ReadCheck read_check,
                                uint64_t now_ms) {
  if (report.status() < v1::PASSING || report.status() > v1::CRITICAL) {
    return Wrong("status",
                 absl::StrCat("is ", report.status(), "; allowed: PASSING, WARNING, CRITICAL"));
  }
  const auto check = Named(present, report.check_id());
  if (!check.ok()) return check.status();
  if (!(*check)->has_ttl()) {
    return Wrong("check_id", absl::StrCat("is ", Quoted((*check)->id()),
                                          ", which the server runs itself; reports are for checks "
                                          "of kind ttl"));
  }
  return SetResult(key, present, **check, ResultOf(report.status(), report.output(), now_ms),
                   kOutputEvery, read_check);
}

absl::StatusOr<Change> OutcomeOn(const StoredInstance& present, const CheckOutcome& outcome,
                                 ReadCheck read_check, uint64_t now_ms) {
  const v1::Check* check = Find(present, outcome.check_id);
  if (check == nullptr || present.words.definition_seq != outcome.definition_seq) {
    return NoSuchCheck(outcome.check_id);
  }
  // Whoever found it out keeps the minute, and takes what was answered OK for stored.
  return SetResult(outcome.instance_key, present, *check,
                   ResultOf(outcome.status, outcome.output, now_ms), absl::ZeroDuration(),
                   read_check);
}

absl::StatusOr<Change> AdditionOf(std::string_view key, const StoredInstance& present,
                                  v1::Check check, ReadCheck read_check) {
  v1::Endpoint endpoint;
  (void)endpoint.ParseFromString(present.record.endpoint());
  if (auto s = NormaliseCheck(check, {"", "check"}, endpoint.port()); !s.ok()) return s;
  Change out = ChangeOf(key, present);
  storage::v1::InstanceRecord record = present.record;
  const v1::Check* const old = Find(present, check.id());
  if (old == nullptr && record.checks_size() >= kMaxChecks) {
    return Wrong("check", absl::StrCat("is one too many: the instance has ", record.checks_size(),
                                       " checks; at most ", kMaxChecks));
  }
  if (old != nullptr) {
    std::string before, after;
    AppendDeterministic(*old, before);
    AppendDeterministic(check, after);
    if (before == after) {
      out.unit = {};
      return out;
    }
    DeleteResults(key, check.id(), read_check, out.unit);
    for (v1::Check& one : *record.mutable_checks()) {
      if (one.id() == check.id()) one = check;
    }
  } else {
    *record.add_checks() = check;
  }
  if (auto s = CheckSize(record); !s.ok()) return s;
  SetChecks(key, present, std::move(record), read_check, check.id(), out);
  return out;
}

absl::StatusOr<Change> RemovalOfCheck(std::string_view key, const StoredInstance& present,
                                      const std::string& check_id, ReadCheck read_check) {
  if (check_id.empty()) return Wrong("check_id", "is empty; say which check is to go");
  const auto check = Named(present, check_id);
  if (!check.ok()) return check.status();
  Change out = ChangeOf(key, present);
  DeleteResults(key, (*check)->id(), read_check, out.unit);
  storage::v1::InstanceRecord record = present.record;
  auto& checks = *record.mutable_checks();
  checks.erase(std::remove_if(checks.begin(), checks.end(),
                              [&](const auto& c) { return c.id() == (*check)->id(); }),
               checks.end());
  SetChecks(key, present, std::move(record), read_check, "", out);
  return out;
}

}  // namespace muster::core
