#include "storage/store_record.h"

#include <algorithm>

#include "base/errors.h"
#include "muster/storage/v1/storage.pb.h"

namespace muster::storage {
namespace {

// Epochs fit what JSON and Lua can hold exactly.
constexpr uint64_t kEpochEnd = uint64_t{1} << 53;

}  // namespace

StoreRecordView NewStoreRecord(const base::Clock& clock, base::Rng& rng, uint64_t last_seq) {
  const int64_t now_us = std::max<int64_t>(clock.System().us, 1);
  return {.epoch = 1 + rng.Uniform(kEpochEnd - 1),
          .base_seq = std::max(static_cast<uint64_t>(now_us), last_seq + 1)};
}

std::string EncodeStoreRecord(const StoreRecordView& record) {
  v1::StoreRecord message;
  message.set_epoch(record.epoch);
  message.set_base_seq(record.base_seq);
  std::string value = EncodeValue(message.SerializeAsString());
  StampModSeq(value, record.base_seq);
  return value;
}

absl::StatusOr<StoreRecordView> DecodeStoreRecord(std::string_view value) {
  auto view = DecodeValue(value);
  if (!view.ok()) return view.status();
  v1::StoreRecord message;
  if (!message.ParseFromArray(view->payload.data(), static_cast<int>(view->payload.size())) ||
      message.epoch() == 0) {
    return base::MakeError(absl::StatusCode::kDataLoss, base::Reason::kStorageDamaged,
                           "the store record in meta is damaged");
  }
  return StoreRecordView{message.epoch(), message.base_seq()};
}

}  // namespace muster::storage
