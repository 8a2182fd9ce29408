#include "server/core/record_view.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/rng.h"

namespace muster::core {
namespace {

class RecordViewTest : public ::testing::Test {
 protected:
  std::string Text(size_t max) {
    return std::string(rng_.Uniform(max + 1), 'a' + rng_.Uniform(26));
  }

  storage::v1::InstanceRecord RandomRecord() {
    storage::v1::InstanceRecord record;
    record.set_endpoint(Text(300));
    for (uint64_t i = rng_.Uniform(4); i > 0; --i) {
      v1::Check& check = *record.add_checks();
      check.set_id(absl::StrCat("check-", i));
      for (uint64_t h = rng_.Uniform(5); h > 0; --h) {
        (*check.mutable_http()->mutable_headers())[Text(5)] = Text(20);
      }
    }
    if (rng_.Uniform(2) == 0) record.set_life(std::string(16, static_cast<char>(rng_.Next())));
    record.set_ttl_ms(rng_.Uniform(3) * 30'000);
    record.set_health(static_cast<v1::Health>(rng_.Uniform(4)));
    record.set_state(static_cast<v1::State>(rng_.Uniform(3)));
    record.set_origin("grpc");
    record.set_never_reported(rng_.Uniform(2) == 0);
    record.set_draining(rng_.Uniform(2) == 0);
    for (uint64_t i = rng_.Uniform(4); i > 0; --i) {
      auto& old = *record.add_superseded();
      old.set_incarnation(rng_.Next());
      old.set_life(std::string(16, static_cast<char>(i)));
    }
    return record;
  }

  base::SeededRng rng_{11};
};

TEST_F(RecordViewTest, SaysWhatTheMessageSays) {
  for (int i = 0; i < 2000; ++i) {
    const storage::v1::InstanceRecord record = RandomRecord();
    const std::string payload = SerializeRecord(record);
    const auto view = ReadRecord(payload);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->endpoint, record.endpoint());
    EXPECT_EQ(view->life, record.life());
    EXPECT_EQ(view->ttl_ms, record.ttl_ms());
    EXPECT_EQ(view->health, record.health());
    EXPECT_EQ(view->state, record.state());
    EXPECT_EQ(view->digest, DigestOf(record.endpoint(), record.checks()));
    const LeaseSpec spec = MakeLeaseSpec("key", 3, 2, *view);
    EXPECT_EQ(spec.fenced, !record.life().empty());
    EXPECT_EQ(spec.ttl, absl::Milliseconds(record.ttl_ms()));
    ASSERT_EQ(spec.superseded.size(), static_cast<size_t>(record.superseded_size()));
    for (int s = 0; s < record.superseded_size(); ++s) {
      EXPECT_EQ(spec.superseded[s].incarnation, record.superseded(s).incarnation());
      EXPECT_EQ(spec.superseded[s].life[0], record.superseded(s).life()[0]);
    }
  }
}

TEST_F(RecordViewTest, EqualRecordsHaveEqualBytes) {
  for (int i = 0; i < 200; ++i) {
    const storage::v1::InstanceRecord record = RandomRecord();
    const std::string payload = SerializeRecord(record);
    storage::v1::InstanceRecord again;
    ASSERT_TRUE(again.ParseFromString(payload));
    EXPECT_EQ(SerializeRecord(again), payload);
  }
}

TEST_F(RecordViewTest, ARecordAppendedInPartsHasTheSameBytes) {
  for (int i = 0; i < 200; ++i) {
    const storage::v1::InstanceRecord record = RandomRecord();
    NormalInstance instance;
    instance.endpoint = record.endpoint();
    for (const v1::Check& check : record.checks()) {
      AppendDeterministic(check, instance.checks.emplace_back().encoded);
    }
    RecordRest rest;
    rest.life = record.life();
    rest.ttl_ms = record.ttl_ms();
    rest.health = record.health();
    rest.state = record.state();
    rest.origin = record.origin();
    rest.superseded = record.superseded();
    rest.never_reported = record.never_reported();
    rest.draining = record.draining();
    std::string payload = "before";
    AppendRecord(instance, rest, payload);
    EXPECT_EQ(payload, "before" + SerializeRecord(record));
  }
}

TEST_F(RecordViewTest, CutAndForeignBytesAreRefusedOrReadInPart) {
  storage::v1::InstanceRecord record;
  record.set_endpoint(std::string(100, 'e'));
  const std::string payload = SerializeRecord(record);
  for (size_t size = 1; size < payload.size(); ++size) {
    EXPECT_FALSE(ReadRecord(std::string_view(payload).substr(0, size))) << size;
  }
  EXPECT_TRUE(ReadRecord(""));
  EXPECT_FALSE(ReadRecord("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"));
  // A field of a later version is stepped over.
  EXPECT_EQ(ReadRecord(payload + std::string("\xa2\x06\x03xyz", 6))->endpoint, record.endpoint());
}

}  // namespace
}  // namespace muster::core
