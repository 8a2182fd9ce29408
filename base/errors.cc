#include "base/errors.h"

#include <array>
#include <cstdint>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace muster::base {
namespace {

constexpr std::string_view kReasonUrl = "muster/reason";
constexpr std::string_view kFieldUrl = "muster/field";
constexpr std::string_view kRetryUrl = "muster/retry_after_ms";

constexpr std::array<std::string_view, 31> kNames = {"INVALID_FIELD",
                                                     "NAME_INVALID",
                                                     "INSTANCE_TOO_LARGE",
                                                     "INSTANCE_NOT_FOUND",
                                                     "CHECK_NOT_FOUND",
                                                     "STALE_INCARNATION",
                                                     "SUPERSEDED",
                                                     "PRECONDITION_FAILED",
                                                     "ALREADY_EXISTS",
                                                     "EPOCH_CHANGED",
                                                     "PAGE_TOKEN_EXPIRED",
                                                     "PAGE_TOKEN_INVALID",
                                                     "QUEUE_FULL",
                                                     "LIMIT_SUBSCRIPTIONS",
                                                     "LIMIT_INSTANCES",
                                                     "LIMIT_MESSAGE_SIZE",
                                                     "LIMIT_BATCH",
                                                     "LOADING",
                                                     "DRAINING",
                                                     "STORAGE_READ_ONLY",
                                                     "STORAGE_DAMAGED",
                                                     "STORAGE_UNUSABLE",
                                                     "STORAGE_FULL",
                                                     "FORMAT_NEWER",
                                                     "OUTCOME_UNKNOWN",
                                                     "TOKEN_MISSING",
                                                     "TOKEN_UNKNOWN",
                                                     "RIGHT_MISSING",
                                                     "NOT_IN_THIS_RELEASE",
                                                     "CLOSED",
                                                     "INTERNAL"};
static_assert(kNames.size() == static_cast<size_t>(Reason::kInternal) + 1);

std::optional<std::string> PayloadText(const absl::Status& status, std::string_view url) {
  const auto payload = status.GetPayload(Av(url));
  if (!payload) return std::nullopt;
  return std::string(*payload);
}

}  // namespace

std::string_view ReasonName(Reason reason) { return kNames[static_cast<size_t>(reason)]; }

absl::Status MakeError(absl::StatusCode code, Reason reason, std::string_view message) {
  absl::Status status(code, Av(message));
  status.SetPayload(Av(kReasonUrl), absl::Cord(Av(ReasonName(reason))));
  return status;
}

absl::Status WithField(absl::Status status, std::string_view field) {
  status.SetPayload(Av(kFieldUrl), absl::Cord(Av(field)));
  return status;
}

absl::Status WithRetryAfter(absl::Status status, absl::Duration delay) {
  status.SetPayload(Av(kRetryUrl), absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(delay))));
  return status;
}

std::optional<Reason> ReasonOf(const absl::Status& status) {
  const auto text = PayloadText(status, kReasonUrl);
  for (size_t i = 0; text && i < kNames.size(); ++i) {
    if (kNames[i] == *text) return static_cast<Reason>(i);
  }
  return std::nullopt;
}

std::string FieldOf(const absl::Status& status) {
  return PayloadText(status, kFieldUrl).value_or("");
}

std::optional<absl::Duration> RetryAfterOf(const absl::Status& status) {
  const auto text = PayloadText(status, kRetryUrl);
  int64_t ms = 0;
  if (!text || !absl::SimpleAtoi(*text, &ms)) return std::nullopt;
  return absl::Milliseconds(ms);
}

}  // namespace muster::base
