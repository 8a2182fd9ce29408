#include "client/consul_name.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "base/errors.h"
#include "base/names.h"
#include "base/text.h"

namespace muster::client {
namespace {

using Labels = absl::Span<const absl::string_view>;

constexpr absl::string_view kDomain = ".consul";

absl::string_view WithoutDot(std::string_view host) {
  return absl::StripSuffix(base::Av(host), ".");
}

bool Is(absl::string_view label, absl::string_view word) {
  return absl::EqualsIgnoreCase(label, word);
}

// What may follow the service: nothing, DATACENTER, DATACENTER.dc.
bool IsDatacenter(Labels labels) {
  return labels.size() < 2 || (labels.size() == 2 && Is(labels[1], "dc"));
}

absl::Status NoService(std::string_view host) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kNameInvalid,
                         absl::StrCat(base::Quoted(host),
                                      " names no service; allowed of Consul's names: "
                                      "[TAG.]NAME.service[.DATACENTER].consul, "
                                      "_NAME._TAG[.service][.DATACENTER].consul"));
}

absl::StatusOr<Query> Make(absl::string_view service, std::string tag, Labels datacenter) {
  if (auto s = base::CheckName("service name", base::Sv(service)); !s.ok()) return s;
  Query out;
  out.service = std::string(service);
  if (!tag.empty()) out.tags.push_back(std::move(tag));
  if (!datacenter.empty()) out.datacenter = std::string(datacenter[0]);
  return out;
}

}  // namespace

bool IsConsulName(std::string_view host) {
  return absl::EndsWithIgnoreCase(WithoutDot(host), kDomain);
}

absl::StatusOr<Query> ParseConsulName(std::string_view host) {
  absl::string_view name = WithoutDot(host);
  name.remove_suffix(kDomain.size());
  const std::vector<absl::string_view> all = absl::StrSplit(name, '.');
  const Labels labels(all);
  if (std::any_of(all.begin(), all.end(), [](absl::string_view l) { return l.empty(); })) {
    return NoService(host);
  }
  if (labels.size() >= 2 && labels[0].size() > 1 && labels[0].front() == '_' &&
      labels[1].size() > 1 && labels[1].front() == '_') {
    Labels rest = labels.subspan(2);
    if (!rest.empty() && Is(rest[0], "service")) rest.remove_prefix(1);
    if (!IsDatacenter(rest)) return NoService(host);
    const absl::string_view tag = labels[1].substr(1);
    return Make(labels[0].substr(1), Is(tag, "tcp") ? "" : std::string(tag), rest);
  }
  // The last that can be the word, since a service or a tag may be called so.
  for (size_t at = labels.size(); at-- > 1;) {
    if (!Is(labels[at], "service") || !IsDatacenter(labels.subspan(at + 1))) continue;
    return Make(labels[at - 1], absl::StrJoin(labels.subspan(0, at - 1), "."),
                labels.subspan(at + 1));
  }
  return NoService(host);
}

}  // namespace muster::client
