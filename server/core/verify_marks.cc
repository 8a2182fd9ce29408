#include "server/core/verify_marks.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace muster::core {
namespace {

using storage::Family;

std::string NameOf(std::string_view node_key) {
  if (const auto node = storage::DecodeNodeKey(node_key)) {
    return absl::StrCat("maintenance of node ", base::Quoted(node->node));
  }
  const auto key = storage::DecodeNodeInstanceKey(node_key);
  if (!key) return "maintenance of a key that can't be read";
  return absl::StrCat("maintenance of instance ", base::Quoted(key->id), " of service ",
                      base::Quoted(key->service));
}

}  // namespace

StoredMarks::StoredMarks(const MaintenanceSet& served)
    : served_(served), ended_(served.ended()), keys_before_(served.Keys()) {}

absl::Status StoredMarks::Read(const storage::Engine& engine, const storage::Snapshot& snapshot,
                               std::vector<std::string>& problems) {
  absl::Status status =
      snapshot.Scan(Family::kNodes, "", [&](std::string_view key, std::string_view value) {
        stored_.Put(key, value);
        if (!stored_.Has(key) || served_.Has(key)) return true;
        // Ended since, or never known.
        const auto now = engine.Get(Family::kNodes, key);
        if (now.ok() && storage::ModSeqOf(*now) == storage::ModSeqOf(value)) {
          problems.push_back(absl::StrCat(NameOf(key), " is stored and not served"));
        }
        return true;
      });
  if (!status.ok()) return status;
  for (const std::string& key : keys_before_) {
    if (stored_.Has(key) || !served_.Has(key)) continue;
    if (absl::IsNotFound(engine.Get(Family::kNodes, key).status())) {
      problems.push_back(absl::StrCat(NameOf(key), " is served and not stored"));
    }
  }
  settled_ = served_.begun() == ended_;
  return absl::OkStatus();
}

}  // namespace muster::core
