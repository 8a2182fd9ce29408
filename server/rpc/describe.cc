#include "server/rpc/describe.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"
#include "server/core/check_change.h"
#include "server/core/field_rules.h"
#include "server/core/instance.h"
#include "server/core/instance_change.h"
#include "server/core/maintenance_set.h"
#include "server/rpc/page_token.h"

namespace muster::rpc {
namespace {

using base::MakeError;
using base::Reason;
using storage::Family;

constexpr uint32_t kDefaultPage = 1000;
constexpr uint32_t kMaxPage = 10'000;

void SetDuration(absl::Duration from, google::protobuf::Duration* to) {
  const int64_t us = absl::ToInt64Microseconds(from);
  to->set_seconds(us / 1'000'000);
  to->set_nanos(static_cast<int32_t>(us % 1'000'000) * 1000);
}

void SetTime(uint64_t since_1970_ms, google::protobuf::Timestamp* to) {
  to->set_seconds(static_cast<int64_t>(since_1970_ms / 1000));
  to->set_nanos(static_cast<int32_t>(since_1970_ms % 1000) * 1'000'000);
}

void SetRevision(storage::Revision from, v1::Revision* to) {
  to->set_epoch(from.epoch);
  to->set_seq(from.seq);
}

void SetResult(const storage::v1::CheckRecord& record, v1::CheckResult* out) {
  out->set_status(record.status());
  out->set_output(record.output());
  SetTime(record.at_ms(), out->mutable_at());
}

void AddCheck(const v1::Check& check, bool reported, const std::string& key,
              const storage::Engine& engine, v1::DescribeInstanceResponse& out) {
  v1::CheckState* state = out.add_checks();
  *state->mutable_check() = check;
  if (!reported) return;
  const std::string check_key = storage::EncodeCheckKey(key, check.id());
  const auto latest = core::ReadResult(engine, Family::kChecks, check_key);
  if (!latest) return;
  SetResult(*latest, state->mutable_latest());
  const uint64_t last = latest->transitions();
  for (uint64_t n = last; n > 0 && n + core::kKeptTransitions > last; --n) {
    const auto one =
        core::ReadResult(engine, Family::kTransitions, storage::EncodeTransitionKey(check_key, n));
    if (one) SetResult(*one, state->add_transitions());
  }
}

void SetEndpoint(const core::ServiceInfo& info, const storage::InstanceKey& key,
                 v1::DescribeInstanceResponse& out) {
  const auto position = info.view->Find(key.node, key.id);
  if (!position) return;
  const std::string_view bytes = position->leaf->endpoint(*position->entry);
  out.mutable_endpoint()->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

void SetMaintenance(const storage::InstanceKey& key, const storage::Engine& engine,
                    v1::DescribeInstanceResponse& out) {
  const auto mark_of = [&](const std::string& node_key) -> std::optional<core::MaintenanceMark> {
    const auto value = engine.Get(Family::kNodes, node_key);
    if (!value.ok()) return std::nullopt;
    auto mark = core::ReadMark(node_key, *value);
    return mark && mark->on ? std::move(mark) : std::nullopt;
  };
  const auto own = mark_of(storage::EncodeNodeInstanceKey(key.ns, key.node, key.service, key.id));
  const auto of_node =
      key.node.empty() ? std::nullopt : mark_of(storage::EncodeNodeKey(key.ns, key.node));
  if (!own && !of_node) return;
  const core::MaintenanceMark& shown = own ? *own : *of_node;
  v1::Maintenance* maintenance = out.mutable_maintenance();
  maintenance->set_instance(own.has_value());
  maintenance->set_node(of_node.has_value());
  maintenance->set_reason(shown.reason);
  SetTime(shown.since_ms, maintenance->mutable_since());
}

void SetLease(const storage::v1::InstanceRecord& record, const std::string& key,
              const core::LeaseTable& leases, v1::LeaseState* out) {
  out->set_permanent(record.ttl_ms() == 0);
  if (out->permanent()) return;
  SetDuration(absl::Milliseconds(record.ttl_ms()), out->mutable_ttl());
  const auto lease = leases.Find(key);
  if (lease != nullptr) SetDuration(leases.Remaining(*lease), out->mutable_remaining());
}

}  // namespace

absl::StatusOr<v1::DescribeInstanceResponse> Describe(const v1::DescribeInstanceRequest& request,
                                                      const storage::Engine& engine,
                                                      const core::Catalog& catalog,
                                                      const core::LeaseTable& leases) {
  const auto key = core::NormalKey(request.key(), "key");
  if (!key.ok()) return key.status();
  const std::string encoded = storage::EncodeInstanceKey(*key);
  v1::DescribeInstanceResponse out;
  SetRevision(catalog.revision(), out.mutable_revision());
  const auto info = catalog.Get(key->ns, key->service);
  const auto value = engine.Get(Family::kInstances, encoded);
  if (absl::IsNotFound(value.status())) {
    return MakeError(absl::StatusCode::kNotFound, Reason::kInstanceNotFound,
                     absl::StrCat("no instance ", core::Quoted(key->id), " of service ",
                                  core::Quoted(key->service), core::OnNode(key->node)));
  }
  if (!value.ok()) return value.status();
  auto stored = core::DecodeStored(*value);
  if (!stored.ok()) return stored.status();
  const storage::InstanceKeyView view{key->ns, key->service, key->node, key->id};
  *out.mutable_instance() =
      core::ToInstance(view, info ? info->identity->display : key->service, stored->record);
  if (info) SetEndpoint(*info, *key, out);
  out.set_incarnation(stored->words.incarnation);
  out.set_create_seq(stored->words.create_seq);
  out.set_definition_seq(stored->words.definition_seq);
  out.set_visible_seq(stored->words.visible_seq);
  SetLease(stored->record, encoded, leases, out.mutable_lease());
  const bool reported = !stored->record.never_reported();
  for (const v1::Check& check : stored->record.checks()) {
    AddCheck(check, reported, encoded, engine, out);
  }
  SetMaintenance(*key, engine, out);
  out.set_origin(stored->record.origin());
  out.set_fenced(!stored->record.life().empty());
  for (const auto& life : stored->record.superseded()) out.add_superseded(life.incarnation());
  return out;
}

absl::StatusOr<v1::ListServicesResponse> List(const v1::ListServicesRequest& request,
                                              const core::Catalog& catalog) {
  std::string ns = "*";
  if (request.namespace_() != "*") {
    const auto name = core::NormalNamespace(request.namespace_(), "namespace");
    if (!name.ok()) return name.status();
    ns = *name;
  }
  if (absl::Status s = core::CheckText({"", "prefix"}, request.prefix(), 0, 128); !s.ok()) return s;
  if (absl::Status s = core::CheckNumber({"", "page_size"}, request.page_size(), kMaxPage);
      !s.ok()) {
    return s;
  }
  const std::string prefix = base::AsciiLower(request.prefix());
  const uint64_t hash = core::EndpointHash(ns, prefix, 0);
  std::string after;
  if (!request.page_token().empty()) {
    const auto token = DecodePageToken(request.page_token());
    if (!token.ok()) return token.status();
    if (token->request != hash) return PageTokenInvalid("is of another request");
    after = storage::EncodeServiceKey(token->after.node, token->after.id);
  }
  const size_t size = request.page_size() == 0 ? kDefaultPage : request.page_size();
  v1::ListServicesResponse out;
  SetRevision(catalog.revision(), out.mutable_revision());
  std::shared_ptr<const core::ServiceIdentity> last;
  catalog.List(ns, prefix, after, [&](const auto& info) {
    if (static_cast<size_t>(out.services_size()) == size) {
      PageToken token{.request = hash, .after = {}};
      token.after.node = last->ns;
      token.after.id = last->service;
      out.set_next_page_token(EncodePageToken(token));
      return false;
    }
    v1::ServiceSummary* summary = out.add_services();
    summary->set_namespace_(info.identity->ns);
    summary->set_service(info.identity->display);
    summary->set_passing(info.view->count(v1::PASSING));
    summary->set_warning(info.view->count(v1::WARNING));
    summary->set_critical(info.view->count(v1::CRITICAL));
    summary->set_inactive(info.view->inactive());
    summary->set_revision(info.view->seq());
    if (info.identity->settings != nullptr) {
      *summary->mutable_settings() = *info.identity->settings;
    }
    last = info.identity;
    return true;
  });
  return out;
}

}  // namespace muster::rpc
