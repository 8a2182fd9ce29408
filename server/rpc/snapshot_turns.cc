#include "server/rpc/snapshot_turns.h"

#include <utility>

namespace muster::rpc {

struct SnapshotTurns::Connection {
  std::string name;
  uint64_t streams = 0;
  uint64_t bytes = 0;    // on their way
  uint64_t stalled = 0;  // of those that the client does not take, at most one share
  std::deque<Stream*> waiting;
  bool queued = false;
};

SnapshotTurns::SnapshotTurns(uint64_t budget) : budget_(budget), share_(budget / kShares) {}

SnapshotTurns::~SnapshotTurns() = default;

SnapshotTurns::Connection& SnapshotTurns::Open(const std::string& name) {
  std::unique_ptr<Connection>& slot = connections_[name];
  if (slot == nullptr) {
    slot = std::make_unique<Connection>();
    slot->name = name;
  }
  ++slot->streams;
  return *slot;
}

void SnapshotTurns::Close(Connection& connection) {
  if (--connection.streams > 0) return;
  if (connection.queued) std::erase(queue_, &connection);
  connections_.erase(connections_.find(connection.name));
}

bool SnapshotTurns::FitsShare(const Connection& connection, uint64_t bytes) const {
  return connection.bytes == 0 || connection.bytes + bytes <= share_;
}

void SnapshotTurns::Wait(Stream& stream, uint64_t bytes, bool first) {
  Connection& connection = *stream.connection_;
  stream.wants_ = bytes;
  stream.waits_ = true;
  if (first) {
    connection.waiting.push_front(&stream);
  } else {
    connection.waiting.push_back(&stream);
  }
  Queue(connection, first);
}

void SnapshotTurns::Queue(Connection& connection, bool first) {
  if (connection.queued || connection.waiting.empty() ||
      !FitsShare(connection, connection.waiting.front()->wants_)) {
    return;
  }
  connection.queued = true;
  if (first) {
    queue_.push_front(&connection);
  } else {
    queue_.push_back(&connection);
  }
}

SnapshotTurns::Stream* SnapshotTurns::Next() {
  turn_ = nullptr;
  while (!queue_.empty()) {
    Connection& connection = *queue_.front();
    const bool able =
        !connection.waiting.empty() && FitsShare(connection, connection.waiting.front()->wants_);
    if (able && !Fits(connection.waiting.front()->wants_)) return nullptr;
    queue_.pop_front();
    connection.queued = false;
    if (!able) continue;  // until it gives something back
    turn_ = connection.waiting.front();
    turn_->waits_ = false;
    connection.waiting.pop_front();
    Queue(connection);
    return turn_;
  }
  return nullptr;
}

SnapshotTurns::Stream::Stream(SnapshotTurns& turns, std::string connection, WatchStream* owner)
    : turns_(turns), name_(std::move(connection)), owner_(owner) {}

SnapshotTurns::Stream::~Stream() {
  if (connection_ == nullptr) return;
  Leave();
  Give();
  if (turns_.turn_ == this) turns_.turn_ = nullptr;
  turns_.Close(*connection_);
}

bool SnapshotTurns::Stream::Take(uint64_t bytes) {
  if (waits_) return false;
  if (connection_ == nullptr) connection_ = &turns_.Open(name_);
  const bool turn = turns_.turn_ == this;
  if (turn) turns_.turn_ = nullptr;
  const bool behind = !turn && (!turns_.queue_.empty() || !connection_->waiting.empty());
  if (behind || !turns_.Fits(bytes) || !turns_.FitsShare(*connection_, bytes)) {
    turns_.Wait(*this, bytes, turn);
    return false;
  }
  taken_ = bytes;
  connection_->bytes += bytes;
  turns_.bytes_ += bytes;
  return true;
}

void SnapshotTurns::Stream::Give() {
  if (connection_ == nullptr) return;
  const uint64_t taken = std::exchange(taken_, 0);
  if (!std::exchange(off_budget_, false)) turns_.bytes_ -= taken;
  (std::exchange(off_share_, false) ? connection_->stalled : connection_->bytes) -= taken;
  turns_.Queue(*connection_);
}

void SnapshotTurns::Stream::Stall() {
  if (taken_ == 0 || off_share_) return;
  if (!std::exchange(off_budget_, true)) turns_.bytes_ -= taken_;
  if (connection_->stalled > 0 && connection_->stalled + taken_ > turns_.share_) return;
  off_share_ = true;
  connection_->bytes -= taken_;
  connection_->stalled += taken_;
  turns_.Queue(*connection_);
}

void SnapshotTurns::Stream::Leave() {
  if (!std::exchange(waits_, false)) return;
  std::erase(connection_->waiting, this);
  turns_.Queue(*connection_);
}

}  // namespace muster::rpc
