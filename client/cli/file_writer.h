// A file that is there in full or not at all.
//
//   auto file = FileWriter::Create("b.muster", overwrite);
//   file->Write(chunk) … file->Commit();
//
// Writes to `<path>.partial`, a new file of mode 0600; Commit syncs and renames. Without Commit the
// partial file goes. `overwrite` is for regular files only: a link, a device or a directory, under
// either name, is an error.
// Thread safety: none. Errors: ALREADY_EXISTS; ABORTED when another writer took the partial file
// over; else UNKNOWN with the system's words.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace muster::cli {

class FileWriter {
 public:
  static absl::StatusOr<std::unique_ptr<FileWriter>> Create(const std::string& path,
                                                            bool overwrite);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  absl::Status Write(std::string_view bytes);
  absl::Status Commit();

 private:
  FileWriter(std::string path, bool overwrite, int fd);
  // The partial file is still the one that was made.
  bool OwnsPartial() const;

  const std::string path_;
  const bool overwrite_;
  // -1 once committed.
  int fd_;
};

}  // namespace muster::cli
