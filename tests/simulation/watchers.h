// Fake watchers: streams of rpc::WatchSession without any call, with clients that stall, vanish and
// resume; and one that follows the names of services.
//
// Each event is checked as a client can check it (order, checksum, nothing without need); whoever
// has read all holds what the model says.
//
// Thread safety: none. Ownership: the model outlives it; the server is attached and detached.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/rpc/watch_session.h"
#include "tests/simulation/model.h"
#include "tests/simulation/server.h"

namespace muster::simulation {

// How often what happened: a history that never restarts proves nothing about restarts.
using Tally = std::map<std::string, uint64_t>;

class Watchers : public core::ViewListener {
 public:
  Watchers(const Model& model, const base::Clock& clock, base::Rng& rng, Tally& tally,
           Sabotage sabotage)
      : model_(model), clock_(clock), rng_(rng), tally_(tally), sabotage_(sabotage) {}
  ~Watchers() override { Detach(); }

  // Streams end with their server; clients keep what they hold.
  void Attach(Server& server, const rpc::WatchLimits& limits);
  void Detach();

  // Each does one random thing and says what, for people.
  std::string Subscribe(const std::vector<std::string>& service_keys);
  std::string Act();

  // Lets everybody read who does. Returns what is wrong, "" = nothing.
  std::string Deliver();

  size_t size() const { return clients_.size(); }

  void OnServiceChanged(std::string_view service_key) override;
  void OnNamesChanged() override { names_dirty_ = true; }

 private:
  struct Stream;
  // One subscription, from the client's side. It outlives its streams.
  struct Client {
    uint64_t id = 0;
    std::string service_key;
    int selector = 0;
    Stream* stream = nullptr;  // null: away

    std::map<EndpointName, v1::Endpoint> held;
    bool whole = false;  // held is a set that the server said
    uint64_t epoch = 0, seq = 0, checksum = 0;
    v1::EmptyReason empty_reason = v1::EMPTY_REASON_UNSPECIFIED;
    // Which endpoints are kept though they are overdue, by zone.
    std::map<std::string, std::set<EndpointName>> marks;
    bool marks_go_on = false;

    std::map<EndpointName, v1::Endpoint> coming;  // parts of a snapshot
    enum class Expects { kResume, kSnapshot, kChange } expects = Expects::kSnapshot;
    bool let_go = false;      // a stalled snapshot was dropped
    uint64_t read_up_to = 0;  // of the service, when the client last had read all
  };
  struct Stream {
    std::unique_ptr<rpc::WatchSession> session;
    std::set<uint64_t> clients;
    bool stalled = false;
  };

  void Connect(Client& client, Stream& stream);
  void Disconnect(Stream* stream);
  Stream& AnyStream();
  Client* AnyClient();
  std::string Read(Stream& stream);
  std::string Event(const v1::WatchResponse& event);
  std::string OnSnapshot(Client& client, const v1::Snapshot& event);
  std::string OnChange(Client& client, const v1::Change& event);
  std::string OnHeld(Client& client, const v1::Held& event);
  std::string OnReset(Client& client, v1::Reset::Reason reason);
  std::string CheckHeld(const Client& client) const;
  std::string CheckMarks(const Client& client) const;
  std::string CheckUpToDate(Client& client);
  std::string FollowNames();

  const Model& model_;
  const base::Clock& clock_;
  base::Rng& rng_;
  Tally& tally_;
  const Sabotage sabotage_;

  Server* server_ = nullptr;
  std::unique_ptr<rpc::WatchShared> shared_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::map<uint64_t, Client> clients_;
  uint64_t next_id_ = 1;
  std::set<std::string> dirty_;

  std::optional<uint64_t> names_at_;          // in the log of this server's catalog
  std::map<std::string, std::string> names_;  // service key -> display
  bool names_dirty_ = true;
  int wakes_to_lose_ = 3;
};

}  // namespace muster::simulation
