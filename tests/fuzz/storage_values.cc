#include "server/core/instance_change.h"
#include "storage/schema.h"
#include "storage/store_record.h"
#include "tests/fuzz/targets.h"

namespace muster::fuzz {
namespace {

void Plain(std::string_view data) {
  const auto value = storage::DecodeValue(data);
  if (!value.ok()) return;
  Require(storage::ModSeqOf(data) == value->mod_seq, "both readers see the same modify seq");
  std::string again = storage::EncodeValue(value->payload);
  storage::StampModSeq(again, value->mod_seq);
  Require(again == data, "a value that was decoded is encoded alike");
}

void Instance(std::string_view data) {
  const auto value = storage::DecodeInstanceValue(data);
  Require(!value.ok() || storage::DecodeValue(data).ok(), "an instance's value is a value");
  // What the core makes of it.
  const auto stored = core::DecodeStored(data);
  if (stored.ok()) {
    const core::LeaseSpec spec =
        core::MakeLeaseSpec("key", stored->mod_seq, stored->words.incarnation, stored->record);
    Require(spec.mod_seq == stored->mod_seq, "a lease has the seq of its instance");
  }
  if (!value.ok()) return;
  std::string again = storage::EncodeInstanceValue(value->words, value->payload);
  storage::StampModSeq(again, value->mod_seq);
  const auto twice = storage::DecodeInstanceValue(again);
  Require(twice.ok() && twice->mod_seq == value->mod_seq && twice->payload == value->payload &&
              twice->words.create_seq == value->words.create_seq &&
              twice->words.definition_seq == value->words.definition_seq &&
              twice->words.visible_seq == value->words.visible_seq &&
              twice->words.incarnation == value->words.incarnation,
          "an instance's value is decoded to what it was");
}

void StoreRecord(std::string_view data) {
  const auto record = storage::DecodeStoreRecord(data);
  if (!record.ok()) return;
  const auto again = storage::DecodeStoreRecord(storage::EncodeStoreRecord(*record));
  Require(again.ok() && again->epoch == record->epoch && again->base_seq == record->base_seq,
          "a store record is decoded to what it was");
}

}  // namespace

void StorageValues(std::string_view data) {
  Plain(data);
  Instance(data);
  StoreRecord(data);
}

}  // namespace muster::fuzz
