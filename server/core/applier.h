// Applier: the commit sink that turns commits into views, leases and wakes. The only writer of
// Catalog and of lease membership.
//
// Thread safety: called by the engine on the strand only. Cost: one new view per changed service
// and group of commits.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/core/catalog.h"
#include "server/core/lease_table.h"
#include "server/core/watch_hub.h"
#include "storage/engine.h"

namespace muster::core {

class Applier : public storage::CommitSink {
 public:
  Applier(Catalog& catalog, LeaseTable& leases, WatchHub& hub);
  ~Applier() override;

  void OnOpen(const storage::Revision& revision, const storage::StoreRecordView& store) override;
  void OnReplay(storage::Family family, std::string_view key, std::string_view value) override;
  void OnReplayed() override;
  void OnCommits(absl::Span<const storage::Commit> commits) override;
  std::optional<uint64_t> AppliedModSeq(storage::Family family,
                                        std::string_view key) const override;

 private:
  struct Draft;  // a service that the present group changes
  // Until the next one is made.
  Draft& DraftOf(std::string_view service_key);
  ViewBuilder::Texts texts() const;
  void ApplyOp(uint64_t seq, const storage::Op& op);
  void PutService(std::string_view key, std::string_view value);
  void PutInstance(std::string_view key, std::string_view value);
  void PutTombstone(std::string_view key, std::string_view value);
  // Puts the drafts into the catalog.
  void Publish();
  void ClearDrafts();
  // Tells who follows them, and lets go of them.
  void Notify();

  Catalog& catalog_;
  LeaseTable& leases_;
  WatchHub& hub_;
  storage::Revision revision_;
  uint64_t base_seq_ = 0;  // where this epoch begins
  bool replaying_ = true;
  // In the order in which the group came to them.
  std::vector<Draft> drafts_;
  // Of services not known yet. A known one's slot is marked with the number of its draft, from 1.
  absl::flat_hash_map<std::string, size_t> new_draft_of_;
};

}  // namespace muster::core
