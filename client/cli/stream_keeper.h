// Keeps one server stream going: on the next server, after a pause, when it is lost.
//
//   StreamKeeper keeper(context, interrupt, {});
//   absl::Status status = keeper.Run([&](channel, call) { … keeper.Alive(); … keeper.Done(); … });
//
// Thread safety: none. Says on stderr once for each loss what was lost. Errors of Run: those that
// trying again would not mend; the first loss when no server ever answered (unless patient);
// DEADLINE_EXCEEDED when `within` is over.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/connection.h"
#include "client/cli/context.h"
#include "client/cli/interrupt.h"

namespace muster::cli {

class StreamKeeper {
 public:
  struct Options {
    absl::Duration within = absl::InfiniteDuration();
    // Waits for a server that isn't there yet as well.
    bool patient = false;
  };

  StreamKeeper(Context& context, Interrupt& interrupt, Options options);

  // OK after Done or a signal. Calls `once` for each stream that is opened.
  absl::Status Run(const Connection::Rpc& once);
  // From `once`: something came.
  void Alive();
  // From `once`: the stream is not wanted any more.
  void Done() { done_ = true; }
  // Why no stream is open; OK when one was when Run returned.
  const absl::Status& lost() const { return lost_; }

 private:
  absl::Duration Left() const;
  bool Over(const absl::Status& status) const;
  // False: another try would end the same.
  bool MayTryAgain(const absl::Status& status);
  void SayLost(const absl::Status& status);

  Context& context_;
  Interrupt& interrupt_;
  const Options options_;
  const base::SteadyTime began_;
  absl::Status lost_;
  bool done_ = false;
  bool ever_alive_ = false;
  bool said_ = false;
  // In a row.
  int failures_ = 0;
};

}  // namespace muster::cli
