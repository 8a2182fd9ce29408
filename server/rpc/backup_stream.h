// BackupStream: one Backup call. The copy is made on a thread of its owner, a message at a time:
// the next is made once the one before it is on its way.
//
// Thread safety: the threads of Calls and the copying one; End from any. Ownership: shared by the
// call (until OnDone) and whoever copies. Cost: one frame of the copy in memory; a snapshot of the
// store for as long as the client takes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "muster/v1/admin.pb.h"
#include "server/rpc/calls.h"
#include "storage/engine.h"

namespace muster::rpc {

inline constexpr size_t kMaxBackupChunk = 1 << 20;

class BackupStream final : public StreamReactor {
 public:
  // Bound to the call.
  static std::shared_ptr<BackupStream> Make(StreamCall& call);

  // Copies the store. Blocks; the caller then calls Finish with what it returns, once.
  // `version`: of the program.
  absl::Status Copy(const storage::Engine& engine, const base::Clock& clock,
                    std::string_view version);

  // The copy stops with `status` at its next message; a client that takes nothing for a second
  // longer is cut off.
  void End(const absl::Status& status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { self_.reset(); }

 private:
  BackupStream() = default;

  absl::Status Send(std::string_view chunk);
  absl::Status AwaitWrite();

  std::shared_ptr<BackupStream> self_;  // until OnDone
  v1::BackupResponse response_;         // of the copying thread while no write is under way

  base::Mutex mu_;
  base::CondVar changed_;
  bool writing_ MUSTER_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> end_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::rpc
