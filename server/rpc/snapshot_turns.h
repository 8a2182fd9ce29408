// SnapshotTurns: how many bytes of snapshots may be on their way, and who is next. All streams
// share one budget; a connection has an eighth of it, so that one whose streams are not read holds
// up nobody else. Streams that have to wait are served in turn: connections one after another, the
// streams of one in the order in which they came.
//
//   SnapshotTurns::Stream budget(turns, context->peer(), this);
//   if (!budget.Take(page.bytes)) return;  // its turn comes with Next()
//   ... send; when it is out: budget.Give() ...
//   while (SnapshotTurns::Stream* next = turns.Next()) Send(*next->owner());
//
// Thread safety: none; belongs to the pump's thread, but a Stream that has taken nothing touches
// nothing shared: any thread may make it. Ownership: turns outlive their streams.
// Units: bytes. Cost: constant, but Leave looks at what waits on the same connection.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"

namespace muster::rpc {

class WatchStream;

class SnapshotTurns {
 private:
  struct Connection;

 public:
  static constexpr uint64_t kShares = 8;

  explicit SnapshotTurns(uint64_t budget);
  ~SnapshotTurns();
  SnapshotTurns(const SnapshotTurns&) = delete;

  // What one stream has on its way: one part at a time.
  class Stream {
   public:
    Stream(SnapshotTurns& turns, std::string connection, WatchStream* owner);
    ~Stream();
    Stream(const Stream&) = delete;

    WatchStream* owner() const { return owner_; }
    // Puts `bytes` on their way. False: not now; the stream waits until Next() returns it. A single
    // part fits in any case when nothing else is on its way.
    bool Take(uint64_t bytes);
    // They are out, or will never be.
    void Give();
    // The client does not take them: others may use the budget. What a connection has stalled
    // beyond its share goes on counting against that share, so its bytes stay bounded.
    void Stall();
    // Waits no longer.
    void Leave();
    bool waits() const { return waits_; }
    bool holds() const { return taken_ > 0; }

   private:
    friend class SnapshotTurns;
    SnapshotTurns& turns_;
    const std::string name_;
    Connection* connection_ = nullptr;  // from the first Take
    WatchStream* const owner_;
    uint64_t taken_ = 0;
    uint64_t wants_ = 0;
    bool off_budget_ = false;  // stalled: taken_ no longer counts for all…
    bool off_share_ = false;   // …nor for its connection
    bool waits_ = false;
  };

  // Whose turn it is; nobody's: null. It waits no longer, and may Take before others until the next
  // call.
  Stream* Next();

  // Of streams that are not stalled.
  uint64_t bytes() const { return bytes_; }

 private:
  Connection& Open(const std::string& name);
  void Close(Connection& connection);
  // Is there room now: for all, and in the connection's share?
  bool Fits(uint64_t bytes) const { return bytes_ == 0 || bytes_ + bytes <= budget_; }
  bool FitsShare(const Connection& connection, uint64_t bytes) const;
  void Wait(Stream& stream, uint64_t bytes, bool first);
  // Has a stream that waits and room for it: joins the queue.
  void Queue(Connection& connection, bool first = false);

  const uint64_t budget_;
  const uint64_t share_;
  uint64_t bytes_ = 0;
  Stream* turn_ = nullptr;
  absl::flat_hash_map<std::string, std::unique_ptr<Connection>> connections_;
  std::deque<Connection*> queue_;
};

}  // namespace muster::rpc
