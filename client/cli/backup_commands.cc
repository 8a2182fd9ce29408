// backup and restore: a copy of the store, taken while the server runs, and made a store again.
#include <google/protobuf/struct.pb.h>
#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/cli/context.h"
#include "client/cli/file_writer.h"
#include "client/cli/interrupt.h"
#include "client/cli/render.h"
#include "muster/v1/admin.grpc.pb.h"
#include "storage/rocksdb/restore.h"

namespace muster::cli {
namespace {

using Sink = std::function<absl::Status(const std::string& chunk)>;

struct Copied {
  v1::BackupResponse head;
  uint64_t bytes = 0;
};

// The whole stream, or an error.
absl::Status Copy(Context& context, const Sink& sink, Copied* copied) {
  absl::Status written;
  const absl::Status read =
      context.connection->CallStream([&](const auto& channel, grpc::ClientContext* call) {
        const auto stub = v1::Admin::NewStub(channel);
        const auto stream = stub->Backup(call, v1::BackupRequest());
        v1::BackupResponse part;
        while (stream->Read(&part)) {
          if (copied->bytes == 0) *copied->head.mutable_revision() = part.revision();
          copied->bytes += part.chunk().size();
          written = sink(part.chunk());
          if (written.ok()) continue;
          call->TryCancel();
          break;
        }
        return stream->Finish();
      });
  if (!written.ok()) return written;
  if (!read.ok()) return read;
  if (copied->bytes == 0) return absl::DataLossError("the server sent an empty backup");
  return absl::OkStatus();
}

// On whichever server answers first; not on another once bytes came.
absl::Status CopyFromAny(Context& context, const Sink& sink, Copied* copied) {
  absl::Status status;
  for (size_t tries = 0; tries < context.connection->servers(); ++tries) {
    status = Copy(context, sink, copied);
    if (!absl::IsUnavailable(status) || copied->bytes > 0) return status;
    context.connection->Rotate();
  }
  return status;
}

int BackupToStream(Context& context) {
  Copied copied;
  const auto sink = [&](const std::string& chunk) {
    context.out.write(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    return context.out.good() ? absl::OkStatus()
                              : absl::DataLossError("standard output can't be written");
  };
  const absl::Status status = CopyFromAny(context, sink, &copied);
  context.out.flush();
  return status.ok() ? kDone : context.Fail(status);
}

int BackupToFile(Context& context, const std::string& path, bool force) {
  auto file = FileWriter::Create(path, force);
  if (!file.ok()) return context.Fail(file.status());
  Copied copied;
  absl::Status status = CopyFromAny(
      context, [&](const std::string& chunk) { return (*file)->Write(chunk); }, &copied);
  if (status.ok()) status = (*file)->Commit();
  if (!status.ok()) return context.Fail(status);
  if (context.json) {
    context.PrintJson(copied.head);
  } else {
    context.out << "wrote " << base::EscapeForTerminal(path) << ": " << copied.bytes
                << " bytes, revision " << RevisionText(copied.head.revision()) << std::endl;
  }
  return kDone;
}

int RunBackup(Context& context, const std::string& path, bool force) {
  if (path.empty()) return context.Usage("backup: the file's name is empty");
  if (path == "-" && context.out_is_terminal) {
    return context.Usage("backup: standard output is a terminal");
  }
  Interrupt interrupt(context.clock);
  if (const int code = context.Connect()) return code;
  context.connection->CancelBy(&interrupt);
  const int code = path == "-" ? BackupToStream(context) : BackupToFile(context, path, force);
  context.connection->CancelBy(nullptr);
  return code;
}

int Restore(Context& context, std::istream& backup, const std::string& data_dir) {
  const absl::Status status = storage::RestoreBackup(backup, data_dir, context.clock, context.rng);
  if (!status.ok()) return context.Fail(status);
  if (context.json) {
    google::protobuf::Struct done;
    (*done.mutable_fields())["dataDir"].set_string_value(data_dir);
    context.PrintJson(done);
  } else {
    const std::string shown = base::EscapeForTerminal(data_dir);
    context.out << "restored into " << shown << "; start: musterd --data-dir " << shown
                << std::endl;
  }
  return kDone;
}

int RunRestore(Context& context, const std::string& path, const std::string& data_dir) {
  if (path == "-") return Restore(context, context.in, data_dir);
  std::ifstream file;
  const absl::Status opened = OpenFile(path, &file);
  if (!opened.ok()) return context.Fail(opened);
  return Restore(context, file, data_dir);
}

}  // namespace

void AddBackupCommands(CLI::App& app, Context& context) {
  auto* backup = app.add_subcommand("backup", "Copy the store of the running server to a file");
  backup->footer("Example: muster backup /var/backups/muster.bak");
  auto path = std::make_shared<std::string>();
  auto force = std::make_shared<bool>(false);
  backup->add_option("file", *path, "Where to; - = standard output")->required();
  backup->add_flag("--force", *force, "Overwrite the file");
  backup->callback([&context, path, force] {
    context.run = [&context, path, force] { return RunBackup(context, *path, *force); };
  });

  auto* restore = app.add_subcommand("restore", "Make a data directory of a backup");
  restore->footer(
      "Works offline; the directory has to be empty or not there.\n"
      "Example: muster restore /var/backups/muster.bak --data-dir ./data");
  auto from = std::make_shared<std::string>();
  auto data_dir = std::make_shared<std::string>();
  restore->add_option("file", *from, "The backup; - = standard input")->required();
  restore->add_option("--data-dir", *data_dir, "Of the server to be")->required();
  restore->callback([&context, from, data_dir] {
    context.run = [&context, from, data_dir] { return RunRestore(context, *from, *data_dir); };
  });
}

}  // namespace muster::cli
