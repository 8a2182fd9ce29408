#include "server/core/selector.h"

#include <algorithm>

#include "base/errors.h"
#include "server/core/service_view.h"
#include "tests/fuzz/targets.h"

namespace muster::fuzz {
namespace {

void AskAbout(const core::Selector& a, const core::Selector& b, std::string_view endpoint) {
  Require(a.MatchesDefinition(endpoint) == b.MatchesDefinition(endpoint),
          "selectors with the same canonical form select alike");
  for (const v1::Health health : {v1::PASSING, v1::WARNING, v1::CRITICAL}) {
    for (const v1::State state : {v1::ACTIVE, v1::DRAINING, v1::MAINTENANCE}) {
      core::EndpointEntry entry;
      entry.health = health;
      entry.state = state;
      Require(a.MatchesHealth(entry) == b.MatchesHealth(entry),
              "selectors with the same canonical form see health alike");
      const bool plain = health == v1::PASSING && state == v1::ACTIVE;
      Require(!a.is_default() || a.Matches(entry, endpoint) == plain,
              "the default selector takes what is passing and active");
    }
  }
}

}  // namespace

void Selector(std::string_view data) {
  Bytes bytes(data);
  const std::string_view first = bytes.LongText();
  v1::Selector given;
  if (!given.ParseFromArray(first.data(), static_cast<int>(first.size()))) return;
  const auto selector = core::Selector::Compile(given);
  if (!selector.ok()) {
    Require(base::ReasonOf(selector.status()).has_value(), "an error has a reason");
    return;
  }
  std::reverse(given.mutable_all_tags()->begin(), given.mutable_all_tags()->end());
  const auto turned = core::Selector::Compile(given);
  Require(turned.ok() && (*turned)->canonical() == (*selector)->canonical(),
          "the order of tags does not count");
  v1::Selector canonical;
  Require(canonical.ParseFromString((*selector)->canonical()), "the canonical form can be parsed");
  const auto again = core::Selector::Compile(canonical);
  Require(again.ok() && (*again)->canonical() == (*selector)->canonical(),
          "the canonical form of a canonical form is itself");
  AskAbout(**selector, **again, bytes.Rest());
}

}  // namespace muster::fuzz
