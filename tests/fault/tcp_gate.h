// A proxy on loopback that spoils connections: slices their bytes, delays them, stalls, cuts.
//
//   TcpGate gate(server.port());
//   Remote remote(gate.address());
//   gate.SetSpoil({.slice_bytes = 3, .delay = absl::Milliseconds(20)});
//   gate.Stall(true);   // nothing passes; connections stay
//   gate.Cut();         // all connections are reset; new ones are taken
//
// Thread safety: all members. One thread of its own, joined at the end. Bounded: 256 connections,
// 256 KiB on their way in each direction; what is more waits in the kernel.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"

struct pollfd;

namespace muster::test {

class TcpGate {
 public:
  struct Spoil {
    size_t slice_bytes = 0;  // at most so many at once, a millisecond apart; 0 = as they come
    absl::Duration delay = absl::ZeroDuration();  // of each byte, in each direction
    uint64_t cut_after_bytes = 0;  // each connection, both directions together; 0 = never
  };

  // To 127.0.0.1:target_port.
  explicit TcpGate(int target_port);
  ~TcpGate();
  TcpGate(const TcpGate&) = delete;

  std::string address() const;
  void SetSpoil(const Spoil& spoil);
  void Stall(bool stalled);
  void Cut();
  // Refuses new connections, as a host that is gone; those that are open stay.
  void Refuse(bool refused);

  uint64_t connections() const;  // taken since the beginning
  uint64_t bytes() const;        // that passed

 private:
  struct Chunk {
    absl::Time ready;
    std::string bytes;
  };
  struct Way {
    int from = -1;
    int to = -1;
    std::deque<Chunk> chunks;
    size_t buffered = 0;
    bool ended = false;  // the sender is done
    bool shut = false;   // and the receiver was told
    absl::Time next_slice;
  };
  struct Connection {
    Way ways[2];
    uint64_t passed = 0;
    bool broken = false;
  };

  void Run();
  void Accept() MUSTER_REQUIRES(mu_);
  void Receive(Way& way, Connection& connection, absl::Time now) MUSTER_REQUIRES(mu_);
  void Send(Way& way, Connection& connection, absl::Time now) MUSTER_REQUIRES(mu_);
  void Pass(absl::Time now) MUSTER_REQUIRES(mu_);
  std::vector<pollfd> Awaited() const MUSTER_REQUIRES(mu_);

  const int target_port_;
  int listener_ = -1;
  int port_ = 0;
  mutable base::Mutex mu_;
  Spoil spoil_ MUSTER_GUARDED_BY(mu_);
  bool stalled_ MUSTER_GUARDED_BY(mu_) = false;
  bool refused_ MUSTER_GUARDED_BY(mu_) = false;
  bool stopped_ MUSTER_GUARDED_BY(mu_) = false;
  uint64_t taken_ MUSTER_GUARDED_BY(mu_) = 0;
  uint64_t bytes_ MUSTER_GUARDED_BY(mu_) = 0;
  std::list<Connection> connections_ MUSTER_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace muster::test
