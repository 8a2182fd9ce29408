// Corks: answers that one task gives to one connection are sent together.
//
// A group commit ends hundreds of calls on one thread. gRPC sends each answer on its own, a packet
// for each; a corked socket (TCP_CORK, tcp(7)) gathers them, and the client reads them at once.
//
//   Corks corks;
//   corks.Add(fd);             // a connection, before gRPC has it
//   ...
//   corks.BeforeReply([&] { return context.peer(); });  // on the thread that answers, each time
//
// The first answer to a connection leaves at once; from the second on they are gathered, until the
// task ends or has given kGathered answers: nobody waits for a long task. Nothing is gathered on a
// thread that runs no task of a base::SerialExecutor.
//
// Thread safety: all members. Nothing here owns a socket: one that was closed meanwhile is an error
// of the system call, which means nothing; another one in its place is corked for as long as the
// task runs.
// Cost: of an answer, a look-up among at most kGathered names; of a connection that has two, two
// system calls.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "base/mutex.h"

namespace muster::rpc {

class Corks {
 public:
  static constexpr size_t kGathered = 24;

  // A TCP socket that was accepted. What the same number meant before is forgotten.
  void Add(int fd);
  // `peer`: what ServerContext::peer() says; asked for only where answers are gathered. Those of a
  // peer that nobody added, or whose address has a zone, are sent as ever.
  void BeforeReply(absl::FunctionRef<std::string()> peer) const;

 private:
  // -1: not known.
  int Find(const std::string& peer) const;

  mutable base::Mutex mu_;
  absl::flat_hash_map<std::string, int> by_peer_ MUSTER_GUARDED_BY(mu_);
  std::vector<std::string> peers_ MUSTER_GUARDED_BY(mu_);  // by descriptor
};

}  // namespace muster::rpc
