#include "server/core/catalog.h"

#include <gtest/gtest.h>

#include <atomic>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/core/service_view.h"

namespace muster::core {
namespace {

void Publish(Catalog& catalog, const std::string& name, uint64_t seq) {
  auto identity = std::make_shared<ServiceIdentity>();
  identity->ns = "default";
  identity->service = identity->display = name;
  ViewBuilder view(nullptr);
  view.Touch(seq);
  catalog.Publish({std::move(identity), view.Build()});
}

std::vector<std::pair<std::string, bool>> ChangesSince(const Catalog& catalog, uint64_t position) {
  std::vector<NameChange> changes;
  EXPECT_TRUE(catalog.NameChangesSince(position, changes).has_value());
  std::vector<std::pair<std::string, bool>> out;
  for (const NameChange& change : changes) out.emplace_back(change.display, change.added);
  return out;
}

using Changes = std::vector<std::pair<std::string, bool>>;

// A client gets the added and the removed of one message in no order.
TEST(CatalogTest, ANameThatCameAndWentIsToldOnce) {
  Catalog catalog;
  Publish(catalog, "a", 10);
  Publish(catalog, "b", 11);
  const auto here = [&] { return catalog.List("*", "", "", [](const auto&) { return true; }); };
  const uint64_t position = here();
  catalog.Forget(storage::EncodeServiceKey("default", "a"));
  EXPECT_EQ(ChangesSince(catalog, position), (Changes{{"a", false}}));
  Publish(catalog, "a", 30);
  EXPECT_EQ(ChangesSince(catalog, position), (Changes{{"a", true}})) << "it is there";
  catalog.Forget(storage::EncodeServiceKey("default", "b"));
  Publish(catalog, "c", 50);
  catalog.Forget(storage::EncodeServiceKey("default", "c"));
  EXPECT_EQ(ChangesSince(catalog, position), (Changes{{"a", true}, {"b", false}, {"c", false}}));
  EXPECT_EQ(ChangesSince(catalog, here()), Changes{});
}

// Of so many services the catalog keeps hints where they stand, which those that were published
// anew, forgotten, or share a place with others outdate.
TEST(CatalogTest, VeryManyServicesAreFoundWhileTheyComeAndGo) {
  Catalog catalog;
  constexpr int kMany = 12'000;
  const auto key = [](int i) { return storage::EncodeServiceKey("default", std::to_string(i)); };
  std::atomic<int> published{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t) {
    readers.emplace_back([&] {
      for (int i = 0; !done; i = (i + 7) % kMany) {
        const bool there = i % 2 == 1 && i < published;  // before it is looked for
        const auto view = catalog.ViewByKey(key(i));
        const bool known = catalog.StandingOf(key(i), "").known;
        if (!there) continue;  // forgotten some time, or perhaps not yet there
        EXPECT_NE(view, nullptr) << i;
        EXPECT_TRUE(known) << i;
      }
    });
  }
  for (int i = 0; i < kMany; ++i) {
    Publish(catalog, std::to_string(i), 1);
    published = i;
  }
  for (int i = 0; i < kMany; i += 2) catalog.Forget(key(i));
  for (int i = 1; i < kMany; i += 2) Publish(catalog, std::to_string(i), 2);
  done = true;
  for (auto& reader : readers) reader.join();
  for (int i = 0; i < kMany; ++i) {
    const auto view = catalog.ViewByKey(key(i));
    ASSERT_EQ(view != nullptr, i % 2 == 1) << i;
    if (view == nullptr) continue;
    ASSERT_EQ(view->seq(), 2u);
  }
}

TEST(CatalogTest, AStandingTellsWhatARegistrationAsks) {
  Catalog catalog;
  const auto standing = [&](const std::string& service, const std::string& spelling) {
    return catalog.StandingOf(storage::EncodeServiceKey("default", service), spelling);
  };
  EXPECT_FALSE(standing("api", "api").known);
  Publish(catalog, "api", 10);
  EXPECT_TRUE(standing("api", "api").known);
  EXPECT_FALSE(standing("api", "api").has_instances);
  EXPECT_FALSE(standing("api", "api").has_tombstones);
  EXPECT_EQ(standing("api", "api").display, "") << "as it was asked for";
  EXPECT_EQ(standing("api", "API").display, "api");

  auto identity = std::make_shared<ServiceIdentity>();
  identity->ns = "default";
  identity->service = "api";
  identity->display = "Api";
  ViewBuilder view(nullptr);
  view.Upsert({.node = "n", .id = "i", .definition = {}, .seq = 11});
  view.AddTombstone("n", "gone", 12);
  catalog.Publish({std::move(identity), view.Build()});
  EXPECT_TRUE(standing("api", "Api").has_instances);
  EXPECT_TRUE(standing("api", "Api").has_tombstones);
  EXPECT_EQ(standing("api", "Api").display, "");
  EXPECT_EQ(standing("api", "api").display, "Api");
}

TEST(CatalogTest, UpkeepLooksAtServicesWithDeletionsOrWithoutInstances) {
  Catalog catalog;
  const auto key = [](const std::string& name) {
    return storage::EncodeServiceKey("default", name);
  };
  const auto publish = [&](const std::string& name, bool instances, bool deletions) {
    auto identity = std::make_shared<ServiceIdentity>();
    identity->ns = "default";
    identity->service = identity->display = name;
    ViewBuilder view(nullptr);
    if (instances) view.Upsert({.node = "n", .id = "i", .definition = {}, .seq = 11});
    if (deletions) view.AddTombstone("n", "gone", 12);
    catalog.Publish({std::move(identity), view.Build()});
  };
  using Keys = std::vector<std::string>;
  EXPECT_EQ(catalog.ListUpkeep("", 10), Keys{});
  publish("b", false, false);
  publish("a", false, true);
  publish("c", true, true);
  publish("d", true, false);
  EXPECT_EQ(catalog.ListUpkeep("", 10), (Keys{key("a"), key("b"), key("c")}));
  EXPECT_EQ(catalog.ListUpkeep("", 2), (Keys{key("a"), key("b")}));
  EXPECT_EQ(catalog.ListUpkeep(key("b"), 2), Keys{key("c")});
  publish("b", true, false);
  publish("c", true, false);
  publish("d", true, true);
  EXPECT_EQ(catalog.ListUpkeep("", 10), (Keys{key("a"), key("d")}));
  catalog.Forget(key("a"));
  EXPECT_EQ(catalog.ListUpkeep("", 10), Keys{key("d")});
}

// One group of commits adds services in the order of their names, whatever their seqs, and before
// the revision moves.
TEST(CatalogTest, FollowersMissNoNameAndAreToldNoneTwice) {
  Catalog catalog;
  uint64_t position = 0;
  std::vector<std::string> told;
  const auto follow = [&] {
    std::vector<NameChange> changes;
    position = catalog.NameChangesSince(position, changes).value();
    for (const NameChange& change : changes) told.push_back(change.display);
  };
  Publish(catalog, "a", 12);
  follow();
  Publish(catalog, "b", 11);
  follow();
  follow();
  catalog.SetRevision({1, 12});
  follow();
  EXPECT_EQ(told, (std::vector<std::string>{"a", "b"}));
}

TEST(CatalogTest, OldNameChangesAreNotKnownInFull) {
  Catalog catalog;
  for (int i = 0; i < 70'000; ++i) Publish(catalog, std::to_string(i), i + 1);
  std::vector<NameChange> changes;
  EXPECT_EQ(catalog.NameChangesSince(0, changes), std::nullopt);
  EXPECT_EQ(catalog.NameChangesSince(69'990, changes), 70'000u);
  EXPECT_EQ(changes.size(), 10u);
  catalog.ResetNameChanges();
  EXPECT_EQ(catalog.NameChangesSince(69'999, changes), std::nullopt);
  EXPECT_EQ(catalog.NameChangesSince(70'000, changes), 70'000u);
}

TEST(CatalogTest, WaitsEndOnceOrAreCancelled) {
  Catalog catalog;
  std::vector<uint64_t> done;
  const auto wait = [&](uint64_t seq) {
    return catalog.WaitApplied(seq, [&done, seq] { done.push_back(seq); });
  };
  const uint64_t two = wait(2);
  const uint64_t also_two = wait(2);
  const uint64_t five = wait(5);
  catalog.CancelWait(2, two);
  catalog.CancelWait(3, five);  // of another seq: nothing
  catalog.SetRevision({1, 3});
  EXPECT_EQ(done, (std::vector<uint64_t>{2}));
  catalog.CancelWait(2, also_two);
  catalog.SetRevision({1, 5});
  EXPECT_EQ(done, (std::vector<uint64_t>{2, 5}));
  EXPECT_EQ(wait(4), 0u) << "applied already";
}

// A client with 50,000 calls vanishes: registrations must not wait for it.
TEST(CatalogTest, CancellingCostsTheSameHoweverManyWait) {
  Catalog catalog;
  std::vector<uint64_t> ids;
  for (int i = 0; i < 50'000; ++i) ids.push_back(catalog.WaitApplied(7, [] {}));
  const std::clock_t began = std::clock();
  for (auto id = ids.rbegin(); id != ids.rend(); ++id) catalog.CancelWait(7, *id);
  EXPECT_LT(static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC, 2.0);
  catalog.SetRevision({1, 7});
}

}  // namespace
}  // namespace muster::core
