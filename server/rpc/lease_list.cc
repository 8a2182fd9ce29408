#include "server/rpc/lease_list.h"

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "server/core/instance.h"
#include "server/core/service_view.h"
#include "server/rpc/page_token.h"
#include "storage/schema.h"

namespace muster::rpc {
namespace {

constexpr uint32_t kDefaultPage = 1000;
constexpr uint32_t kMaxPage = 10'000;

// Empty = any.
struct Filter {
  std::string ns, service, node;
  bool permanent = false;

  bool Takes(const core::Lease& lease) const {
    if (lease.permanent() && !permanent) return false;
    if (ns.empty() && service.empty() && node.empty()) return true;
    const auto key = storage::DecodeInstanceKey(lease.key());
    return key && (ns.empty() || key->ns == ns) && (service.empty() || key->service == service) &&
           (node.empty() || key->node == node);
  }
  uint64_t Hash() const {
    return core::EndpointHash(absl::StrCat(ns, "/", service), node, permanent ? 1 : 0);
  }
};

absl::StatusOr<Filter> FilterOf(const v1::ListLeasesRequest& request) {
  Filter out{.node = request.node(), .permanent = request.include_permanent()};
  if (!request.namespace_().empty()) {
    auto ns = core::NormalNamespace(request.namespace_(), "namespace");
    if (!ns.ok()) return ns.status();
    out.ns = *std::move(ns);
  }
  if (!request.service().empty()) {
    auto service = core::NormalName("service name", request.service(), "service");
    if (!service.ok()) return service.status();
    out.service = *std::move(service);
  }
  return out;
}

absl::StatusOr<size_t> PageSize(uint32_t asked) {
  if (asked <= kMaxPage) return asked == 0 ? kDefaultPage : asked;
  return base::WithField(
      base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                      absl::StrCat("page_size is ", asked, "; at most ", kMaxPage)),
      "page_size");
}

enum Group : uint32_t { kDue = 0, kRenewedSince = 1, kPermanent = 2 };

// Where a lease stands in the list.
struct Place {
  uint32_t group = kDue;
  int64_t deadline_us = 0;  // in kDue
  std::string_view key;
  friend bool operator<(const Place& a, const Place& b) {
    return std::tie(a.group, a.deadline_us, a.key) < std::tie(b.group, b.deadline_us, b.key);
  }
};

// When a lease's TTL began, in lease time; later after a restart, which spreads deadlines.
int64_t BeginUs(const core::Lease& lease) {
  return core::LeaseTable::DeadlineUs(lease) - absl::ToInt64Microseconds(lease.ttl());
}

// `newest_us`: the latest beginning when the list began. Only later ones are renewals since.
Place PlaceOf(const core::Lease& lease, int64_t newest_us) {
  if (lease.permanent()) return {kPermanent, 0, lease.key()};
  const int64_t deadline_us = core::LeaseTable::DeadlineUs(lease);
  if (BeginUs(lease) > newest_us) return {kRenewedSince, 0, lease.key()};
  return {kDue, deadline_us, lease.key()};
}

struct Row {
  Place place;
  core::LeasePtr lease;  // keeps the key
  friend bool operator<(const Row& a, const Row& b) { return a.place < b.place; }
};

absl::StatusOr<PageToken> TokenOf(const v1::ListLeasesRequest& request, const Filter& filter,
                                  uint64_t run) {
  auto token = DecodePageToken(request.page_token());
  if (!token.ok()) return token.status();
  if (token->request != filter.Hash()) return PageTokenInvalid("is of another request");
  if (token->epoch == run) return token;
  return base::WithField(
      base::MakeError(absl::StatusCode::kAborted, base::Reason::kPageTokenExpired,
                      "page_token is of an earlier run of the server: start again without one"),
      "page_token");
}

void SetDuration(absl::Duration from, google::protobuf::Duration* to) {
  const int64_t us = absl::ToInt64Microseconds(from);
  to->set_seconds(us / 1'000'000);
  to->set_nanos(static_cast<int32_t>(us % 1'000'000) * 1000);
}

void AddLease(const core::Lease& lease, const core::LeaseTable& leases,
              v1::ListLeasesResponse& out) {
  v1::Lease& entry = *out.add_leases();
  if (const auto key = storage::DecodeInstanceKey(lease.key())) {
    *entry.mutable_key() = core::ToProto(*key);
  }
  entry.set_incarnation(lease.incarnation());
  entry.set_permanent(lease.permanent());
  if (lease.permanent()) return;
  SetDuration(lease.ttl(), entry.mutable_ttl());
  SetDuration(leases.Remaining(lease), entry.mutable_remaining());
}

std::string NextToken(const Row& last, const Filter& filter, int64_t newest_us, uint64_t run) {
  PageToken token;
  token.request = filter.Hash();
  token.epoch = run;
  token.seq = static_cast<uint64_t>(last.place.deadline_us);
  token.remaining = static_cast<uint64_t>(newest_us);
  token.after.group = last.place.group;
  token.after.node = std::string(last.place.key);
  return EncodePageToken(token);
}

}  // namespace

absl::StatusOr<v1::ListLeasesResponse> ListLeases(const v1::ListLeasesRequest& request,
                                                  const core::LeaseTable& leases, uint64_t run) {
  const auto filter = FilterOf(request);
  if (!filter.ok()) return filter.status();
  const auto page = PageSize(request.page_size());
  if (!page.ok()) return page.status();
  const bool first = request.page_token().empty();
  absl::StatusOr<PageToken> token = PageToken{};
  if (!first) token = TokenOf(request, *filter, run);
  if (!token.ok()) return token.status();
  const Place after{token->after.group, static_cast<int64_t>(token->seq), token->after.node};

  auto all = leases.All();
  std::erase_if(all, [&](const auto& lease) { return !filter->Takes(*lease); });
  auto newest_us = static_cast<int64_t>(token->remaining);
  if (first) {
    for (const auto& lease : all) newest_us = std::max(newest_us, BeginUs(*lease));
  }
  std::vector<Row> rows;
  for (auto& lease : all) {
    const Place place = PlaceOf(*lease, newest_us);
    if (first || after < place) rows.push_back({place, std::move(lease)});
  }
  const size_t count = std::min(*page, rows.size());
  std::partial_sort(rows.begin(), rows.begin() + static_cast<ptrdiff_t>(count), rows.end());
  v1::ListLeasesResponse out;
  for (size_t i = 0; i < count; ++i) AddLease(*rows[i].lease, leases, out);
  if (count < rows.size())
    out.set_next_page_token(NextToken(rows[count - 1], *filter, newest_us, run));
  return out;
}

}  // namespace muster::rpc
