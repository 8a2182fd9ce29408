#include "server/rpc/backup_stream.h"

#include <algorithm>

#include "server/rpc/slices.h"
#include "storage/backup_file.h"

namespace muster::rpc {
namespace {

constexpr absl::Duration kCutOffAfter = absl::Seconds(1);

}  // namespace

std::shared_ptr<BackupStream> BackupStream::Make(StreamCall& call) {
  std::shared_ptr<BackupStream> stream(new BackupStream);
  stream->self_ = stream;
  call.Bind(stream.get());
  return stream;
}

absl::Status BackupStream::Copy(const storage::Engine& engine, const base::Clock& clock,
                                std::string_view version) {
  const auto snapshot = engine.GetSnapshot();
  if (!snapshot.ok()) return snapshot.status();
  const storage::Revision revision = (*snapshot)->revision();
  response_.mutable_revision()->set_epoch(revision.epoch);
  response_.mutable_revision()->set_seq(revision.seq);
  return storage::WriteBackup(**snapshot, clock, version,
                              [this](std::string_view chunk) { return Send(chunk); });
}

absl::Status BackupStream::Send(std::string_view chunk) {
  while (!chunk.empty()) {
    const std::string_view part = chunk.substr(0, kMaxBackupChunk);
    chunk.remove_prefix(part.size());
    response_.set_chunk(part.data(), part.size());
    {
      base::MutexLock lock(mu_);
      if (end_) return *end_;
      writing_ = true;
    }
    StartWrite(EncodeBytes(response_));
    if (absl::Status status = AwaitWrite(); !status.ok()) return status;
    response_.clear_revision();
  }
  return absl::OkStatus();
}

// Returns only when no write is under way: the message is the reactor's until then.
absl::Status BackupStream::AwaitWrite() {
  base::MutexLock lock(mu_);
  while (writing_ && !end_) changed_.Wait(mu_);
  if (writing_) changed_.WaitFor(mu_, kCutOffAfter);
  if (writing_) Cancel();
  while (writing_) changed_.Wait(mu_);
  return end_ ? *end_ : absl::OkStatus();
}

void BackupStream::End(const absl::Status& status) {
  base::MutexLock lock(mu_);
  if (!end_) end_ = status;
  changed_.NotifyAll();
}

void BackupStream::OnWriteDone(bool ok) {
  base::MutexLock lock(mu_);
  writing_ = false;
  if (!ok && !end_) end_ = absl::CancelledError("the client is gone");
  changed_.NotifyAll();
}

void BackupStream::OnCancel() { End(absl::CancelledError("the client is gone")); }

}  // namespace muster::rpc
