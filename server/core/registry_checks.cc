// The Registry's checks: results, and changes of an instance's list of them.
#include <algorithm>
#include <string>
#include <utility>

#include "base/errors.h"
#include "server/core/check_change.h"
#include "server/core/field_rules.h"
#include "server/core/registry.h"
#include "server/core/registry_write.h"

namespace muster::core {

void Registry::BeginEdit(storage::InstanceKey names, uint64_t incarnation, Edit edit,
                         EditDone done) {
  auto write = std::make_shared<Write>();
  write->kind = Write::Kind::kEdit;
  write->SetNames(std::move(names));
  write->write_class = storage::WriteClass::kInternal;
  write->incarnation = incarnation;
  write->edit = std::move(edit);
  write->done = std::move(done);
  Begin(std::move(write));
}

void Registry::SetRevision(const Outcome& outcome, v1::Revision* to) const {
  const storage::Revision now = catalog_.revision();
  to->set_epoch(now.epoch);
  to->set_seq(std::max(outcome.seq, now.seq));
}

// A sign of life, even if what it says waits for the disk, or has no room there.
void Registry::TellOfReport(std::string_view key, const v1::ReportHealthRequest& report) const {
  if (!report_listener_ || report.status() < v1::PASSING || report.status() > v1::CRITICAL) return;
  const LeasePtr lease = leases_.Find(key);
  if (lease == nullptr) return;
  if (report.incarnation() != 0 && report.incarnation() != lease->incarnation()) return;
  report_listener_(key, report.check_id());
}

void Registry::ReportHealth(const v1::ReportHealthRequest& request, ReportDone done) {
  auto key = NormalKey(request.key(), "key");
  if (!key.ok()) return done(key.status());
  TellOfReport(storage::EncodeInstanceKey(*key), request);
  const auto edit = [request](std::string_view key, const StoredInstance& present,
                              ReadCheck read_check, uint64_t now_ms) {
    return ReportOn(key, present, request, read_check, now_ms);
  };
  BeginEdit(*std::move(key), request.incarnation(), edit,
            [this, done = std::move(done)](const auto& outcome) {
              if (!outcome.ok()) return done(outcome.status());
              v1::ReportHealthResponse response;
              SetRevision(*outcome, response.mutable_revision());
              response.set_changed(outcome->changed);
              done(std::move(response));
            });
}

void Registry::SetOutcome(CheckOutcome outcome, OutcomeDone done) {
  const auto view = storage::DecodeInstanceKey(outcome.instance_key);
  if (!view) return done(absl::InternalError("no instance key"));
  storage::InstanceKey names{std::string(view->ns), std::string(view->service),
                             std::string(view->node), std::string(view->id)};
  BeginEdit(
      std::move(names), 0,
      [outcome = std::move(outcome)](std::string_view, const StoredInstance& present,
                                     ReadCheck read_check, uint64_t now_ms) {
        return OutcomeOn(present, outcome, read_check, now_ms);
      },
      [done = std::move(done)](const auto& result) { done(result.status()); });
}

void Registry::AddCheck(const v1::AddCheckRequest& request, AddCheckDone done) {
  auto key = NormalKey(request.key(), "key");
  if (!key.ok()) return done(key.status());
  const auto edit = [check = request.check()](std::string_view key, const StoredInstance& present,
                                              ReadCheck read_check, uint64_t) {
    return AdditionOf(key, present, check, read_check);
  };
  BeginEdit(*std::move(key), request.incarnation(), edit,
            [this, done = std::move(done)](const auto& outcome) {
              if (!outcome.ok()) return done(outcome.status());
              v1::AddCheckResponse response;
              SetRevision(*outcome, response.mutable_revision());
              done(std::move(response));
            });
}

void Registry::RemoveCheck(const v1::RemoveCheckRequest& request, RemoveCheckDone done) {
  auto key = NormalKey(request.key(), "key");
  if (!key.ok()) return done(key.status());
  const auto edit = [id = request.check_id()](std::string_view key, const StoredInstance& present,
                                              ReadCheck read_check, uint64_t) {
    return RemovalOfCheck(key, present, id, read_check);
  };
  BeginEdit(*std::move(key), request.incarnation(), edit,
            [this, done = std::move(done)](const auto& outcome) {
              if (!outcome.ok()) return done(outcome.status());
              v1::RemoveCheckResponse response;
              SetRevision(*outcome, response.mutable_revision());
              done(std::move(response));
            });
}

}  // namespace muster::core
