// One random history of a registry: fake services, watchers, operators and faults, all from one
// seed, in one thread on a fake clock. After every step the server is compared with the model.
//
//   History history({.seed = 7});
//   const std::string wrong = history.Run();  // "" = nothing
//
// The same options give the same history, to the last bit. Thread safety: none.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/fake_clock.h"
#include "base/rng.h"
#include "tests/simulation/model.h"
#include "tests/simulation/server.h"
#include "tests/simulation/watchers.h"

namespace muster::simulation {

struct HistoryOptions {
  uint64_t seed = 1;
  int steps = 150;
  Sabotage sabotage = Sabotage::kNone;
  std::function<void(const std::string&)> print;  // each step, for people; may be empty
};

class History {
 public:
  explicit History(HistoryOptions options);
  ~History();

  // What is wrong, with the step at which it was noticed; "" = nothing.
  std::string Run();
  const Tally& tally() const { return tally_; }

 private:
  // What the fake processes of one key know.
  struct Owner {
    int lives = 0;                       // drawn so far
    std::vector<uint64_t> incarnations;  // that were ever answered
    std::optional<Call> last;
  };
  struct Pending {
    Call call;
    bool answered = false;
  };
  struct Backup {
    Model model;
    std::array<storage::MemoryStore::Table, storage::kFamilyCount> tables;
    uint64_t seq = 0;
  };

  void Say(const std::string& what);
  std::string Step();
  std::string StepOf(uint64_t dice);

  // Requests.
  storage::InstanceKey AnyKey();
  storage::InstanceKey AnyKnownKey();
  Call AnyRegistration();
  void SometimesCondition(Call& call);
  uint64_t AnyIncarnation(const storage::InstanceKey& key);
  std::string Register();
  std::string Batch();
  std::string Deregister();
  std::string Report();
  std::string Heartbeat();
  v1::HeartbeatResponse::Outcome Beat(Instance* instance, uint64_t incarnation);
  v1::HeartbeatResponse::Outcome BeatHandle(uint64_t handle);
  Pending* Submit(Call call);
  // A call that may have been answered without the store.
  std::string AfterCall(const std::vector<Pending*>& calls);
  std::string CheckCertain(const Call& call) const;
  void Remember(const Call& call);

  // Time and upkeep.
  void Pass(int64_t us);
  void Tick();
  std::string Advance();
  std::string Expire();
  std::string CheckOverdue() const;
  bool IsHeld(const std::string& service_key, const EndpointName& name) const;
  std::string CheckHeld();
  std::string Maintain();
  Room RoomNow() const;

  // Faults.
  void Break();
  std::string Stop(bool clean);
  std::string Start();
  std::string Restart(bool clean);
  std::string Restore();
  std::string Wipe();
  void Load();
  void SaveBackup();
  void SpoilStore();

  // Lets the store do what waits, and judges it.
  std::string RunStore();
  std::string Settle();
  bool SettleExpiry(const Call& call, bool frozen, bool froze_now);

  const HistoryOptions options_;
  base::SeededRng rng_;
  base::FakeClock clock_;
  ServerOptions server_options_;
  rpc::WatchLimits watch_limits_;
  bool big_ = false;    // services of hundreds of endpoints
  bool tight_ = false;  // a write queue that fills

  Model model_;
  std::vector<LoggedCommit> log_;
  std::shared_ptr<FaultyStore> store_;
  std::unique_ptr<Server> server_;
  Tally tally_;
  std::unique_ptr<Watchers> watchers_;
  bool loaded_ = false;
  bool frozen_ = false;
  bool stopping_ = false;
  int maintained_ = 0;  // since the store last ran
  uint64_t highest_seq_ = 0;

  std::map<std::string, Owner> owners_;
  std::list<Pending> pending_;
  std::multimap<std::string, Upkeep> upkeep_;  // proposed, not settled
  // Of the write that failed: what the next server may find.
  std::vector<Call> uncertain_asked_;  // all that were under way
  std::vector<Call> uncertain_calls_;  // whose outcome nobody was told
  std::multimap<std::string, Upkeep> uncertain_upkeep_;
  std::set<std::string> uncertain_;
  std::optional<Backup> backup_;
};

}  // namespace muster::simulation
