// Resumes over random histories, against a model: whatever happened between two revisions, a
// client that resumes ends with what a fresh snapshot holds, and with its checksum.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "server/core/delta.h"
#include "tests/unit/server/core/view_model.h"

namespace muster::core {
namespace {

constexpr int kHistories = 60;
constexpr int kSteps = 200;
constexpr int kSelectors = 20;
constexpr int kResumesPerHistory = 200;  // 12,000 in all, 20 selectors each

std::shared_ptr<const Selector> RandomSelector(base::Rng& rng) {
  v1::Selector selector;
  if (rng.Uniform(3) == 0) selector.add_all_tags(absl::StrCat("t", rng.Uniform(4)));
  if (rng.Uniform(4) == 0) selector.add_all_tags(absl::StrCat("t", rng.Uniform(4)));
  if (rng.Uniform(4) == 0) (*selector.mutable_metadata())["k"] = absl::StrCat(rng.Uniform(2));
  if (rng.Uniform(4) == 0) selector.set_version(absl::StrCat("v", rng.Uniform(2)));
  selector.set_min_health(static_cast<v1::Selector::MinHealth>(rng.Uniform(4)));
  selector.set_include_draining(rng.Uniform(2) == 0);
  return *Selector::Compile(selector);
}

v1::Endpoint RandomEndpoint(base::Rng& rng, const std::string& node, const std::string& id) {
  v1::Endpoint endpoint;
  endpoint.set_node(node);
  endpoint.set_id(id);
  endpoint.set_address("10.0.0.1");
  endpoint.set_port(static_cast<uint32_t>(rng.Uniform(65536)));
  for (uint64_t t = 0; t < 4; ++t) {
    if (rng.Uniform(2) == 0) endpoint.add_tags(absl::StrCat("t", t));
  }
  if (rng.Uniform(2) == 0) (*endpoint.mutable_metadata())["k"] = absl::StrCat(rng.Uniform(2));
  endpoint.set_version(absl::StrCat("v", rng.Uniform(2)));
  return endpoint;
}

// One service through time; keeps every view, as a client may resume from any of them.
class History {
 public:
  History(base::Rng& rng, uint64_t keys) : rng_(rng), keys_(keys) {}

  void Step() {
    seq_ += 1 + rng_.Uniform(3);
    const std::string node = absl::StrCat("n", rng_.Uniform(3));
    const std::string id = absl::StrCat("i", rng_.Uniform(keys_));
    ViewBuilder builder(view_);
    const uint64_t action = rng_.Uniform(20);
    if (action < 11) {
      builder.Upsert({node, id, EncodeDefinition(RandomEndpoint(rng_, node, id)),
                      static_cast<v1::Health>(1 + rng_.Uniform(3)),
                      static_cast<v1::State>(1 + rng_.Uniform(3)), seq_});
    } else if (action < 18) {
      if (view_ == nullptr || !view_->Find(node, id)) return;
      builder.Remove(node, id, seq_);
    } else if (action == 18) {
      Wipe(builder);
    } else {
      if (view_ == nullptr) return;
      builder.SetFloor(view_->seq() - std::min<uint64_t>(view_->seq(), rng_.Uniform(400)));
    }
    view_ = builder.Build();
    if (rng_.Uniform(10) == 0) Restart();
    views_.push_back(view_);
  }

  const std::vector<std::shared_ptr<const ServiceView>>& views() const { return views_; }

 private:
  // Everybody leaves in one group of commits.
  void Wipe(ViewBuilder& builder) {
    if (view_ == nullptr) return;
    for (const LeafRef& ref : view_->leaves()) {
      for (const EndpointEntry& e : ref.leaf->entries) {
        builder.Remove(ref.leaf->node(e), ref.leaf->id(e), seq_++);
      }
    }
  }

