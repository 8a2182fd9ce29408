#include "storage/rocksdb/space_guard.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/errors.h"
#include "engine_harness.h"

namespace muster::storage {
namespace {

using Level = SpaceGuard::Level;

constexpr uint64_t kMiB = 1 << 20;

// A disk of which `others` use as much as they like.
class FakeSpace : public Space {
 public:
  struct State {
    int64_t free = 0;  // with the reserve given up
    uint64_t reserve = 0;
    bool broken = false;
    int made = 0;
  };
  explicit FakeSpace(State& state) : state_(state) {}

  absl::StatusOr<uint64_t> FreeBytes() override {
    if (state_.broken) return absl::UnavailableError("no answer");
    return static_cast<uint64_t>(state_.free) - state_.reserve;
  }
  bool HasReserve() override { return state_.reserve > 0; }
  absl::Status MakeReserve(uint64_t bytes) override {
    state_.reserve = bytes;
    ++state_.made;
    return absl::OkStatus();
  }
  void DropReserve() override { state_.reserve = 0; }

 private:
  State& state_;
};

class SpaceGuardTest : public ::testing::Test {
 protected:
  Level LookWith(uint64_t free) {
    state_.free = static_cast<int64_t>(free);
    return guard_.Look();
  }
  FakeSpace::State state_;
  SpaceGuard guard_{{.min_free_bytes = 256 * kMiB, .reserve_bytes = 16 * kMiB},
                    std::make_unique<FakeSpace>(state_)};
};

TEST_F(SpaceGuardTest, TheReserveIsMadeWhereThereIsRoom) {
  EXPECT_EQ(LookWith(1000 * kMiB), Level::kAmple);
  EXPECT_EQ(state_.reserve, 16 * kMiB);
  EXPECT_EQ(LookWith(1000 * kMiB), Level::kAmple);
  EXPECT_EQ(state_.made, 1);
}

TEST_F(SpaceGuardTest, ItIsNotMadeWhereItWouldBringOnWhatItIsFor) {
  EXPECT_EQ(LookWith(271 * kMiB), Level::kAmple);
  EXPECT_EQ(state_.reserve, 0u);
}

TEST_F(SpaceGuardTest, ADiskThatFillsUp) {
  LookWith(1000 * kMiB);
  EXPECT_EQ(LookWith((256 + 16) * kMiB), Level::kAmple);
  EXPECT_EQ(LookWith((256 + 16) * kMiB - 1), Level::kLow);
  EXPECT_GT(state_.reserve, 0u) << "not yet";
  EXPECT_EQ(LookWith((31 + 16) * kMiB), Level::kLow);
  EXPECT_EQ(state_.reserve, 0u) << "given up";
  EXPECT_EQ(LookWith(16 * kMiB), Level::kLow);
  EXPECT_EQ(LookWith(SpaceGuard::kFloor), Level::kLow);
  EXPECT_EQ(LookWith(SpaceGuard::kFloor - 1), Level::kFull);
}

TEST_F(SpaceGuardTest, ItEndsByItselfAndDoesNotFlap) {
  LookWith(1000 * kMiB);
  LookWith(0 + 16 * kMiB);
  EXPECT_EQ(LookWith(0), Level::kFull);
  EXPECT_EQ(LookWith(SpaceGuard::kFloor), Level::kFull);
  EXPECT_EQ(LookWith(2 * SpaceGuard::kFloor), Level::kLow);
  EXPECT_EQ(LookWith(256 * kMiB), Level::kLow);
  EXPECT_EQ(LookWith(287 * kMiB), Level::kLow);
  EXPECT_EQ(LookWith(288 * kMiB), Level::kAmple);
  EXPECT_EQ(state_.reserve, 16 * kMiB) << "made again";
}

TEST_F(SpaceGuardTest, WithAReserveLeftTheDiskIsNotFull) {
  LookWith(1000 * kMiB);
  EXPECT_EQ(LookWith(16 * kMiB), Level::kLow);
  EXPECT_EQ(guard_.free_bytes(), 0u);
  EXPECT_EQ(state_.reserve, 0u);
}

TEST_F(SpaceGuardTest, ADiskThatGivesNoAnswerIsNoReasonToRefuse) {
  LookWith(10 * kMiB);
  state_.broken = true;
  EXPECT_EQ(guard_.Look(), Level::kAmple);
}

TEST_F(SpaceGuardTest, AFullDiskGivesTheReserveUpBeforeTheStoreIsOpened) {
  state_.reserve = 16 * kMiB;
  state_.free = 300 * kMiB;
  guard_.MakeRoom();
  EXPECT_GT(state_.reserve, 0u);
  state_.free = 20 * kMiB;
  guard_.MakeRoom();
  EXPECT_EQ(state_.reserve, 0u);
}

TEST(SpaceGuardOffTest, NothingIsWatched) {
  FakeSpace::State state;
  SpaceGuard guard({}, std::make_unique<FakeSpace>(state));
  EXPECT_EQ(guard.Look(), Level::kAmple);
  EXPECT_EQ(state.made, 0);
}

TEST(SpaceTest, ADirectory) {
  const testing::TempDir dir;
  const auto space = SpaceOf(dir.path());
  EXPECT_GT(space->FreeBytes().value(), 0u);
  EXPECT_FALSE(space->HasReserve());
  ASSERT_TRUE(space->MakeReserve(1 << 20).ok());
  EXPECT_TRUE(space->HasReserve());
  EXPECT_EQ(std::filesystem::file_size(dir / "muster.reserve"), 1u << 20);
  space->DropReserve();
  EXPECT_FALSE(space->HasReserve());
  const auto gone = SpaceOf(dir / "none");
  EXPECT_EQ(base::ReasonOf(gone->FreeBytes().status()), base::Reason::kStorageUnusable);
  EXPECT_FALSE(gone->MakeReserve(1).ok());
}

}  // namespace
}  // namespace muster::storage
