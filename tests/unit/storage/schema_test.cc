// Pins the bytes that are on users' disks. A failure here means that old stores can't be read.
#include "storage/schema.h"

#include <gtest/gtest.h>

#include <string>

#include "base/errors.h"
#include "muster/storage/v1/storage.pb.h"
#include "storage/store_record.h"

namespace muster::storage {
namespace {

using std::string_literals::operator""s;

TEST(SchemaTest, FamiliesKeepNumbersAndNames) {
  EXPECT_EQ(static_cast<int>(Family::kMeta), 0);
  EXPECT_EQ(static_cast<int>(Family::kServices), 1);
  EXPECT_EQ(static_cast<int>(Family::kNodes), 2);
  EXPECT_EQ(static_cast<int>(Family::kInstances), 3);
  EXPECT_EQ(static_cast<int>(Family::kTombstones), 4);
  EXPECT_EQ(static_cast<int>(Family::kChecks), 5);
  EXPECT_EQ(static_cast<int>(Family::kTransitions), 6);
  EXPECT_EQ(static_cast<int>(Family::kAccess), 7);
  EXPECT_EQ(kFamilyNames[3], "instances");
  EXPECT_EQ(kFamilyNames[7], "access");
  EXPECT_EQ(kStoreKey, "store");
  EXPECT_EQ(kForgottenKey, "forgotten");
  EXPECT_EQ(kSeqKey, "seq");
}

TEST(SchemaTest, KeysArePinned) {
  const std::string instance = "default\0orders\0n1\0orders-1"s;
  EXPECT_EQ(EncodeInstanceKey("default", "orders", "n1", "orders-1"), instance);
  EXPECT_EQ(EncodeInstanceKey(InstanceKey{"default", "orders", "n1", "orders-1"}), instance);
  EXPECT_EQ(EncodeInstanceKey("default", "orders", "", "a"), "default\0orders\0\0a"s);
  EXPECT_EQ(InstancePrefix("default", "orders"), "default\0orders\0"s);
  EXPECT_EQ(EncodeServiceKey("default", "orders"), "default\0orders"s);
  EXPECT_EQ(EncodeNodeKey("default", "n1"), "default\0n1"s);
  EXPECT_EQ(EncodeNodeInstanceKey("default", "n1", "orders", "orders-1"),
            "default\0n1\0orders\0orders-1"s);
  EXPECT_EQ(EncodeNodeInstanceKey("default", "", "orders", "a"), "default\0\0orders\0a"s);
  EXPECT_EQ(EncodeCheckKey(instance, "http"), instance + "\0http"s);
  EXPECT_EQ(CheckPrefix(instance), instance + "\0"s);
  EXPECT_EQ(EncodeTransitionKey("c", 0x0102030405060708), "c\0\x01\x02\x03\x04\x05\x06\x07\x08"s);
}

TEST(SchemaTest, KeysDecodeToTheirParts) {
  const std::string key = EncodeInstanceKey("ns", "svc", "", "i\xc3\xa9");
  const auto instance = DecodeInstanceKey(key);
  ASSERT_TRUE(instance);
  EXPECT_EQ(instance->ns, "ns");
  EXPECT_EQ(instance->service, "svc");
  EXPECT_EQ(instance->node, "");
  EXPECT_EQ(instance->id, "i\xc3\xa9");
  const std::string node_key = EncodeNodeKey("ns", "n1");
  const auto node = DecodeNodeKey(node_key);
  ASSERT_TRUE(node);
  EXPECT_EQ(node->ns, "ns");
  EXPECT_EQ(node->node, "n1");
  const std::string of_node = EncodeNodeInstanceKey("ns", "n1", "svc", "i");
  const auto there = DecodeNodeInstanceKey(of_node);
  ASSERT_TRUE(there);
  EXPECT_EQ(there->ns, "ns");
  EXPECT_EQ(there->node, "n1");
  EXPECT_EQ(there->service, "svc");
  EXPECT_EQ(there->id, "i");
  const std::string check_key = EncodeCheckKey(key, "tcp");
  const auto check = DecodeCheckKey(check_key);
  ASSERT_TRUE(check);
  EXPECT_EQ(check->instance_key, key);
  EXPECT_EQ(check->check_id, "tcp");
  const std::string service_key = EncodeServiceKey("ns", "svc");
  const auto service = DecodeServiceKey(service_key);
  ASSERT_TRUE(service);
  EXPECT_EQ(service->service, "svc");
}

TEST(SchemaTest, RefusesKeysWithTheWrongNumberOfParts) {
  EXPECT_FALSE(DecodeInstanceKey("a\0b\0c"s));
  EXPECT_FALSE(DecodeInstanceKey("a\0b\0c\0d\0e"s));
  EXPECT_FALSE(DecodeServiceKey("a"));
  EXPECT_FALSE(DecodeServiceKey("a\0b\0c"s));
  EXPECT_FALSE(DecodeCheckKey("a\0b\0c\0d"s));
  EXPECT_FALSE(DecodeNodeKey("a"));
  EXPECT_FALSE(DecodeNodeKey("a\0b\0c"s));
  EXPECT_FALSE(DecodeNodeInstanceKey("a\0b"s));
  EXPECT_FALSE(DecodeNodeInstanceKey("a\0b\0c\0d\0e"s));
}

TEST(SchemaTest, ByteOrderIsTupleOrder) {
  const InstanceKey keys[] = {{"a", "b", "", "z"},   {"a", "b", "n", "a"}, {"a", "b-c", "", "a"},
                              {"a", "b.c", "", "a"}, {"a", "b1", "", "a"}, {"a-b", "a", "", "a"}};
  for (const InstanceKey& left : keys) {
    for (const InstanceKey& right : keys) {
      EXPECT_EQ(left < right, EncodeInstanceKey(left) < EncodeInstanceKey(right));
    }
  }
}

TEST(SchemaTest, ValuesArePinned) {
  std::string value = EncodeValue("pay");
  EXPECT_EQ(value, "\x01\0\0\0\0\0\0\0\0pay"s);
  StampModSeq(value, 0x0102030405060708);
  EXPECT_EQ(value, "\x01\x08\x07\x06\x05\x04\x03\x02\x01pay"s);
  EXPECT_EQ(ModSeqOf(value), 0x0102030405060708u);
  const std::string instance = EncodeInstanceValue({1, 0, 0x0300, 4}, "p");
  EXPECT_EQ(instance,
            "\x01\0\0\0\0\0\0\0\0"
            "\x01\0\0\0\0\0\0\0"
            "\0\0\0\0\0\0\0\0"
            "\0\x03\0\0\0\0\0\0"
            "\x04\0\0\0\0\0\0\0p"s);
}

TEST(SchemaTest, AWordOfZeroIsTheModifySeq) {
  std::string value = EncodeInstanceValue({.create_seq = 5, .incarnation = 6}, "p");
  StampModSeq(value, 9);
  const auto view = DecodeInstanceValue(value);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->mod_seq, 9u);
  EXPECT_EQ(view->words.create_seq, 5u);
  EXPECT_EQ(view->words.definition_seq, 9u);
  EXPECT_EQ(view->words.visible_seq, 9u);
  EXPECT_EQ(view->words.incarnation, 6u);
  EXPECT_EQ(view->payload, "p");
}

TEST(SchemaTest, RefusesNewerAndCutValues) {
  std::string value = EncodeValue("pay");
  value[0] = 2;
  const absl::Status newer = DecodeValue(value).status();
  EXPECT_EQ(newer.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(base::ReasonOf(newer), base::Reason::kFormatNewer);
  EXPECT_NE(newer.ToString().find("format 2 is newer than 1"), std::string::npos) << newer;
  value[0] = 0;
  EXPECT_EQ(DecodeValue(value).status().code(), absl::StatusCode::kDataLoss);
  for (size_t size = 0; size < kHeaderBytes; ++size) {
    EXPECT_EQ(DecodeValue(EncodeValue("").substr(0, size)).status().code(),
              absl::StatusCode::kDataLoss);
  }
  EXPECT_TRUE(DecodeValue(EncodeValue("")).ok());
  const std::string instance = EncodeInstanceValue({}, "");
  EXPECT_TRUE(DecodeInstanceValue(instance).ok());
  EXPECT_EQ(DecodeInstanceValue(instance.substr(0, instance.size() - 1)).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(ModSeqOf("\x01short"), 0u);
}

TEST(SchemaTest, RecordsArePinned) {
  EXPECT_EQ(EncodeStoreRecord({.epoch = 5, .base_seq = 300}),
            "\x01\x2c\x01\0\0\0\0\0\0\x08\x05\x10\xac\x02"s);
  v1::TombstoneRecord tombstone;
  tombstone.set_deleted_at_ms(1);
  EXPECT_EQ(tombstone.SerializeAsString(), "\x08\x01"s);
  v1::ServiceRecord service;
  service.set_name("Orders");
  service.set_floor(7);
  service.set_created_at_ms(3);
  EXPECT_EQ(service.SerializeAsString(), "\x0a\x06Orders\x10\x07\x20\x03"s);
  v1::InstanceRecord instance;
  instance.set_endpoint("e");
  instance.set_life("l");
  instance.set_ttl_ms(30);
  instance.set_origin("grpc");
  instance.set_lease_owner("o");
  instance.set_draining(true);
  v1::SupersededLife* superseded = instance.add_superseded();
  superseded->set_life("k");
  superseded->set_incarnation(2);
  EXPECT_EQ(instance.SerializeAsString(),
            "\x0a\x01"
            "e\x1a\x01l\x20\x1e\x3a\x04grpc\x42\x01o\x4a\x05\x0a\x01k\x10\x02\x58\x01"s);
  v1::NodeRecord node;
  node.set_maintenance(true);
  node.set_maintenance_reason("r");
  node.set_maintenance_since_ms(5);
  EXPECT_EQ(node.SerializeAsString(), "\x20\x01\x2a\x01r\x30\x05"s);
  v1::MaintenanceRecord maintenance;
  maintenance.set_reason("r");
  maintenance.set_since_ms(5);
  EXPECT_EQ(maintenance.SerializeAsString(), "\x0a\x01r\x10\x05"s);
}

TEST(StoreRecordTest, DecodesWhatItEncodes) {
  const auto record = DecodeStoreRecord(EncodeStoreRecord({.epoch = 5, .base_seq = 300}));
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->epoch, 5u);
  EXPECT_EQ(record->base_seq, 300u);
  EXPECT_EQ(DecodeStoreRecord(EncodeValue("")).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeStoreRecord(EncodeValue("\xff\xff")).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace muster::storage
