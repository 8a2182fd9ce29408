// How the open files that the system grants are shared out: some numbers are kept for the store and
// the server itself, a quarter of the rest for connections of grpc checks, the others are for
// connections and probes. So no number of clients or checks can keep the store from opening its
// files.
//
//   auto share = ShareDescriptors(RaiseDescriptorLimit());
//   if (!share.ok()) return share.status();
//
// Thread safety: pure, but for RaiseDescriptorLimit, which changes the process: once, at the start.
// Errors: FAILED_PRECONDITION when the limit is below kFewestDescriptors; it says what is needed.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "storage/rocksdb/open_files.h"

namespace muster::app {

// For logs, the store's log and lock, gRPC's pollers, files read again while serving, backups, and
// what the store opens for a moment beyond its tables. A server without clients has about 30 open.
inline constexpr int kOwnDescriptors = 88;
// With a limit of at least twice as many, this much is kept back. With less: half of the limit.
inline constexpr int kReservedDescriptors = storage::kRocksDbOpenFiles + kOwnDescriptors;
inline constexpr int64_t kFewestDescriptors = 256;

struct DescriptorShare {
  int64_t limit = 0;    // what the system grants
  int reserved = 0;     // numbers below this are not for connections
  int store_files = 0;  // table files that the store may keep open
  // Connections of grpc checks. gRPC takes any number for them, and those from end() on are left
  // for whoever finds none below any more.
  int64_t probe_channels = 0;
  int64_t end() const { return limit - probe_channels; }
  int64_t connections() const { return end() - reserved; }
};

absl::StatusOr<DescriptorShare> ShareDescriptors(int64_t limit);

// Raises the soft limit to the hard one; logs it at info. Returns what is in force, at most what
// fits a descriptor.
int64_t RaiseDescriptorLimit();

}  // namespace muster::app
