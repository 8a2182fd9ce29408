#include "tests/simulation/rules.h"

#include <algorithm>

namespace muster::simulation {
namespace {

constexpr size_t kMaxSuperseded = 4;

v1::Health WorstOf(const Instance& instance) {
  v1::Health worst = v1::PASSING;
  for (const CheckSpec& spec : ChecksOf(instance.content)) {
    const auto result = instance.results.find(spec.id);
    worst =
        std::max(worst, result == instance.results.end() ? spec.initial : result->second.status);
  }
  return worst;
}

Verdict Refused(const char* reason) {
  Verdict out;
  out.reason = reason;
  return out;
}

void StartLease(Instance& instance) {
  instance.due = {};
  instance.expiring = false;
}

// Results of checks whose definition is the same stay.
void CarryResults(const Instance& old, Instance& next) {
  const std::vector<CheckSpec> before = ChecksOf(old.content);
  next.results.clear();
  for (const CheckSpec& spec : ChecksOf(next.content)) {
    const auto result = old.results.find(spec.id);
    if (result == old.results.end()) continue;
    if (std::find(before.begin(), before.end(), spec) != before.end()) next.results.insert(*result);
  }
}

Verdict JudgeNew(const Call& call, Room room) {
  if (call.precondition.kind_case() == v1::Precondition::kMustReplaceIncarnation) {
    return Refused("PRECONDITION_FAILED");
  }
  const bool told_full = call.answer && call.answer->reason == "LIMIT_INSTANCES";
  if (room == Room::kFull || (room == Room::kMaybeFull && told_full)) {
    return Refused("LIMIT_INSTANCES");
  }
  Verdict out;
  out.effect = Effect::kPut;
  out.changed = true;
  Instance next;
  next.content = call.content;
  next.ttl_us = call.ttl_us;
  next.life = call.life;
  next.health = WorstOf(next);
  StartLease(next);
  out.next = next;
  return out;
}

Verdict JudgeRegister(const std::optional<Instance>& present, const Call& call, Room room) {
  if (!present) return JudgeNew(call, room);
  const bool own = !call.life.empty() && call.life == present->life;
  if (!call.life.empty() && !own) {
    for (const auto& [life, incarnation] : present->superseded) {
      if (life == call.life) return Refused("SUPERSEDED");
    }
  }
  if (call.precondition.must_be_new() && !own) return Refused("ALREADY_EXISTS");
  if (call.precondition.kind_case() == v1::Precondition::kMustReplaceIncarnation && !own &&
      call.precondition.must_replace_incarnation() != present->incarnation) {
    return Refused("PRECONDITION_FAILED");
  }
  Verdict out;
  Instance next = *present;
  const bool same_content = call.content == present->content && call.ttl_us == present->ttl_us;
  if (same_content && (call.life.empty() || own)) {
    out.possible = !present->expiring;
    if (next.due.started) StartLease(next);
    out.next = next;
    return out;
  }
  next.content = call.content;
  next.ttl_us = call.ttl_us;
  CarryResults(*present, next);
  next.health = WorstOf(next);
  if (!call.life.empty() && !own) {
    next.superseded.insert(next.superseded.begin(), {present->life, present->incarnation});
    if (next.superseded.size() > kMaxSuperseded) next.superseded.pop_back();
    next.life = call.life;
    next.incarnation = 0;
  }
  const bool visible =
      call.content.variant != present->content.variant || next.health != present->health;
  if (visible) next.visible_seq = 0;
  next.mod_seq = 0;
  StartLease(next);
  out.effect = Effect::kPut;
  out.changed = true;
  out.next = next;
  return out;
}

// "" when the call may speak for the present life.
std::string WrongIncarnation(const std::optional<Instance>& present, uint64_t given) {
  if (!present) return "INSTANCE_NOT_FOUND";
  if (given == 0 || given == present->incarnation) return "";
  return given < present->incarnation ? "STALE_INCARNATION" : "INSTANCE_NOT_FOUND";
}

Verdict JudgeReport(const std::optional<Instance>& present, const Call& call) {
  if (const std::string wrong = WrongIncarnation(present, call.incarnation); !wrong.empty()) {
    return Refused(wrong.c_str());
  }
  const std::vector<CheckSpec> checks = ChecksOf(present->content);
  if (checks.empty()) return Refused("CHECK_NOT_FOUND");
  if (call.check_id.empty() && checks.size() > 1) return Refused("INVALID_FIELD");
  const std::string id = call.check_id.empty() ? checks[0].id : call.check_id;
  if (std::none_of(checks.begin(), checks.end(), [&](const auto& c) { return c.id == id; })) {
    return Refused("CHECK_NOT_FOUND");
  }
  Verdict out;
  Instance next = *present;
  const auto before = present->results.find(id);
  const bool same_status = before != present->results.end() && before->second.status == call.status;
  if (!same_status || before->second.output != call.output) {
    next.results[id] = {call.status, call.output};
    out.effect = same_status ? Effect::kOutput : Effect::kPut;
  }
  if (out.effect == Effect::kPut) {
    out.changed = true;
    next.health = WorstOf(next);
    if (next.health != present->health) next.visible_seq = 0;
    next.mod_seq = 0;
    next.expiring = false;  // an overdue lease falls due again
  }
  out.next = next;
  return out;
}

Verdict JudgeRemoval(const std::optional<Instance>& present, const Call& call) {
  Verdict out;
  if (call.kind == Call::Kind::kDeregister) {
    out.reason = WrongIncarnation(present, call.incarnation);
    if (!out.reason.empty()) return out;
  } else if (!present || present->mod_seq != call.mod_seq) {
    out.next = present;
    return out;
  }
  out.changed = true;
  out.effect = Effect::kRemove;
  return out;
}

bool Answers(const Call& call, const Verdict& verdict, uint64_t seq) {
  if (!call.answer) return true;
  const Answer& answer = *call.answer;
  if (answer.reason != verdict.reason) return false;
  if (!answer.reason.empty()) return true;
  if (call.kind == Call::Kind::kDeregister) return answer.seq == seq;
  if (answer.changed != verdict.changed) return false;
  if (call.kind != Call::Kind::kRegister) return true;
  const uint64_t kept = verdict.next ? verdict.next->incarnation : 0;
  return answer.incarnation == (kept == 0 ? seq : kept);
}

// The state after the verdict, with the seq of its commit and the lease's new end.
std::optional<Instance> After(const Verdict& verdict, const std::optional<Instance>& before,
                              uint64_t seq, int64_t now_us, int64_t filed_at) {
  if (!verdict.reason.empty()) return before;
  std::optional<Instance> out = verdict.next;
  if (!out) return out;
  for (uint64_t* word : {&out->incarnation, &out->mod_seq, &out->create_seq, &out->visible_seq}) {
    if (*word == 0) *word = seq;
  }
  if (out->due.started && out->due.to == 0) {
    // A renewal leaves the lease where the server looks at it next.
    const bool renewal = verdict.effect == Effect::kNone && before;
    out->due = {true, now_us + out->ttl_us, now_us + out->ttl_us,
                renewal ? std::max(before->due.filed_at, before->due.to) : filed_at};
  } else if (verdict.effect == Effect::kPut) {
    out->due.filed_at = filed_at;
  }
  return out;
}

struct Search {
  const std::vector<KeyCommit>& commits;
  bool heard;
  Room room;
  int64_t now_us, filed_at;

