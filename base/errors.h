// Domain errors: an absl::Status that carries a stable reason, and where they apply the field that
// is wrong and when to try again.
//
//   return WithField(MakeError(absl::StatusCode::kInvalidArgument, Reason::kInvalidField,
//                              "port is 70000; allowed: 0 to 65535"), "instance.port");
//
// Thread safety: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace muster::base {

// Names are stable: programs branch on them.
enum class Reason {
  kInvalidField,
  kNameInvalid,
  kInstanceTooLarge,
  kInstanceNotFound,
  kCheckNotFound,
  kStaleIncarnation,
  kSuperseded,
  kPreconditionFailed,
  kAlreadyExists,
  kEpochChanged,
  kPageTokenExpired,
  kPageTokenInvalid,
  kQueueFull,
  kLimitSubscriptions,
  kLimitInstances,
  kLimitMessageSize,
  kLimitBatch,
  kLoading,
  kDraining,
  kStorageReadOnly,
  kStorageDamaged,
  kStorageUnusable,
  kStorageFull,
  kFormatNewer,
  kOutcomeUnknown,
  kTokenMissing,
  kTokenUnknown,
  kRightMissing,
  kNotInThisRelease,
  kClosed,
  kInternal,
};

// E.g. "STALE_INCARNATION".
std::string_view ReasonName(Reason reason);

// `message`: one line, lower case, names the thing and the limit.
absl::Status MakeError(absl::StatusCode code, Reason reason, std::string_view message);
absl::Status WithField(absl::Status status, std::string_view field);
absl::Status WithRetryAfter(absl::Status status, absl::Duration delay);

std::optional<Reason> ReasonOf(const absl::Status& status);
// "" when no field is named.
std::string FieldOf(const absl::Status& status);
std::optional<absl::Duration> RetryAfterOf(const absl::Status& status);

}  // namespace muster::base
