// Query: which endpoints of one view an answer holds, in order, up to a limit and a size.
//
// Thread safety: pure; results point into the view's leaves and keep them alive.
// Cost: without `near`, what the answer holds and what it skips; with it, the whole view once per
// page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "muster/v1/types.pb.h"
#include "server/core/selector.h"
#include "server/core/service_view.h"

namespace muster::core {

// The last endpoint of a page. `group`: 0 = same zone, 1 = same region, 2 = the rest; always 0 when
// no locality was asked for.
struct QueryPosition {
  uint32_t group = 0;
  std::string node;
  std::string id;
};

struct Query {
  const Selector* selector = nullptr;
  // Unset parts don't count; all unset = order by key.
  v1::Locality near;
  // After this endpoint; null = from the beginning.
  const QueryPosition* after = nullptr;
  size_t limit = 0;      // 0 = no limit
  size_t max_bytes = 0;  // the page ends with the endpoint that reaches it
};

// Encoded endpoints that stand together in one leaf.
struct EndpointRun {
  std::shared_ptr<const Leaf> leaf;
  std::string_view fields;
};

struct QueryPage {
  std::vector<EndpointRun> runs;
  size_t count = 0;
  size_t bytes = 0;
  // The set goes on behind `last`, or the limit was reached there.
  bool more = false;
  QueryPosition last;
};

// Of an encoded v1::Endpoint; its other fields are stepped over.
v1::Locality LocalityOf(std::string_view endpoint);

QueryPage RunQuery(const ServiceView& view, const Query& query);

}  // namespace muster::core