  bool Run(std::optional<Instance>& state, std::vector<const Call*> calls, size_t next) const {
    if (next == commits.size() && (calls.empty() || !heard)) return true;
    // What writes nothing and fits here would fit nowhere better: no other order need be tried.
    for (size_t i = 0; i < calls.size(); ++i) {
      const Verdict verdict = Judge(state, *calls[i], room);
      if (!verdict.possible || verdict.effect != Effect::kNone) continue;
      if (!Answers(*calls[i], verdict, 0)) continue;
      state = After(verdict, state, 0, now_us, filed_at);
      calls.erase(calls.begin() + static_cast<std::ptrdiff_t>(i));
      return Run(state, std::move(calls), next);
    }
    if (next == commits.size()) return false;
    for (size_t i = 0; i < calls.size(); ++i) {
      const Verdict verdict = Judge(state, *calls[i], room);
      const uint64_t seq = commits[next].seq;
      if (!verdict.possible || verdict.effect != commits[next].effect) continue;
      if (!Answers(*calls[i], verdict, seq)) continue;
      std::optional<Instance> after = After(verdict, state, seq, now_us, filed_at);
      std::vector<const Call*> rest = calls;
      rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(i));
      if (!Run(after, std::move(rest), next + 1)) continue;
      state = std::move(after);
      return true;
    }
    return false;
  }
};

}  // namespace

Verdict Judge(const std::optional<Instance>& present, const Call& call, Room room) {
  switch (call.kind) {
    case Call::Kind::kRegister:
      return JudgeRegister(present, call, room);
    case Call::Kind::kReport:
      return JudgeReport(present, call);
    default:
      return JudgeRemoval(present, call);
  }
}

bool Explain(std::optional<Instance>& state, std::vector<const Call*> calls,
             const std::vector<KeyCommit>& commits, bool heard, Room room, int64_t now_us,
             int64_t filed_at) {
  return Search{commits, heard, room, now_us, filed_at}.Run(state, std::move(calls), 0);
}

}  // namespace muster::simulation
