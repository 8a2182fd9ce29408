#include "client/balance/maglev.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace muster::client {
namespace {

// Primes. The larger the table, the more even the parts: 60 entries for each endpoint at least, as
// long as there are not more than 100,000 of them.
constexpr std::array<uint32_t, 3> kSizes = {65'537, 655'373, 6'553'621};
constexpr size_t kEach = 60;
constexpr uint32_t kFree = UINT32_MAX;

std::string NameOf(const Endpoint& endpoint) {
  return absl::StrCat(endpoint.node, std::string(1, '\0'), endpoint.id);
}

}  // namespace

uint64_t StableHash(std::string_view text, uint64_t seed) {
  // FNV-1a, and the finish of SplitMix64: FNV alone leaves the high bits of short texts alike.
  uint64_t hash = 14'695'981'039'346'656'037ULL ^ seed;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 1'099'511'628'211ULL;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ULL;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebULL;
  return hash ^ (hash >> 31);
}

Maglev::Maglev(std::vector<Member> members) : members_(std::move(members)) {
  // Whoever has the same endpoints makes the same table.
  std::sort(members_.begin(), members_.end(), [](const Member& a, const Member& b) {
    return std::tie(a.endpoint->node, a.endpoint->id) < std::tie(b.endpoint->node, b.endpoint->id);
  });
  const auto fits = std::find_if(kSizes.begin(), kSizes.end(),
                                 [this](uint32_t size) { return size >= members_.size() * kEach; });
  const uint32_t size = fits == kSizes.end() ? kSizes.back() : *fits;
  struct Turn {
    double due;  // its next one
    double step;
    uint32_t at;  // in its order of preference
    uint32_t skip;
    uint32_t member;
  };
  std::vector<Turn> turns;
  turns.reserve(members_.size());
  for (uint32_t i = 0; i < members_.size(); ++i) {
    const std::string name = NameOf(*members_[i].endpoint);
    const double step = 1 / members_[i].weight;
    turns.push_back({.due = step,
                     .step = step,
                     .at = static_cast<uint32_t>(StableHash(name, 1) % size),
                     .skip = static_cast<uint32_t>(StableHash(name, 2) % (size - 1) + 1),
                     .member = i});
  }
  // Whose turn it is takes its next free entry; turns come as often as the weight says. On a heap,
  // so that a weight which is very small costs no more than others.
  const auto later = [](const Turn& a, const Turn& b) {
    return std::tie(a.due, a.member) > std::tie(b.due, b.member);
  };
  std::make_heap(turns.begin(), turns.end(), later);
  table_.assign(size, kFree);
  for (uint32_t filled = 0; filled < size; ++filled) {
    std::pop_heap(turns.begin(), turns.end(), later);
    Turn& turn = turns.back();
    while (table_[turn.at] != kFree) turn.at = (turn.at + turn.skip) % size;
    table_[turn.at] = turn.member;
    turn.due += turn.step;
    std::push_heap(turns.begin(), turns.end(), later);
  }
}

}  // namespace muster::client
