#include "base/errors.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace muster::base {
namespace {

absl::Status Busy() {
  return MakeError(absl::StatusCode::kResourceExhausted, Reason::kQueueFull, "the queue is full");
}

// Programs branch on these texts: an entry may be added, none may change.
TEST(ErrorsTest, NamesArePinned) {
  const std::pair<Reason, std::string_view> pinned[] = {
      {Reason::kInvalidField, "INVALID_FIELD"},
      {Reason::kNameInvalid, "NAME_INVALID"},
      {Reason::kInstanceTooLarge, "INSTANCE_TOO_LARGE"},
      {Reason::kInstanceNotFound, "INSTANCE_NOT_FOUND"},
      {Reason::kCheckNotFound, "CHECK_NOT_FOUND"},
      {Reason::kStaleIncarnation, "STALE_INCARNATION"},
      {Reason::kSuperseded, "SUPERSEDED"},
      {Reason::kPreconditionFailed, "PRECONDITION_FAILED"},
      {Reason::kAlreadyExists, "ALREADY_EXISTS"},
      {Reason::kEpochChanged, "EPOCH_CHANGED"},
      {Reason::kPageTokenExpired, "PAGE_TOKEN_EXPIRED"},
      {Reason::kPageTokenInvalid, "PAGE_TOKEN_INVALID"},
      {Reason::kQueueFull, "QUEUE_FULL"},
      {Reason::kLimitSubscriptions, "LIMIT_SUBSCRIPTIONS"},
      {Reason::kLimitInstances, "LIMIT_INSTANCES"},
      {Reason::kLimitMessageSize, "LIMIT_MESSAGE_SIZE"},
      {Reason::kLimitBatch, "LIMIT_BATCH"},
      {Reason::kLoading, "LOADING"},
      {Reason::kDraining, "DRAINING"},
      {Reason::kStorageReadOnly, "STORAGE_READ_ONLY"},
      {Reason::kStorageFull, "STORAGE_FULL"},
      {Reason::kStorageDamaged, "STORAGE_DAMAGED"},
      {Reason::kStorageUnusable, "STORAGE_UNUSABLE"},
      {Reason::kFormatNewer, "FORMAT_NEWER"},
      {Reason::kOutcomeUnknown, "OUTCOME_UNKNOWN"},
      {Reason::kTokenMissing, "TOKEN_MISSING"},
      {Reason::kTokenUnknown, "TOKEN_UNKNOWN"},
      {Reason::kRightMissing, "RIGHT_MISSING"},
      {Reason::kNotInThisRelease, "NOT_IN_THIS_RELEASE"},
      {Reason::kClosed, "CLOSED"},
      {Reason::kInternal, "INTERNAL"},
  };
  std::set<std::string_view> names;
  for (const auto& [reason, name] : pinned) {
    EXPECT_EQ(ReasonName(reason), name);
    EXPECT_EQ(ReasonOf(MakeError(absl::StatusCode::kInternal, reason, "m")), reason) << name;
    names.insert(name);
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(Reason::kInternal) + 1);
}

TEST(ErrorsTest, KeepsCodeAndMessage) {
  EXPECT_EQ(Busy().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Busy().message(), "the queue is full");
}

TEST(ErrorsTest, CarriesFieldAndDelayBesideTheReason) {
  const absl::Status status = WithRetryAfter(WithField(Busy(), "queue"), absl::Milliseconds(1500));
  EXPECT_EQ(ReasonOf(status), Reason::kQueueFull);
  EXPECT_EQ(FieldOf(status), "queue");
  EXPECT_EQ(RetryAfterOf(status), absl::Milliseconds(1500));
}

TEST(ErrorsTest, WhatIsNotThereIsNotInvented) {
  EXPECT_EQ(FieldOf(Busy()), "");
  EXPECT_EQ(RetryAfterOf(Busy()), std::nullopt);
  EXPECT_EQ(ReasonOf(absl::InternalError("from elsewhere")), std::nullopt);
  EXPECT_EQ(ReasonOf(absl::OkStatus()), std::nullopt);
}

TEST(ErrorsTest, TheLastFieldWins) {
  EXPECT_EQ(FieldOf(WithField(WithField(Busy(), "port"), "instance.port")), "instance.port");
}

}  // namespace
}  // namespace muster::base
