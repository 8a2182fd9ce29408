#include "client/endpoint_set.h"

#include <gtest/gtest.h>

#include "client/wire.h"

namespace muster::client {
namespace {

v1::Endpoint MakeEndpoint(const std::string& id, uint64_t revision) {
  v1::Endpoint endpoint;
  endpoint.set_node("n1");
  endpoint.set_id(id);
  endpoint.set_revision(revision);
  return endpoint;
}

v1::WatchResponse Whole(const std::vector<v1::Endpoint>& endpoints, uint64_t seq) {
  v1::WatchResponse event;
  auto* snapshot = event.mutable_snapshot();
  uint64_t checksum = 0;
  for (const auto& endpoint : endpoints) {
    *snapshot->add_endpoints() = endpoint;
    checksum += EndpointHash(FromWire(endpoint));
  }
  snapshot->mutable_revision()->set_epoch(7);
  snapshot->mutable_revision()->set_seq(seq);
  snapshot->set_checksum(checksum);
  snapshot->set_complete(true);
  return event;
}

TEST(EndpointSetTest, HashIsTheDocumentedOne) {
  EXPECT_EQ(EndpointHash(FromWire(MakeEndpoint("api-1", 5))), 0x413cdec81da2f50fu);
}

TEST(EndpointSetTest, ChangeAppliesAndMovesTheResumePoint) {
  EndpointSet set;
  EXPECT_FALSE(set.resume().has_value());
  set.Apply(Whole({MakeEndpoint("a", 1), MakeEndpoint("b", 2)}, 2));
  v1::WatchResponse event;
  *event.mutable_change()->add_upserted() = MakeEndpoint("a", 3);
  event.mutable_change()->add_removed()->set_node("n1");
  event.mutable_change()->mutable_removed(0)->set_id("b");
  event.mutable_change()->set_to_seq(4);
  event.mutable_change()->set_checksum(EndpointHash(FromWire(MakeEndpoint("a", 3))));
  const auto applied = set.Apply(event);
  EXPECT_EQ(applied.problem, "");
  ASSERT_EQ(applied.lines.size(), 2u);
  EXPECT_EQ(applied.lines[0].sign, '-');
  EXPECT_EQ(applied.lines[1].sign, '~');
  ASSERT_TRUE(set.resume().has_value());
  EXPECT_EQ(set.resume()->revision().epoch(), 7u);
  EXPECT_EQ(set.resume()->revision().seq(), 4u);
}

TEST(EndpointSetTest, SnapshotAfterResetReportsOnlyDifferences) {
  EndpointSet set;
  set.Apply(Whole({MakeEndpoint("a", 1), MakeEndpoint("b", 2)}, 2));
  v1::WatchResponse reset;
  reset.mutable_reset();
  set.Apply(reset);
  EXPECT_FALSE(set.resume().has_value());
  const auto applied = set.Apply(Whole({MakeEndpoint("a", 1), MakeEndpoint("c", 9)}, 9));
  ASSERT_EQ(applied.lines.size(), 2u);
  EXPECT_EQ(applied.lines[0].endpoint->id, "b");
  EXPECT_EQ(applied.lines[1].endpoint->id, "c");
  EXPECT_TRUE(set.resume().has_value());
}

TEST(EndpointSetTest, WrongChecksumIsSaidAndNotResumed) {
  EndpointSet set;
  auto event = Whole({MakeEndpoint("a", 1)}, 1);
  event.mutable_snapshot()->set_checksum(1);
  EXPECT_NE(set.Apply(event).problem, "");
  EXPECT_FALSE(set.resume().has_value());
}

}  // namespace
}  // namespace muster::client
