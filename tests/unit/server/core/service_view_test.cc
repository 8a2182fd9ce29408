#include "server/core/service_view.h"

#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/rng.h"
#include "tests/unit/server/core/view_model.h"

namespace muster::core {
namespace {

std::shared_ptr<const ServiceView> WithEndpoints(int count) {
  ViewBuilder builder(nullptr);
  for (int i = 0; i < count; ++i) {
    v1::Endpoint endpoint;
    endpoint.set_id(absl::StrFormat("i%05d", i));
    endpoint.set_address("10.0.0.1");
    const std::string definition = EncodeDefinition(endpoint);
    builder.Upsert(
        {"", endpoint.id(), definition, v1::PASSING, v1::ACTIVE, static_cast<uint64_t>(100 + i)});
  }
  return builder.Build();
}

// All endpoints as they are encoded, in the view's order.
std::vector<std::string> EndpointsOf(const ServiceView& view) {
  std::vector<std::string> out;
  for (const LeafRef& ref : view.leaves()) {
    for (const EndpointEntry& e : ref.leaf->entries) out.emplace_back(ref.leaf->field(e));
  }
  return out;
}

TEST(EndpointHash, IsTheDocumentedOne) {
  // The worked example of docs/grpc-api.md: node "n1", id "api-1", revision 5.
  EXPECT_EQ(EndpointHash("n1", "api-1", 5), 0x413cdec81da2f50fULL);
}

// Plain FNV-1a-64 ends with the high bytes of the revision, which hardly ever differ: the changes
// of two endpoints cancelled each other in a sum, about once in 200 pairs.
TEST(EndpointHash, TwoChangesDoNotCancelEachOther) {
  for (uint64_t seq = 1'795'651'341'577'000; seq < 1'795'651'341'597'000; ++seq) {
    const std::string a = absl::StrCat("i", seq % 40);
    const std::string b = absl::StrCat("i", (seq + 1) % 40);
    const uint64_t before = EndpointHash("", a, seq) + EndpointHash("", b, seq + 1);
    const uint64_t after = EndpointHash("", a, seq + 40) + EndpointHash("", b, seq + 41);
    ASSERT_NE(before, after) << seq;
  }
}

TEST(ServiceView, KeepsKeyOrderAcrossLeaves) {
  const auto view = WithEndpoints(1000);
  EXPECT_EQ(view->size(), 1000u);
  EXPECT_GT(view->leaves().size(), 7u);
  std::string last;
  for (const LeafRef& ref : view->leaves()) {
    EXPECT_LE(ref.leaf->entries.size(), kMaxLeafEndpoints);
    for (const EndpointEntry& e : ref.leaf->entries) {
      EXPECT_LT(last, ref.leaf->id(e));
      last = std::string(ref.leaf->id(e));
    }
  }
}

class ManyChanges : public testing::TestWithParam<ViewBuilder::Texts> {};
INSTANTIATE_TEST_SUITE_P(Texts, ManyChanges,
                         testing::Values(ViewBuilder::Texts::kCopied, ViewBuilder::Texts::kStay),
                         [](const auto& info) {
                           return info.param == ViewBuilder::Texts::kStay ? "Stay" : "Copied";
                         });

// In no order, endpoints changed, removed and put back more than once, in one build and in one
// build for each.
TEST_P(ManyChanges, EndAsTheSameOneByOne) {
  base::SeededRng rng{3};
  for (int round = 0; round < 40; ++round) {
    const auto base = round == 0 ? nullptr : WithEndpoints(300);
    auto one_by_one = base;
    std::deque<std::string> texts;  // stay where they are
    ViewBuilder together(base, GetParam());
    for (uint64_t seq = 1000; seq < 1080; ++seq) {
      v1::Endpoint endpoint;
      endpoint.set_id(absl::StrFormat("i%05d", rng.Uniform(30) * 13));
      endpoint.set_port(static_cast<uint32_t>(seq));
      const std::string& id = texts.emplace_back(endpoint.id());
      const std::string& definition = texts.emplace_back(EncodeDefinition(endpoint));
      const bool remove = rng.Uniform(3) == 0;
      ViewBuilder alone(one_by_one);
      for (ViewBuilder* builder : {&together, &alone}) {
        if (remove) {
          builder->Remove("", id, seq);
        } else {
          builder->Upsert({"", id, definition, v1::WARNING, v1::ACTIVE, seq});
        }
      }
      one_by_one = alone.Build();
      if (GetParam() == ViewBuilder::Texts::kCopied) {
        for (std::string& text : texts) text.assign(text.size(), '#');
        texts.clear();
      }
    }
    const auto view = together.Build();
    EXPECT_EQ(EndpointsOf(*view), EndpointsOf(*one_by_one));
    EXPECT_EQ(view->seq(), one_by_one->seq());
    EXPECT_EQ(view->size(), one_by_one->size());
    EXPECT_EQ(view->default_checksum(), one_by_one->default_checksum());
    EXPECT_EQ(view->count(v1::WARNING), one_by_one->count(v1::WARNING));
    EXPECT_EQ(view->tombstone_count(), one_by_one->tombstone_count());
  }
}

TEST(ServiceView, AChangeSharesTheOtherLeaves) {
  const auto before = WithEndpoints(1000);
  ViewBuilder builder(before);
  v1::Endpoint endpoint;
  endpoint.set_id("i00500");
  endpoint.set_address("10.0.0.2");
  builder.Upsert({"", "i00500", EncodeDefinition(endpoint), v1::PASSING, v1::ACTIVE, 5000});
  const auto after = builder.Build();
  size_t copied = 0;
  for (size_t i = 0; i < before->leaves().size(); ++i) {
    copied += before->leaves()[i].leaf != after->leaves()[i].leaf;
  }
  EXPECT_EQ(copied, 1u);
  EXPECT_EQ(after->seq(), 5000u);
  const auto found = after->Find("", "i00500");
  ASSERT_TRUE(found);
  EXPECT_EQ(ParseField(found->leaf->field(*found->entry)).address(), "10.0.0.2");
}

TEST(ServiceView, EncodedEndpointCarriesWhatTheServerKnows) {
  ViewBuilder builder(nullptr);
  v1::Endpoint declared;
  declared.set_node("n1");
  declared.set_id("a");
  declared.set_port(80);
  builder.Upsert({"n1", "a", EncodeDefinition(declared), v1::WARNING, v1::DRAINING, 7});
  const auto view = builder.Build();
  const auto found = view->Find("n1", "a");
  ASSERT_TRUE(found);
  const v1::Endpoint endpoint = ParseField(found->leaf->field(*found->entry));
  EXPECT_EQ(endpoint.port(), 80u);
  EXPECT_EQ(endpoint.health(), v1::WARNING);
  EXPECT_EQ(endpoint.state(), v1::DRAINING);
  EXPECT_EQ(endpoint.revision(), 7u);
  EXPECT_EQ(view->count(v1::WARNING), 1u);
  EXPECT_EQ(view->inactive(), 1u);
}

TEST(ServiceView, RemovalLeavesATombstoneUntilTheFloorPassesIt) {
  ViewBuilder remove(WithEndpoints(2));
  remove.Remove("", "i00000", 500);
  remove.Remove("", "i00001", 501);
  const auto view = remove.Build();
  EXPECT_EQ(view->size(), 0u);
  EXPECT_TRUE(view->leaves().empty());
  EXPECT_EQ(view->tombstone_count(), 2u);
  ViewBuilder raise(view);
  raise.SetFloor(500);
  const auto pruned = raise.Build();
  EXPECT_EQ(pruned->tombstone_count(), 1u);
  EXPECT_EQ(pruned->floor(), 500u);
  ViewBuilder lower(pruned);
  lower.SetFloor(3);
  EXPECT_EQ(lower.Build()->floor(), 500u) << "a floor never goes down";
}

TEST(ServiceView, UpperBoundWalksEveryKeyOnce) {
  const auto view = WithEndpoints(300);
  std::pair<size_t, size_t> at{0, 0};
  int seen = 0;
  while (at.first < view->leaves().size()) {
    const Leaf& leaf = *view->leaves()[at.first].leaf;
    const EndpointEntry& e = leaf.entries[at.second];
    ++seen;
    at = view->UpperBound(leaf.node(e), leaf.id(e));
  }
  EXPECT_EQ(seen, 300);
  EXPECT_FALSE(view->Find("", "nobody"));
  EXPECT_FALSE(ViewBuilder(nullptr).Build()->Find("", "nobody"));
}

}  // namespace
}  // namespace muster::core
