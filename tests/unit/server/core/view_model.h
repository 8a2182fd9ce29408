// A model of one service: a plain map with the rules of docs, and the client that applies deltas.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "server/core/delta.h"
#include "server/core/service_view.h"

namespace muster::core {

using ModelKey = std::pair<std::string, std::string>;  // node, id

// What a client holds: endpoints by key, as encoded in the view.
using ClientSet = std::map<ModelKey, std::string>;

std::string EncodeDefinition(const v1::Endpoint& endpoint);

// The bytes of a field 1 without tag and length, parsed.
v1::Endpoint ParseField(std::string_view field);

// What a fresh snapshot holds.
ClientSet SnapshotOf(const ServiceView* view, const Selector& selector);

// Brings `set` from `from` to the view's revision.
void ApplyDelta(const ServiceView& view, const Selector& selector, uint64_t from, ClientSet& set);

// By the documented rule, from the endpoints alone.
uint64_t ChecksumOf(const ClientSet& set);

}  // namespace muster::core
