// WatchSession: the subscriptions of one Watch stream and what is to be sent next. It knows no
// call: WatchPump asks it for bytes whenever the stream can take some, so that a slow client costs
// a cursor, and changes that come meanwhile are merged.
//
// Thread safety: none; everything here belongs to the pump's thread.
// Cost: a subscription takes at most 512 bytes, its service included; a change its own size.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "base/clock.h"
#include "muster/v1/discovery.pb.h"
#include "server/core/catalog.h"
#include "server/core/delta.h"
#include "server/core/held_set.h"
#include "server/core/selector.h"
#include "server/core/watch_hub.h"
#include "server/rpc/drains.h"
#include "server/rpc/held.h"
#include "server/rpc/snapshot_turns.h"
#include "server/rpc/watch_events.h"

namespace muster::rpc {

class WatchSession;
class WatchStream;
struct WatchedService;

struct WatchLimits {
  uint32_t snapshot_part = 500;
  uint64_t snapshot_part_bytes = 1024 * 1024;
  uint64_t snapshot_budget_bytes = 64 * 1024 * 1024;
  uint64_t subscriptions_per_stream = 5000;
  uint64_t subscriptions = 1'000'000;
  // Selectors of a stream, and of all, have at most this times the subscriptions allowed.
  uint64_t selector_bytes_each = 512;
};

// A snapshot on its way.
struct SnapshotProgress {
  std::shared_ptr<const core::ServiceView> view;
  storage::Revision revision;
  core::Selection selection;
  core::QueryPosition last;
  bool begun = false;  // `last` is set
  base::SteadyTime since;
};

struct Subscription {
  enum class Phase : uint8_t { kStart, kReset, kSnapshot, kLive };

  WatchSession* session = nullptr;
  WatchedService* service = nullptr;
  size_t place = 0;  // in service->subscriptions
  uint64_t sub_id = 0;
  std::shared_ptr<const core::Selector> selector;
  // What the client holds: all changes of the service up to here…
  uint64_t cursor = 0;
  // …though the last that it was told is this seq: what came since concerns others…
  uint64_t told = 0;
  // …which make this set.
  uint64_t checksum = 0;
  // The oldest state that the client may have begun with here; it never moves.
  uint64_t since = std::numeric_limits<uint64_t>::max();
  uint64_t asked = 0;  // the last seq that it was asked to confirm
  uint64_t acked = 0;  // the last seq that it has confirmed
  v1::EmptyReason empty_reason = v1::EMPTY_REASON_UNSPECIFIED;
  Phase phase = Phase::kStart;
  v1::Reset::Reason reset = v1::Reset::REASON_UNSPECIFIED;
  bool ready = false;  // in session->ready_
  bool acks = false;   // it confirms what it is asked to
  bool owes = false;   // a drain waits: it is to be asked, though nothing may have changed for it
  std::unique_ptr<v1::Resume> resume;
  std::unique_ptr<SnapshotProgress> snapshot;
  std::unique_ptr<ToldHeld> held;  // null: that none is held
};

// A service that somebody on this pump watches.
struct WatchedService {
  std::string key;  // storage::EncodeServiceKey
  std::vector<Subscription*> subscriptions;
  // The last change that was made: most subscribers go from the same revision to the same.
  struct Cached {
    std::shared_ptr<const core::Selector> selector;
    uint64_t from = 0, to = 0;
    grpc::Slice change;
  };
  std::vector<Cached> cache;
  // Of selectors other than the default, at `seq`.
  struct Selected {
    uint64_t seq = 0;
    absl::flat_hash_map<std::shared_ptr<const core::Selector>, core::Selection> selections;
  };
  std::unique_ptr<Selected> selected;  // null: none was asked for yet
};

// By its key, which is kept once.
struct WatchedServiceHash {
  using is_transparent = void;
  size_t operator()(std::string_view key) const { return absl::HashOf(key); }
  size_t operator()(const std::unique_ptr<WatchedService>& service) const {
    return (*this)(service->key);
  }
};
struct WatchedServiceEq {
  using is_transparent = void;
  static std::string_view KeyOf(std::string_view key) { return key; }
  static std::string_view KeyOf(const std::unique_ptr<WatchedService>& service) {
    return service->key;
  }
  bool operator()(const auto& a, const auto& b) const { return KeyOf(a) == KeyOf(b); }
};

// What all sessions of a pump share.
struct WatchShared {
  const core::Catalog& catalog;
  const core::HeldSet& held;
  core::WatchHub& hub;
  core::ViewListener* listener;
  const base::Clock& clock;
  WatchLimits limits;
  absl::flat_hash_set<std::unique_ptr<WatchedService>, WatchedServiceHash, WatchedServiceEq>
      services;
  // By canonical form: equal selectors are one object.
  absl::flat_hash_map<std::string, std::weak_ptr<const core::Selector>> selectors;
  uint64_t subscriptions = 0;
  uint64_t selector_bytes = 0;  // of all subscriptions, though equal ones are kept once
  SnapshotTurns turns{limits.snapshot_budget_bytes};
  Drains drains{};
};

class WatchSession {
 public:
  // `owner` is whoever sends what this session has to say, over the connection of this name. Any
  // thread may make one; all else belongs to the pump's.
  WatchSession(WatchShared& shared, WatchStream* owner, std::string connection = "")
      : shared_(shared), owner_(owner), budget_(shared.turns, std::move(connection), owner) {}
  ~WatchSession() { Clear(); }
  WatchSession(const WatchSession&) = delete;

