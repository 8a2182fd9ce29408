// Makes a data directory of a backup file.
#pragma once

#include <istream>
#include <string>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/rng.h"

namespace muster::storage {

// Records keep their seqs; the store gets a new epoch whose seqs begin above the backup's, so that
// watchers start afresh and no seq is used twice.
//
// All or nothing: builds in `<data_dir>.restore-…` beside it and renames. REQUIRES: data_dir's
// parent isn't read-only, and data_dir, when it exists, is on the same file system as its parent.
// Errors: ALREADY_EXISTS when data_dir isn't empty; those of BackupReader and of Engine::Open.
absl::Status RestoreBackup(std::istream& backup, const std::string& data_dir,
                           const base::Clock& clock, base::Rng& rng);

}  // namespace muster::storage
