#include "server/core/catalog.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/core/service_view.h"

namespace muster::core {
namespace {

void Publish(Catalog& catalog, const std::string& name, uint64_t seq) {
  auto info = std::make_shared<ServiceInfo>();
  info->ns = "default";
  info->service = info->display = name;
  ViewBuilder view(nullptr);
  view.Touch(seq);
  info->view = view.Build();
  catalog.Publish(std::move(info));
}

std::vector<std::pair<std::string, bool>> ChangesSince(const Catalog& catalog, uint64_t seq) {
  std::vector<NameChange> changes;
  EXPECT_TRUE(catalog.NameChangesSince(seq, changes));
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
  catalog.Forget("default", "a", 20);
  EXPECT_EQ(ChangesSince(catalog, 11), (Changes{{"a", false}}));
  Publish(catalog, "a", 30);
  EXPECT_EQ(ChangesSince(catalog, 11), (Changes{{"a", true}})) << "it is there";
  catalog.Forget("default", "b", 40);
  Publish(catalog, "c", 50);
  catalog.Forget("default", "c", 60);
  EXPECT_EQ(ChangesSince(catalog, 11), (Changes{{"a", true}, {"b", false}, {"c", false}}));
  EXPECT_EQ(ChangesSince(catalog, 60), Changes{});
}

}  // namespace
}  // namespace muster::core
