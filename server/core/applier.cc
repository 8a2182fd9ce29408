#include "server/core/applier.h"

#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/hashed_key.h"
#include "base/log.h"
#include "base/text.h"
#include "muster/storage/v1/storage.pb.h"
#include "server/core/record_view.h"

namespace muster::core {

using base::HashedKey;
using storage::Family;
using storage::Op;

// A service that the present group changes: published once, whatever the number of changes.
struct Applier::Draft {
  Catalog::Slot* slot;                        // null: not known yet
  std::string own_key;                        // when it isn't, or is forgotten
  std::shared_ptr<ServiceIdentity> identity;  // null: as it was
  ViewBuilder view;
  bool visible = false;
  bool forgotten = false;

  bool is_new() const { return slot == nullptr; }
  std::string_view key() const { return own_key.empty() ? Catalog::KeyOf(*slot) : own_key; }
};

static_assert(std::is_nothrow_move_constructible_v<ViewBuilder>, "a vector would copy drafts");

Applier::Applier(Catalog& catalog, LeaseTable& leases, WatchHub& hub)
    : catalog_(catalog), leases_(leases), hub_(hub) {}

Applier::~Applier() = default;

void Applier::OnOpen(const storage::Revision& revision, const storage::StoreRecordView& store) {
  revision_ = revision;
  base_seq_ = store.base_seq;
  replaying_ = true;
}

void Applier::OnReplay(Family family, std::string_view key, std::string_view value) {
  switch (family) {
    case Family::kMeta:
      if (key == storage::kForgottenKey) catalog_.SetForgottenSeq(storage::ModSeqOf(value));
      break;
    case Family::kServices:
      PutService(key, value);
      break;
    case Family::kNodes:
      catalog_.maintenance().Put(key, value);
      break;
    case Family::kInstances:
      PutInstance(key, value);
      break;
    case Family::kTombstones:
      PutTombstone(key, value);
      break;
    default:
      break;
  }
}

void Applier::OnReplayed() {
  Publish();
  replaying_ = false;
  catalog_.ResetNameChanges();
  catalog_.SetRevision(revision_);
}

void Applier::OnCommits(absl::Span<const storage::Commit> commits) {
  drafts_.reserve(commits.size());
  for (const storage::Commit& commit : commits) {
    for (const Op& op : commit.ops) ApplyOp(commit.seq, op);
    revision_.seq = std::max(revision_.seq, commit.seq);
  }
  Publish();
  catalog_.SetRevision(revision_);
  // Who is told now finds views and revision of this group.
  Notify();
}

std::optional<uint64_t> Applier::AppliedModSeq(Family family, std::string_view key) const {
  if (family == Family::kInstances) return leases_.AppliedModSeq(HashedKey(key));
  if (family == Family::kServices) return catalog_.AppliedModSeq(HashedKey(key));
  return std::nullopt;
}

Applier::Draft& Applier::DraftOf(std::string_view service_key) {
  Catalog::Slot* const slot = catalog_.FindSlot(HashedKey(service_key));
  if (slot != nullptr) {
    if (const uint32_t mark = Catalog::MarkOf(*slot); mark != 0) return drafts_[mark - 1];
  } else {
    const auto it = new_draft_of_.find(base::Av(service_key));
    if (it != new_draft_of_.end()) return drafts_[it->second];
  }
  // Keys of a service stand together in what is replayed: the draft before is complete. All its
  // tombstones go into one view, which sorts them.
  if (replaying_ && !drafts_.empty()) {
    Publish();
    return DraftOf(service_key);
  }
  std::shared_ptr<ServiceIdentity> identity;
  if (slot == nullptr) {
    identity = std::make_shared<ServiceIdentity>();
    if (const auto names = storage::DecodeServiceKey(service_key)) {
      identity->ns = std::string(names->ns);
      identity->service = identity->display = std::string(names->service);
    }
  }
  ViewBuilder view(slot == nullptr ? nullptr : Catalog::ViewOf(*slot), texts());
  Draft& draft = drafts_.emplace_back(
      Draft{.slot = slot,
            .own_key = std::string(slot == nullptr ? service_key : std::string_view()),
            .identity = std::move(identity),
            .view = std::move(view)});
  if (slot != nullptr) {
    Catalog::MarkOf(*slot) = static_cast<uint32_t>(drafts_.size());
  } else {
    new_draft_of_.emplace(std::string(service_key), drafts_.size() - 1);
  }
  // What a restored store holds keeps its seqs; what clients were told of the service since the
  // backup is above them, and below this.
  if (replaying_) draft.view.Touch(base_seq_);
  return draft;
}

// A group's commits live until it is applied; what is replayed doesn't.
ViewBuilder::Texts Applier::texts() const {
  return replaying_ ? ViewBuilder::Texts::kCopied : ViewBuilder::Texts::kStay;
}

void Applier::ApplyOp(uint64_t seq, const Op& op) {
  const bool put = op.kind == Op::Kind::kPut;
  switch (op.family) {
    case Family::kMeta:
      if (put && op.key == storage::kForgottenKey) catalog_.SetForgottenSeq(seq);
      break;
    case Family::kServices:
      if (put) {
        PutService(op.key, op.value);
      } else {
        DraftOf(op.key).forgotten = true;
      }
      break;
    case Family::kNodes:
      if (put) {
        catalog_.maintenance().Put(op.key, op.value);
      } else {
        catalog_.maintenance().Erase(op.key);
      }
      break;
    case Family::kInstances:
      if (put) {
        PutInstance(op.key, op.value);
      } else if (const auto key = storage::DecodeInstanceKey(op.key)) {
        Draft& draft = DraftOf(storage::ServiceKeyOf(op.key));
        draft.view.Remove(key->node, key->id, seq);
        draft.visible = true;
        leases_.Erase(op.key);
      }
      break;
    default:
      // A tombstone comes with the removal of its instance, which tells all.
      break;
  }
}

void Applier::PutService(std::string_view key, std::string_view value) {
  const auto decoded = storage::DecodeValue(value);
  storage::v1::ServiceRecord record;
  if (!decoded.ok() ||
      !record.ParseFromArray(decoded->payload.data(), static_cast<int>(decoded->payload.size()))) {
    base::Log(base::LogLevel::kError, "service record can't be read", {{"key", std::string(key)}});
    return;
  }
  Draft& draft = DraftOf(key);
  if (draft.forgotten) {  // forgotten and created again in one group
    draft.forgotten = false;
    draft.view = ViewBuilder(nullptr, texts());
  }
  if (draft.identity == nullptr) {
    draft.identity = std::make_shared<ServiceIdentity>(*Catalog::IdentityOf(*draft.slot));
  }
  draft.identity->display = record.name();
  draft.identity->mod_seq = decoded->mod_seq;
  draft.identity->created_at_ms = record.created_at_ms();
  draft.identity->settings = record.has_settings() ? KeptSettings(record.settings()) : nullptr;
  draft.view.SetFloor(record.floor());
  if (draft.is_new()) {
    draft.view.Touch(decoded->mod_seq);
    draft.visible = true;
  }
}

void Applier::PutInstance(std::string_view key, std::string_view value) {
  const auto names = storage::DecodeInstanceKey(key);
  const auto decoded = storage::DecodeInstanceValue(value);
  const auto record = decoded.ok() ? ReadRecord(decoded->payload) : std::nullopt;
  if (!names || !record) {
    base::Log(base::LogLevel::kError, "instance record can't be read", {{"key", std::string(key)}});
    return;
  }
  const storage::InstanceWords& words = decoded->words;
  // Only a visible change carries its own seq as the visible one.
  if (replaying_ || words.visible_seq == decoded->mod_seq) {
    Draft& draft = DraftOf(storage::ServiceKeyOf(key));
    draft.view.Upsert({names->node, names->id, record->endpoint, record->health, record->state,
                       words.visible_seq});
    draft.visible = true;
  }
  catalog_.maintenance().Judge(key, record->state);
  const LeaseSpec spec = MakeLeaseSpec(key, decoded->mod_seq, words.incarnation, *record);
  if (replaying_) {
    leases_.Restore(spec);
  } else {
    leases_.Put(spec);
  }
}

void Applier::PutTombstone(std::string_view key, std::string_view value) {
  const auto names = storage::DecodeInstanceKey(key);
  if (!names) return;
  DraftOf(storage::ServiceKeyOf(key))
      .view.AddTombstone(names->node, names->id, storage::ModSeqOf(value));
}

void Applier::Publish() {
  for (Draft& draft : drafts_) {
    if (draft.forgotten) {
      draft.own_key = std::string(draft.key());  // the slot goes
      draft.slot = nullptr;
      catalog_.Forget(draft.own_key);
      continue;
    }
    ServiceInfo info{std::move(draft.identity), draft.view.Build()};
    if (draft.slot != nullptr) {
      catalog_.Publish(*draft.slot, std::move(info));
    } else {
      catalog_.Publish(std::move(info));
    }
  }
  if (replaying_) ClearDrafts();
}

void Applier::ClearDrafts() {
  for (const Draft& draft : drafts_) {
    if (draft.slot != nullptr) Catalog::MarkOf(*draft.slot) = 0;
  }
  new_draft_of_.clear();
  drafts_.clear();
}

void Applier::Notify() {
  bool names_changed = false;
  for (const Draft& draft : drafts_) {
    if (draft.visible || draft.forgotten) hub_.Notify(draft.key());
    names_changed |= draft.is_new() || draft.forgotten;
  }
  ClearDrafts();
  if (names_changed) hub_.NotifyNames();
}

}  // namespace muster::core
