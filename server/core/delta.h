// Delta and selection: pure functions over one view.
//
// Thread safety: pure. Cost: Delta looks only into leaves that changed since `from`; a checksum
// for a selector other than the default reads the whole view once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "muster/v1/types.pb.h"
#include "server/core/selector.h"
#include "server/core/service_view.h"

namespace muster::core {

// The set that a selector takes from a view.
struct Selection {
  uint64_t checksum = 0;
  size_t size = 0;
  // EMPTY_REASON_UNSPECIFIED when size > 0.
  v1::EmptyReason empty_reason = v1::EMPTY_REASON_UNSPECIFIED;
};

// `view` may be null: an unknown service.
Selection Select(const ServiceView* view, const Selector& selector);

// What brings a client that holds the selection at `from` to the selection at view.seq().
struct DeltaResult {
  std::vector<std::string_view> upserted;  // encoded fields (ServiceView bytes)
  struct Key {
    std::string_view node, id;
  };
  // Keys that the client may not hold are among them.
  std::vector<Key> removed;
};

// REQUIRES: from >= view.floor(). Results point into `view`.
DeltaResult Delta(const ServiceView& view, const Selector& selector, uint64_t from);

}  // namespace muster::core
