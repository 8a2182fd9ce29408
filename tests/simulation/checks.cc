#include "tests/simulation/checks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "muster/v1/discovery.pb.h"
#include "server/core/delta.h"
#include "server/core/query.h"
#include "server/core/verify.h"

namespace muster::simulation {
namespace {

std::string Shown(std::string key) {
  std::replace(key.begin(), key.end(), '\0', '/');
  return key;
}

std::string CheckEndpoints(const core::ServiceView& view, const Model& model,
                           const Service& service) {
  auto want = service.instances.begin();
  uint32_t counts[4] = {0, 0, 0, 0};
  for (const core::LeafRef& ref : view.leaves()) {
    for (const core::EndpointEntry& entry : ref.leaf->entries) {
      const std::string_view bytes = ref.leaf->endpoint(entry);
      v1::Endpoint have;
      if (!have.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
        return "an endpoint that can't be read";
      }
      if (want == service.instances.end() || want->first != EndpointName{have.node(), have.id()}) {
        return absl::StrCat("an endpoint ", have.node(), "/", have.id(),
                            " that should not be there now");
      }
      const v1::Endpoint expected = model.EndpointAt(service, want->first);
      if (BytesOf(have) != BytesOf(expected)) {
        return absl::StrCat("an endpoint is {", have.ShortDebugString(), "}, not {",
                            expected.ShortDebugString(), "}");
      }
      ++counts[have.health()];
      ++want;
    }
  }
  if (want != service.instances.end()) {
    return absl::StrCat("the endpoint ", want->first.first, "/", want->first.second, " is missing");
  }
  for (const v1::Health health : {v1::PASSING, v1::WARNING, v1::CRITICAL}) {
    if (view.count(health) != counts[health]) return "counts by health that do not fit";
  }
  return view.size() == service.instances.size() ? "" : "a wrong size";
}

std::string CheckDeletions(const core::ServiceView& view, const Service& service) {
  if (view.floor() != service.floor) {
    return absl::StrCat("floor ", view.floor(), ", not ", service.floor);
  }
  std::vector<std::pair<EndpointName, uint64_t>> have, want;
  for (const auto& chunk : view.tombstones()) {
    for (const core::Tombstone& t : *chunk) have.push_back({{t.node, t.id}, t.seq});
  }
  for (const Deletion& d : service.deletions) want.push_back({d.name, d.seq});
  if (have == want && view.tombstone_count() == want.size()) return "";
  std::string out = "remembers the deletions";
  for (const auto& [name, seq] : have)
    absl::StrAppend(&out, " ", name.first, "/", name.second, "@", seq);
  absl::StrAppend(&out, ", there should be");
  for (const auto& [name, seq] : want)
    absl::StrAppend(&out, " ", name.first, "/", name.second, "@", seq);
  return out;
}

std::string CheckSelections(const core::ServiceView* view, const Model& model,
                            const std::string& service_key) {
  static const auto& selectors = *[] {
    auto* all = new std::vector<std::shared_ptr<const core::Selector>>();
    for (int i = 0; i < kSelectors; ++i) all->push_back(*core::Selector::Compile(SelectorOf(i)));
    return all;
  }();
  for (int i = 0; i < kSelectors; ++i) {
    const Selected want = model.Select(service_key, i);
    const core::Selection have = core::Select(view, *selectors[static_cast<size_t>(i)]);
    if (have.size != want.endpoints.size() || have.checksum != want.checksum ||
        have.empty_reason != want.empty_reason) {
      return absl::StrCat("selector ", i, " takes ", have.size, " endpoints, checksum ",
                          have.checksum, ", ", v1::EmptyReason_Name(have.empty_reason), ", not ",
                          want.endpoints.size(), ", ", want.checksum, ", ",
                          v1::EmptyReason_Name(want.empty_reason));
    }
  }
  return "";
}

std::string CheckService(const core::ServiceInfo& info, const Model& model,
                         const std::string& service_key, const Service& service) {
  const core::ServiceIdentity& identity = *info.identity;
  if (identity.display != service.display) return absl::StrCat("is shown as ", identity.display);
  if (identity.mod_seq != service.mod_seq || identity.created_at_ms != service.created_at_ms) {
    return "has another record";
  }
  if (info.view->seq() > model.seq()) return "is ahead of the store";
  if (info.view->seq() < model.base_seq()) return "is at a revision of another epoch";
  if (auto wrong = CheckEndpoints(*info.view, model, service); !wrong.empty()) return wrong;
  if (auto wrong = CheckDeletions(*info.view, service); !wrong.empty()) return wrong;
  return CheckSelections(info.view.get(), model, service_key);
}

std::string CheckNames(const Server& server, const Model& model) {
  std::vector<std::string> have, want;
  server.catalog.List("*", "", "", [&](const auto& info) {
    have.push_back(storage::EncodeServiceKey(info.identity->ns, info.identity->service));
    return true;
  });
  for (const auto& [key, service] : model.services()) want.push_back(key);
  if (have != want) return absl::StrCat("lists ", have.size(), " names, not ", want.size());
  for (const std::string prefix : {"a", "api", "w"}) {
    have.clear();
    want.clear();
    server.catalog.List("default", prefix, "", [&](const auto& info) {
      have.push_back(info.identity->service);
      return true;
    });
    for (const auto& [key, service] : model.services()) {
      if (service.ns == "default" && service.name.starts_with(prefix)) want.push_back(service.name);
    }
    if (have != want) return absl::StrCat("lists other names of the prefix ", prefix);
  }
  return "";
}

std::string CheckLeases(const Server& server, const Model& model) {
  if (server.leases.size() != model.instance_count()) {
    return absl::StrCat("has ", server.leases.size(), " leases, not ", model.instance_count());
  }
  for (const auto& [service_key, service] : model.services()) {
    for (const auto& [name, instance] : service.instances) {
      const std::string key =
          storage::EncodeInstanceKey(service.ns, service.name, name.first, name.second);
      const auto lease = server.leases.Find(key);
      if (lease == nullptr) return Shown(key) + " has no lease";
      if (lease->spec().incarnation != instance.incarnation ||
          lease->spec().mod_seq != instance.mod_seq ||
          absl::ToInt64Microseconds(lease->spec().ttl) != instance.ttl_us) {
        return Shown(key) + " has a lease of another life or TTL";
      }
      if (instance.ttl_us == 0 || !instance.due.started) continue;
      const int64_t left = absl::ToInt64Microseconds(server.leases.Remaining(*lease));
      const int64_t now = model.LeaseNow();
      if (left < std::max<int64_t>(instance.due.from - now, 0) ||
          left > std::max<int64_t>(instance.due.to - now, 0)) {
        return absl::StrCat(Shown(key), " has ", left, " us left, not ", instance.due.from - now,
                            " to ", instance.due.to - now);
      }
    }
  }
  return "";
}

std::string CheckTotals(const Server& server, const Model& model) {
  const storage::Revision revision = server.catalog.revision();
  if (revision.epoch != model.epoch() || revision.seq != model.seq()) {
    return absl::StrCat("is at revision ", revision.seq, " of epoch ", revision.epoch, ", not ",
                        model.seq(), " of ", model.epoch());
  }
  size_t deletions = 0;
  for (const auto& [key, service] : model.services()) deletions += service.deletions.size();
  if (server.catalog.service_count() != model.services().size() ||
      server.catalog.instance_count() != model.instance_count() ||
      server.catalog.tombstone_count() != deletions) {
    return "counts services, instances or deletions wrong";
  }
  return "";
}

// 0 = same zone, 1 = same region, 2 = the rest.
int Distance(const v1::Locality& near, const v1::Locality& at) {
  const bool same_region = near.region().empty() || near.region() == at.region();
  if (!near.zone().empty() && same_region && near.zone() == at.zone()) return 0;
  return !near.region().empty() && same_region ? 1 : 2;
}

}  // namespace

std::string CheckServer(Server& server, const Model& model) {
  if (auto wrong = CheckTotals(server, model); !wrong.empty()) return "the server " + wrong;
  if (auto wrong = CheckNames(server, model); !wrong.empty()) return "the server " + wrong;
  for (const auto& [key, service] : model.services()) {
    const auto info = server.catalog.GetByKey(key);
    if (!info) return Shown(key) + " is not known";
    if (auto wrong = CheckService(*info, model, key, service); !wrong.empty()) {
      return absl::StrCat(Shown(key), ": ", wrong);
    }
  }
  if (auto wrong = CheckLeases(server, model); !wrong.empty()) return wrong;
  const auto verified =
      core::Verify(server.engine, server.catalog, server.leases, [] { return false; });
  if (!verified.ok()) return std::string(verified.status().message());
  return verified->problems.empty() ? "" : "verify: " + verified->problems.front();
}

std::string CheckQuery(Server& server, const Model& model, const std::string& service_key,
                       base::Rng& rng) {
  const auto info = server.catalog.GetByKey(service_key);
  if (!info) return "";
  const int index = static_cast<int>(rng.Uniform(kSelectors));
  const auto selector = core::Selector::Compile(SelectorOf(index));
  core::Query query{.selector = selector->get(), .near = {}};
  if (rng.Uniform(2) == 0) query.near.set_region(absl::StrCat("r", rng.Uniform(3)));
  if (rng.Uniform(2) == 0) query.near.set_zone(absl::StrCat("z", rng.Uniform(4)));
  query.limit = rng.Uniform(4);
  const bool grouped = !query.near.region().empty() || !query.near.zone().empty();

  std::vector<std::pair<int, EndpointName>> want, have;
  for (const auto& [name, endpoint] : model.Select(service_key, index).endpoints) {
    want.emplace_back(grouped ? Distance(query.near, endpoint.locality()) : 0, name);
  }
  std::sort(want.begin(), want.end());
  core::QueryPosition after;
  for (core::QueryPage page;; query.after = &after) {
    page = core::RunQuery(*info->view, query);
    v1::DiscoverResponse response;
    std::string bytes;
    for (const core::EndpointRun& run : page.runs) bytes.append(run.fields);
    if (!response.ParseFromString(bytes)) return "a page that can't be read";
    for (const v1::Endpoint& endpoint : response.endpoints()) {
      have.push_back({grouped ? Distance(query.near, endpoint.locality()) : 0,
                      {endpoint.node(), endpoint.id()}});
    }
    if (query.limit > 0 && page.count > query.limit) return "a page above the limit";
    if (!page.more) break;
    after = page.last;
  }
  if (have == want) return "";
  return absl::StrCat(Shown(service_key), ": a query with selector ", index, ", limit ",
                      query.limit, " near {", query.near.ShortDebugString(), "} gave ", have.size(),
                      " endpoints, or another order, of ", want.size());
}

}  // namespace muster::simulation