  // The view again, from what a store keeps: instances, then tombstones by key.
  void Restart() {
    ViewBuilder builder(nullptr);
    std::map<ModelKey, uint64_t> tombstones;
    for (const LeafRef& ref : view_->leaves()) {
      for (const EndpointEntry& e : ref.leaf->entries) {
        v1::Endpoint declared = ParseField(ref.leaf->field(e));
        declared.clear_health();
        declared.clear_state();
        declared.clear_revision();
        builder.Upsert({ref.leaf->node(e), ref.leaf->id(e), EncodeDefinition(declared), e.health,
                        e.state, e.seq});
      }
    }
    for (const auto& chunk : view_->tombstones()) {
      for (const Tombstone& t : *chunk) {
        if (!view_->Find(t.node, t.id)) tombstones[{t.node, t.id}] = t.seq;
      }
    }
    for (const auto& [key, seq] : tombstones) builder.AddTombstone(key.first, key.second, seq);
    builder.SetFloor(view_->floor());
    builder.Touch(view_->seq());
    view_ = builder.Build();
  }

  base::Rng& rng_;
  const uint64_t keys_;
  uint64_t seq_ = 100;
  std::shared_ptr<const ServiceView> view_;
  std::vector<std::shared_ptr<const ServiceView>> views_;
};

class DeltaModel : public testing::TestWithParam<int> {};

TEST_P(DeltaModel, ResumesEndLikeAFreshSnapshot) {
  for (int h = GetParam(); h < kHistories; h += 4) {
    SCOPED_TRACE(absl::StrCat("seed ", h));
    base::SeededRng rng(static_cast<uint64_t>(h));
    History history(rng, h % 3 == 0 ? 300 : 12);
    for (int i = 0; i < kSteps; ++i) history.Step();
    const auto& views = history.views();
    std::vector<std::shared_ptr<const Selector>> selectors;
    for (int i = 0; i < kSelectors; ++i) selectors.push_back(RandomSelector(rng));
    for (int r = 0; r < kResumesPerHistory; ++r) {
      const size_t b = rng.Uniform(views.size());
      const ServiceView& to = *views[b];
      size_t first = 0;  // older ones get a reset
      while (views[first]->seq() < to.floor()) ++first;
      const size_t a = first + rng.Uniform(b - first + 1);
      const uint64_t from = views[a]->seq();
      for (const auto& selector : selectors) {
        ClientSet set = SnapshotOf(views[a].get(), *selector);
        ApplyDelta(to, *selector, from, set);
        ASSERT_EQ(set, SnapshotOf(&to, *selector)) << "from " << from << " to " << to.seq();
        ASSERT_EQ(ChecksumOf(set), Select(&to, *selector).checksum);
        ASSERT_EQ(set.size(), Select(&to, *selector).size);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Quarters, DeltaModel, testing::Range(0, 4));

TEST(Delta, AnEndpointThatStopsMatchingIsRemoved) {
  ViewBuilder first(nullptr);
  v1::Endpoint endpoint;
  endpoint.set_id("a");
  const std::string definition = EncodeDefinition(endpoint);
  first.Upsert({"", "a", definition, v1::PASSING, v1::ACTIVE, 1});
  ViewBuilder second(first.Build());
  second.Upsert({"", "a", definition, v1::CRITICAL, v1::ACTIVE, 2});
  const auto view = second.Build();
  const DeltaResult delta = Delta(*view, *Selector::Default(), 1);
  EXPECT_TRUE(delta.upserted.empty());
  ASSERT_EQ(delta.removed.size(), 1u);
  EXPECT_EQ(delta.removed[0].id, "a");
}

TEST(Select, SaysWhyItIsEmpty) {
  v1::Selector tagged;
  tagged.add_all_tags("x");
  const auto selector = *Selector::Compile(tagged);
  EXPECT_EQ(Select(nullptr, *Selector::Default()).empty_reason, v1::UNKNOWN_SERVICE);
  EXPECT_EQ(Select(ViewBuilder(nullptr).Build().get(), *Selector::Default()).empty_reason,
            v1::NO_INSTANCES);
  ViewBuilder builder(nullptr);
  v1::Endpoint endpoint;
  endpoint.set_id("a");
  builder.Upsert({"", "a", EncodeDefinition(endpoint), v1::CRITICAL, v1::ACTIVE, 1});
  const auto view = builder.Build();
  EXPECT_EQ(Select(view.get(), *Selector::Default()).empty_reason, v1::ALL_UNHEALTHY);
  EXPECT_EQ(Select(view.get(), *selector).empty_reason, v1::FILTERED_OUT);
}

}  // namespace
}  // namespace muster::core
