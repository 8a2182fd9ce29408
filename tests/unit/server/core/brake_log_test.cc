#include "server/core/brake_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/text.h"
#include "storage/schema.h"

namespace muster::core {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using Kind = BrakeEvent::Kind;
using Level = BrakeGroup::Level;

class BrakeLogTest : public testing::Test {
 protected:
  BrakeLogTest() {
    base::SetLogSink([this](base::LogLevel level, std::string_view message,
                            absl::Span<const base::LogField> fields) {
      std::string line = absl::StrCat(base::Av(base::LogLevelName(level)), ": ", base::Av(message));
      for (const auto& field : fields) {
        absl::StrAppend(&line, " ", base::Av(field.key), "=", field.value);
      }
      lines_.push_back(line);
    });
  }
  ~BrakeLogTest() override { base::SetLogSink(nullptr); }

  void Add(Kind kind, const BrakeGroup& group = {Level::kZone, "", 1}) {
    log_.Add(now_, {kind, group, 7, {50, 20}, 0.3}, "z1");
  }
  void Pass(absl::Duration d) {
    now_ = now_ + d;
    log_.Tend(now_);
  }

  BrakeLog log_;
  base::SteadyTime now_{1'000'000};
  std::vector<std::string> lines_;
};

TEST_F(BrakeLogTest, NamesTheGroupAndSaysWhy) {
  Add(Kind::kHolds, {Level::kService, storage::EncodeServiceKey("default", "web"), 1});
  Add(Kind::kReleases);
  Add(Kind::kEnds, {Level::kServer, "", 0});
  EXPECT_THAT(
      lines_,
      ElementsAre("warn: too many leases fell silent: the brake holds the overdue "
                  "group=service default/web in zone \"z1\" silent=20 leases=50 share=0.400 "
                  "limit=0.3",
                  "warn: the brake begins to release overdue leases group=zone \"z1\" held=7",
                  "info: the brake holds nobody of the group any more group=all leases"));
}

TEST_F(BrakeLogTest, BeyondTenLinesInTenSecondsItCounts) {
  for (int i = 0; i < 9; ++i) Add(Kind::kHolds);
  Pass(absl::Seconds(9));
  for (int i = 0; i < 5; ++i) Add(Kind::kHolds);
  Add(Kind::kReleases);
  Add(Kind::kEnds);
  Add(Kind::kEnds);
  EXPECT_THAT(lines_, SizeIs(10));
  Pass(absl::Milliseconds(999));
  EXPECT_THAT(lines_, SizeIs(10));
  Pass(absl::Milliseconds(1));
  ASSERT_THAT(lines_, SizeIs(11));
  EXPECT_EQ(lines_[10], "warn: the brake, of more groups holds=4 releases=1 ended=2");
  lines_.clear();
  for (int i = 0; i < 10; ++i) Add(Kind::kEnds);
  EXPECT_THAT(lines_, SizeIs(10)) << "another ten seconds";
  Pass(absl::Seconds(10));
  EXPECT_THAT(lines_, SizeIs(10)) << "nothing was left out";
}

// Nobody may call in between.
TEST_F(BrakeLogTest, ALineOfTheNextTenSecondsComesAfterWhatWasLeftOut) {
  for (int i = 0; i < 12; ++i) Add(Kind::kHolds);
  now_ = now_ + absl::Seconds(10);
  Add(Kind::kReleases);
  ASSERT_THAT(lines_, SizeIs(12));
  EXPECT_THAT(lines_[10], HasSubstr("holds=2"));
  EXPECT_THAT(lines_[11], HasSubstr("begins to release"));
}

TEST_F(BrakeLogTest, ANameThatIsNoTextIsEscaped) {
  log_.Add(now_, {Kind::kReleases, {Level::kZone, "", 1}, 7, {50, 20}, 0.3}, "z\n1");
  ASSERT_THAT(lines_, SizeIs(1));
  EXPECT_THAT(lines_[0], testing::Not(HasSubstr("\n")));
}

}  // namespace
}  // namespace muster::core
