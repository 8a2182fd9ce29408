#include "server/rpc/held.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/fake_clock.h"
#include "server/rpc/discover.h"
#include "tests/support/core_stack.h"

namespace muster::rpc {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr absl::Duration kTtl = absl::Seconds(3);

class HeldTest : public testing::Test {
 protected:
  void Register(const std::string& service, const std::string& id, const std::string& zone) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service(service);
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    request.mutable_instance()->mutable_locality()->set_zone(zone);
    request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(kTtl));
    ASSERT_TRUE(core_.Register(request).ok());
  }
  // Of a store that takes no writes.
  void FallDue() {
    store_->FailWrites(absl::ResourceExhaustedError("no space left"));
    core_.Advance(kTtl + absl::Seconds(1));
  }
  v1::DiscoverResponse Discover(const v1::DiscoverRequest& request) {
    auto answer = discoverer_.Answer(request);
    EXPECT_TRUE(answer.ok()) << answer.status();
    grpc::Slice all;
    EXPECT_TRUE(answer->DumpToSingleSlice(&all).ok());
    v1::DiscoverResponse out;
    EXPECT_TRUE(out.ParseFromArray(all.begin(), static_cast<int>(all.size())));
    return out;
  }
  v1::DiscoverResponse Discover(const std::string& service, uint32_t limit = 0,
                                const std::string& near = "") {
    v1::DiscoverRequest request;
    request.set_service(service);
    request.set_limit(limit);
    if (!near.empty()) request.mutable_near()->set_zone(near);
    return Discover(request);
  }
  static std::vector<std::string> HeldIn(const v1::DiscoverResponse& answer) {
    std::vector<std::string> out;
    for (const auto& held : answer.held()) {
      for (const auto& key : held.keys()) out.push_back(absl::StrCat(held.zone(), "/", key.id()));
    }
    return out;
  }

  base::FakeClock clock_;
  std::shared_ptr<storage::MemoryStore> store_ = std::make_shared<storage::MemoryStore>();
  core::CoreStack core_{clock_, store_};
  ServerState state_;
  Discoverer discoverer_{core_.catalog, core_.held, state_, clock_};
};

TEST_F(HeldTest, DiscoverMarksThoseOfItsAnswer) {
  for (int i = 0; i < 6; ++i) Register("api", absl::StrCat(i), i % 2 == 0 ? "even" : "odd");
  Register("web", "w", "even");
  const auto fresh = Discover("api");
  EXPECT_THAT(HeldIn(fresh), IsEmpty());
  const base::SystemTime before = clock_.System();
  FallDue();
  const auto all = Discover("api");
  EXPECT_THAT(HeldIn(all), ElementsAre("even/0", "even/2", "even/4", "odd/1", "odd/3", "odd/5"));
  EXPECT_EQ(all.checksum(), fresh.checksum());
  EXPECT_EQ(all.service_revision().seq(), fresh.service_revision().seq());
  EXPECT_GE(all.held(0).since().seconds(), before.us / 1'000'000);
  EXPECT_THAT(all.held(0).reasons(), ElementsAre(v1::Held::STORAGE_READ_ONLY));
  EXPECT_EQ(all.held(0).count(), 3u);
  EXPECT_EQ(all.held(0).service(), "") << "the asker knows";

  EXPECT_THAT(HeldIn(Discover("api", 2)), ElementsAre("even/0", "odd/1"));
  EXPECT_THAT(HeldIn(Discover("api", 4, "odd")), ElementsAre("even/0", "odd/1", "odd/3", "odd/5"));
  EXPECT_THAT(HeldIn(Discover("web")), ElementsAre("even/w"));
  EXPECT_THAT(HeldIn(Discover("nobody")), IsEmpty());
}