  WatchStream* owner() const { return owner_; }

  // Takes one request in. An error ends the stream; what concerns one subscription becomes an
  // event.
  absl::Status Handle(const v1::WatchRequest& request);

  // The next message, or nothing. The one before is sent: its bytes no longer count.
  std::optional<grpc::ByteBuffer> Next();
  // Bytes of a snapshot that are on their way count until budget().Give().
  SnapshotTurns::Stream& budget() { return budget_; }

  void MarkReady(Subscription& subscription);
  // Everything up to `revision` was sent.
  bool idle() const { return control_.empty() && ready_.empty(); }
  bool empty() const { return subscriptions_.empty(); }
  // What waits besides views; a client that sends and never reads fills this.
  size_t control_size() const { return control_.size(); }
  size_t size() const { return subscriptions_.size(); }

  // A client that stopped reading in the middle of a snapshot: views that are no longer current
  // are let go, and the snapshot begins anew when it reads on.
  void DropStalledSnapshots(base::SteadyTime begun_before);

  // Ends all subscriptions.
  void Clear();

 private:
  void Subscribe(const v1::Subscribe& request);
  void TakeAck(const v1::Ack& ack);
  absl::StatusOr<std::unique_ptr<Subscription>> Validate(const v1::Subscribe& request);
  // Will this selector fit beside the others?
  absl::Status CheckRoom(const core::Selector& selector) const;
  std::shared_ptr<const core::Selector> Intern(std::shared_ptr<const core::Selector> selector);
  void Follow(Subscription& subscription, std::string service_key);
  void End(uint64_t sub_id);

  // One event of a subscription. Nothing: it is up to date.
  std::optional<grpc::ByteBuffer> EventFor(Subscription& s);
  std::optional<grpc::ByteBuffer> Start(Subscription& s);
  std::optional<grpc::ByteBuffer> ResumeFrom(Subscription& s, const v1::Resume& resume);
  grpc::ByteBuffer ResetTo(Subscription& s, v1::Reset::Reason reason);
  std::optional<grpc::ByteBuffer> SnapshotPart(Subscription& s);
  std::optional<grpc::ByteBuffer> Live(Subscription& s);
  // Puts what the subscription is to be told of held endpoints into control_. True: something.
  bool TellHeld(Subscription& s);
  // The change as this subscription gets it, which is asked to confirm it if need be.
  grpc::ByteBuffer ChangeFor(Subscription& s, uint64_t from, uint64_t to,
                             const grpc::Slice& change);
  grpc::Slice ChangeOf(Subscription& s, const core::ServiceView& view,
                       const core::Selection& selection);

  WatchShared& shared_;
  WatchStream* const owner_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Subscription>> subscriptions_;
  std::deque<Subscription*> ready_;
  std::deque<grpc::ByteBuffer> control_;
  uint64_t selector_bytes_ = 0;
  SnapshotTurns::Stream budget_;
};

}  // namespace muster::rpc
