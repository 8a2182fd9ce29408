#include "client/fallback/snapshot.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/fake_clock.h"
#include "client/fallback/snapshot_keeper.h"
#include "fake_scheduler.h"

namespace muster::client {
namespace {

using testing::FakeScheduler;

std::shared_ptr<const EndpointList> Endpoints(int count) {
  auto list = std::make_shared<EndpointList>();
  for (int i = 0; i < count; ++i) {
    list->push_back(std::make_shared<const Endpoint>(Endpoint{.id = absl::StrCat("i", i),
                                                              .node = "n",
                                                              .address = {"10.0.0.1", 80},
                                                              .more_hosts = {"fd00::1"},
                                                              .named_ports = {{"admin", 81}},
                                                              .tags = {"a", "b"},
                                                              .metadata = {{"k", "v"}},
                                                              .version = "2",
                                                              .protocol = "http",
                                                              .region = "eu",
                                                              .zone = "eu-1",
                                                              .sub_zone = "r7",
                                                              .passing_weight = 5,
                                                              .warning_weight = 0,
                                                              .health = Endpoint::Health::kWarning,
                                                              .state = Endpoint::State::kDraining,
                                                              .revision = 77}));
  }
  return list;
}

SavedService Saved(const std::string& key, int64_t confirmed_us, int endpoints) {
  return {key, {confirmed_us}, Endpoints(endpoints)};
}

class SnapshotTest : public ::testing::Test {
 protected:
  SnapshotTest() {
    dir_ = std::filesystem::path(::testing::TempDir()) /
           ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(dir_);
  }
  ~SnapshotTest() override { std::filesystem::remove_all(dir_); }
  std::string Path() const { return dir_ / "deep" / "app.snapshot"; }
  static std::string Bytes(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  size_t Files() const {
    size_t count = 0;
    for (const auto& one : std::filesystem::directory_iterator(dir_ / "deep")) {
      count += one.is_regular_file() ? 1 : 0;
    }
    return count;
  }

  std::filesystem::path dir_;
};

TEST_F(SnapshotTest, GivesBackWhatItWasGiven) {
  const std::string bytes = FormatSnapshot({Saved("web", 5, 3), Saved("none", 6, 0)}, nullptr, {0});
  const auto snapshot = Snapshot::Parse(bytes);
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->size(), 1u);
  const auto web = snapshot->Find("web");
  ASSERT_TRUE(web.has_value());
  EXPECT_EQ(web->confirmed.us, 5);
  ASSERT_EQ(web->endpoints->size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(*(*web->endpoints)[i], *(*Endpoints(3))[i]);
  EXPECT_FALSE(snapshot->Find("other").has_value());
}

TEST_F(SnapshotTest, AnyByteThatIsWrongIsNoticed) {
  const std::string bytes = FormatSnapshot({Saved("web", 5, 2)}, nullptr, {0});
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string wrong = bytes;
    wrong[i] ^= 0x10;
    EXPECT_TRUE(absl::IsDataLoss(Snapshot::Parse(wrong).status())) << i;
    EXPECT_TRUE(absl::IsDataLoss(Snapshot::Parse(bytes.substr(0, i)).status())) << i;
  }
  EXPECT_TRUE(absl::IsDataLoss(Snapshot::Parse(bytes + "x").status()));
}

TEST_F(SnapshotTest, WhatOthersKnowIsCarriedOverUnlessItIsOld) {
  const auto others = Snapshot::Parse(FormatSnapshot(
      {Saved("a", 100, 1), Saved("b", 100, 1), Saved("c", 99, 1), Saved("d", 100, 1)}, nullptr,
      {0}));
  const auto both =
      Snapshot::Parse(FormatSnapshot({Saved("a", 200, 2), Saved("d", 200, 0)}, &*others, {100}));
  ASSERT_TRUE(both.ok());
  EXPECT_EQ(both->Find("a")->endpoints->size(), 2u);
  EXPECT_EQ(both->Find("b")->confirmed.us, 100);
  EXPECT_FALSE(both->Find("c").has_value()) << "older";
  EXPECT_FALSE(both->Find("d").has_value()) << "known to have none";
}

TEST_F(SnapshotTest, AFileIsReplacedAsAWholeForItsOwnerOnly) {
  EXPECT_TRUE(absl::IsNotFound(Snapshot::Read(Path()).status()));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const auto bytes = FormatSnapshot({Saved(absl::StrCat("t", t), i, 10)}, nullptr, {0});
        EXPECT_TRUE(ReplaceFile(Path(), bytes).ok());
        EXPECT_TRUE(Snapshot::Read(Path()).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Files(), 1u);
  struct stat at {};
  ASSERT_EQ(stat(Path().c_str(), &at), 0);
  EXPECT_EQ(at.st_mode & 0777, 0600u);
}

TEST_F(SnapshotTest, WhatIsNoFileIsNamed) {
  std::filesystem::create_directories(Path());
  EXPECT_FALSE(ReplaceFile(Path(), "x").ok());
  EXPECT_EQ(Files(), 0u) << "nothing is left behind";
  EXPECT_TRUE(absl::IsDataLoss(Snapshot::Read(Path()).status()));
  EXPECT_TRUE(absl::StrContains(std::string(Snapshot::Read(Path()).status().message()), Path()));
  const std::string fifo = dir_ / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_TRUE(absl::IsDataLoss(Snapshot::Read(fifo).status())) << "and doesn't wait";
}

class SnapshotKeeperTest : public SnapshotTest {
 protected:
  std::unique_ptr<SnapshotKeeper> Make() {
    return std::make_unique<SnapshotKeeper>(SnapshotKeeper::Options{.path = Path()}, clock_,
                                            scheduler_, scheduler_.Share(),
                                            [this] { return services_; });
  }
  std::optional<int64_t> Confirmed(const std::string& key) const {
    const auto snapshot = Snapshot::Read(Path());
    if (!snapshot.ok()) return std::nullopt;
    const auto saved = snapshot->Find(key);
    return saved ? std::optional<int64_t>(saved->confirmed.us) : std::nullopt;
  }

