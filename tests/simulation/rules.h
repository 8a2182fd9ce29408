// The rules of one instance, in the simplest words: what each call does to it. A second opinion on
// server/core/instance_change and lease_table; it shares no code with them.
//
// Pure. Units: microseconds of lease time (see Model).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "muster/v1/registry.pb.h"
#include "tests/simulation/content.h"

namespace muster::simulation {

struct CheckResult {
  v1::Health status = v1::PASSING;
  std::string output;
};

// When a lease ends. After a restart the server draws the end: it is in a range.
struct Due {
  bool started = true;  // false: its TTL begins when loading ends
  int64_t from = 0, to = 0;
  int64_t filed_at = 0;  // the server may look at it no earlier than this
};

struct Instance {
  Content content;
  int64_t ttl_us = 0;  // 0 = permanent
  std::string life;
  uint64_t incarnation = 0;  // in a verdict 0 = the seq of the commit; so are the next three
  uint64_t mod_seq = 0;
  uint64_t create_seq = 0;
  uint64_t visible_seq = 0;
  std::vector<std::pair<std::string, uint64_t>> superseded;  // life, incarnation; newest first
  std::map<std::string, CheckResult> results;
  v1::Health health = v1::PASSING;
  Due due;
  bool expiring = false;
};

struct Answer {
  std::string reason;  // "" = OK
  uint64_t incarnation = 0;
  bool changed = false;
  uint64_t seq = 0;
};

// One request of a fake service, or an expiry that the server itself began.
struct Call {
  enum class Kind { kRegister, kDeregister, kReport, kExpire };
  Kind kind = Kind::kRegister;
  storage::InstanceKey key;
  std::string display;  // kRegister
  Content content;
  int64_t ttl_us = 0;
  std::string life;
  v1::Precondition precondition;
  uint64_t incarnation = 0;  // kDeregister, kReport
  std::string check_id;      // kReport
  v1::Health status = v1::PASSING;
  std::string output;
  uint64_t mod_seq = 0;          // kExpire: of the instance that is to go
  std::optional<Answer> answer;  // none: nobody heard it
};

enum class Effect {
  kNone,    // nothing is written
  kOutput,  // only the text of a check
  kPut,
  kRemove,
};

// What a call has to lead to.
struct Verdict {
  bool possible = true;  // false: not before something else has happened to the instance
  std::string reason;
  Effect effect = Effect::kNone;
  bool changed = false;
  std::optional<Instance> next;  // the instance after it; none = it is gone
};

// When the server may refuse a new key for its limit of instances.
enum class Room { kFree, kMaybeFull, kFull };

Verdict Judge(const std::optional<Instance>& present, const Call& call, Room room);

// A write to one instance, as it was committed.
struct KeyCommit {
  uint64_t seq = 0;
  Effect effect = Effect::kNone;
};

// Finds an order of the calls in which their answers and the commits are right, and makes `state`
// what it leads to. False when there is none. `heard`: every call must have had its place;
// otherwise calls may have come to nothing. `now_us`: when leases are renewed; `filed_at`: see Due.
bool Explain(std::optional<Instance>& state, std::vector<const Call*> calls,
             const std::vector<KeyCommit>& commits, bool heard, Room room, int64_t now_us,
             int64_t filed_at);

}  // namespace muster::simulation
