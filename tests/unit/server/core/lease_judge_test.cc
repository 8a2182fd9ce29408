#include "server/core/lease_judge.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "tests/support/core_stack.h"

namespace muster::core {
namespace {

constexpr absl::Duration kTtl = absl::Seconds(3);

class LeaseJudgeTest : public testing::Test {
 protected:
  LeaseJudgeTest() {
    base::SetLogSink([](auto, auto, auto) {});
    for (int i = 0; i < 10; ++i) {
      v1::RegisterRequest request;
      request.mutable_instance()->set_service("web");
      request.mutable_instance()->set_id(absl::StrCat("i", i));
      request.mutable_instance()->set_address("10.0.0.1");
      request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(kTtl));
      EXPECT_TRUE(core_.Register(request).ok());
    }
    lease_ = core_.leases.Find(storage::EncodeInstanceKey("default", "web", "", "i0"));
    Pass(kTtl);
  }
  ~LeaseJudgeTest() override { base::SetLogSink(nullptr); }

  // Nobody is removed.
  void Pass(absl::Duration d) {
    for (; d > absl::ZeroDuration(); d -= absl::Milliseconds(100)) {
      clock_.Advance(absl::Milliseconds(100));
      core_.leases.Tick();
    }
    core_.held.Refresh();
  }
  bool MayGo(const Lease& lease) {
    const bool may_go = !judge_.MayGo(lease).has_value();
    judge_.Tend();
    return may_go;
  }

  base::FakeClock clock_;
  CoreStack core_{clock_};
  LeaseJudge judge_{core_.catalog, core_.leases, core_.held, clock_, {.share = 0.3}, nullptr};
  LeasePtr lease_;
};

TEST_F(LeaseJudgeTest, WhoWasRenewedMeanwhileIsJudgedWhenItFallsDueAgain) {
  ASSERT_TRUE(core_.leases.Renew(*lease_));
  EXPECT_TRUE(MayGo(*lease_)) << "the table sees that it isn't due";
  EXPECT_EQ(judge_.standing().held, 0U);
  EXPECT_EQ(core_.held.size(), 0U);
  Pass(kTtl);
  EXPECT_FALSE(MayGo(*lease_));
  EXPECT_EQ(judge_.standing().held, 1U);
  EXPECT_EQ(core_.held.size(), 1U);
}

TEST_F(LeaseJudgeTest, WhoeverIsHeldIsMarked) {
  EXPECT_FALSE(MayGo(*lease_));
  core_.held.Release(lease_->key(), HoldReason::kBrake);
  EXPECT_FALSE(MayGo(*lease_));
  EXPECT_EQ(core_.held.size(), 1U);
}

}  // namespace
}  // namespace muster::core