  base::FakeClock clock_;
  FakeScheduler scheduler_;
  std::vector<SavedService> services_;
};

TEST_F(SnapshotKeeperTest, WritesSoonAfterAChangeAndNotTooOften) {
  const auto keeper = Make();
  scheduler_.Advance(absl::Minutes(10));
  EXPECT_FALSE(std::filesystem::exists(Path())) << "there is nothing to be written";
  const int64_t now = clock_.System().us;
  services_ = {Saved("web", now, 1)};
  keeper->Changed();
  scheduler_.Advance(absl::Milliseconds(900));
  EXPECT_FALSE(Confirmed("web").has_value());
  scheduler_.Advance(absl::Milliseconds(200));
  EXPECT_EQ(Confirmed("web"), now);
  services_ = {Saved("web", now + 1, 1)};
  keeper->Changed();
  scheduler_.Advance(absl::Milliseconds(4'000));
  EXPECT_EQ(Confirmed("web"), now);
  scheduler_.Advance(absl::Milliseconds(1'100));
  EXPECT_EQ(Confirmed("web"), now + 1);
  services_ = {Saved("web", now + 2, 1)};
  scheduler_.Advance(absl::Seconds(61));
  EXPECT_EQ(Confirmed("web"), now + 2) << "now and then without a change";
  services_ = {Saved("web", now + 3, 1)};
  keeper->Finish();
  EXPECT_EQ(Confirmed("web"), now + 3);
}

TEST_F(SnapshotKeeperTest, ClientsOfOneFileKeepWhatTheOthersWrote) {
  const int64_t now = clock_.System().us;
  const auto first = Make();
  const auto second = Make();
  services_ = {Saved("a", now, 1)};
  first->Changed();
  scheduler_.Advance(absl::Seconds(2));
  services_ = {Saved("b", now, 1)};
  second->Finish();
  EXPECT_EQ(Confirmed("a"), now);
  EXPECT_EQ(Confirmed("b"), now);
}

TEST_F(SnapshotKeeperTest, WhatIsTooOldIsNotFound) {
  const int64_t now = clock_.System().us;
  services_ = {Saved("new", now - absl::ToInt64Microseconds(absl::Hours(23)), 1),
               Saved("old", now - absl::ToInt64Microseconds(absl::Hours(25)), 1)};
  Make()->Finish();
  const auto keeper = Make();
  EXPECT_TRUE(keeper->Find("new").has_value());
  EXPECT_FALSE(keeper->Find("old").has_value());
  EXPECT_FALSE(keeper->Find("other").has_value());
}

}  // namespace
}  // namespace muster::client