TEST_F(HeldTest, ASelectorLeavesOutWhatItDoesNotTake) {
  for (const char* id : {"a", "b"}) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service("api");
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    request.mutable_instance()->add_tags(id);
    request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(kTtl));
    ASSERT_TRUE(core_.Register(request).ok());
  }
  FallDue();
  v1::DiscoverRequest request;
  request.set_service("api");
  request.mutable_selector()->add_all_tags("b");
  EXPECT_THAT(HeldIn(Discover(request)), ElementsAre("/b"));
}

TEST_F(HeldTest, EachPageMarksItsOwn) {
  constexpr int kCount = 400;
  for (int i = 0; i < kCount; ++i) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service("api");
    request.mutable_instance()->set_id(absl::StrCat(i));
    request.mutable_instance()->set_address("10.0.0.1");
    for (int j = 0; j < 10; ++j) {
      (*request.mutable_instance()->mutable_metadata())[absl::StrCat(j)] = std::string(500, 'x');
    }
    if (i % 2 == 0) {
      request.set_permanent(true);
    } else {
      request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(kTtl));
    }
    ASSERT_TRUE(core_.Register(request).ok());
  }
  FallDue();
  v1::DiscoverRequest request;
  request.set_service("api");
  int pages = 0;
  size_t held = 0;
  do {
    const auto page = Discover(request);
    std::vector<std::string> odd;
    for (const auto& endpoint : page.endpoints()) {
      if ((endpoint.id().back() - '0') % 2 == 1) odd.push_back(absl::StrCat("/", endpoint.id()));
    }
    EXPECT_EQ(HeldIn(page), odd);
    held += odd.size();
    ++pages;
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_GT(pages, 1);
  EXPECT_EQ(held, kCount / 2u);
}

TEST_F(HeldTest, StatusShowsTheSets) {
  v1::StatusResponse status;
  AddHeldSets(core_.held, status);
  EXPECT_TRUE(status.held().empty());
  EXPECT_TRUE(status.warnings().empty());
  for (int i = 0; i < 15; ++i) Register("Api", absl::StrCat(i), "z1");
  Register("Api", "other", "z2");
  Register("web", "w", "z1");
  FallDue();
  AddHeldSets(core_.held, status);
  ASSERT_EQ(status.held_size(), 3);
  EXPECT_EQ(status.held(0).namespace_(), "default");
  EXPECT_EQ(status.held(0).service(), "api");
  EXPECT_EQ(status.held(0).zone(), "z1");
  EXPECT_EQ(status.held(0).count(), 15u);
  EXPECT_EQ(status.held(0).keys_size(), 10);
  EXPECT_EQ(status.held(2).service(), "web");
  EXPECT_THAT(status.warnings(), ElementsAre(HasSubstr("held in the answers: 17")));
}

TEST(Brake, StatusWarnsWhileItHolds) {
  v1::StatusResponse status;
  AddBrake({}, status);
  AddBrake({.held = 0, .groups = 3}, status);
  EXPECT_TRUE(status.warnings().empty());
  AddBrake({.held = 12, .groups = 3, .since = {1'767'225'600'000'000}}, status);
  EXPECT_THAT(status.warnings(), ElementsAre("the brake holds 12 overdue leases of 3 groups since "
                                             "2026-01-01T00:00:00Z; see docs/lifetime.md"));
  status.Clear();
  AddBrake({.held = 12, .groups = 1, .since = {1'767'225'600'000'000}}, status);
  EXPECT_THAT(status.warnings(), ElementsAre(HasSubstr("leases of 1 group since")));
}

TEST_F(HeldTest, StatusStaysSmall) {
  for (int i = 0; i < 150; ++i) Register(absl::StrCat("s", i), "a", "z");
  FallDue();
  v1::StatusResponse status;
  AddHeldSets(core_.held, status);
  EXPECT_EQ(status.held_size(), 100);
  EXPECT_THAT(status.warnings(), ElementsAre(HasSubstr("150")));
}

}  // namespace
}  // namespace muster::rpc
