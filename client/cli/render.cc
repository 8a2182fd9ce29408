#include "client/cli/render.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/duration_text.h"
#include "base/net_address.h"
#include "base/text.h"
#include "client/cli/columns.h"
#include "client/cli/parse.h"

namespace muster::cli {
namespace {

// The last column of a table is never narrower.
constexpr size_t kLeastLast = 20;

std::string Show(const Cell& cell, bool colours) {
  return colours && !cell.painted.empty() ? cell.painted : Paint(cell.text, cell.colour, colours);
}

}  // namespace

std::string Paint(const std::string& text, Colour colour, bool colours) {
  if (!colours || colour == Colour::kNone) return text;
  const char* code = colour == Colour::kGreen    ? "32"
                     : colour == Colour::kYellow ? "33"
                     : colour == Colour::kRed    ? "31"
                                                 : "2";
  return absl::StrCat("\x1b[", code, "m", text, "\x1b[0m");
}

Table::Table(std::vector<std::string> header) {
  std::vector<Cell> row;
  for (std::string& text : header) row.push_back({std::move(text), Colour::kDim});
  rows_.push_back(std::move(row));
}

void Table::Add(std::vector<Cell> row) {
  for (Cell& cell : row) {
    cell.text = cell.text.empty() ? "-" : base::EscapeForTerminal(cell.text);
  }
  rows_.push_back(std::move(row));
}

std::string Table::Text(bool colours, size_t columns) const {
  const size_t last = rows_.front().size() - 1;
  std::vector<size_t> widths(last, 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < last; ++i) widths[i] = std::max(widths[i], Columns(row[i].text));
  }
  const size_t before = std::accumulate(widths.begin(), widths.end(), 2 * last);
  const size_t room = columns > before + kLeastLast ? columns - before : kLeastLast;
  std::string out;
  for (const auto& row : rows_) {
    for (size_t i = 0; i < last; ++i) {
      out += Show(row[i], colours);
      out.append(widths[i] - Columns(row[i].text) + 2, ' ');
    }
    Cell cut = row[last];
    if (columns > 0) cut.text = CutTo(cut.text, room);
    absl::StrAppend(&out, Show(cut, colours), "\n");
  }
  return out;
}

void Sheet::Add(const std::string& name, const std::string& text, Colour colour) {
  if (text.empty()) return;
  lines_.push_back({base::EscapeForTerminal(name), {base::EscapeForTerminal(text), colour}});
}

std::string Sheet::Text(bool colours) const {
  size_t width = 0;
  for (const auto& [name, cell] : lines_) width = std::max(width, Columns(name));
  std::string out;
  for (const auto& [name, cell] : lines_) {
    absl::StrAppend(&out, Paint(name, Colour::kDim, colours),
                    std::string(width - Columns(name) + 2, ' '),
                    Paint(cell.text, cell.colour, colours), "\n");
  }
  return out;
}

std::string HealthName(v1::Health health) {
  switch (health) {
    case v1::PASSING:
      return "passing";
    case v1::WARNING:
      return "warning";
    case v1::CRITICAL:
      return "critical";
    default:
      return "unknown";
  }
}

Colour HealthColour(v1::Health health) {
  switch (health) {
    case v1::PASSING:
      return Colour::kGreen;
    case v1::WARNING:
      return Colour::kYellow;
    case v1::CRITICAL:
      return Colour::kRed;
    default:
      return Colour::kNone;
  }
}

std::string StateName(v1::State state) {
  switch (state) {
    case v1::ACTIVE:
      return "active";
    case v1::DRAINING:
      return "draining";
    case v1::MAINTENANCE:
      return "maintenance";
    default:
      return "unknown";
  }
}

std::string EmptyReasonText(v1::EmptyReason reason) {
  switch (reason) {
    case v1::UNKNOWN_SERVICE:
      return "nobody ever registered under this name";
    case v1::NO_INSTANCES:
      return "the service is known and has no instance now";
    case v1::ALL_UNHEALTHY:
      return "there are instances, but none is healthy and active enough";
    case v1::FILTERED_OUT:
      return "there are instances, but none matches tags, metadata or version";
    default:
      return "no reason given";
  }
}

std::string AddressText(const std::string& host, uint32_t port) {
  return port == 0 ? host : base::FormatHostPort({host, static_cast<uint16_t>(port)});
}

std::string RevisionText(const v1::Revision& revision) {
  return absl::StrCat(revision.epoch(), ":", revision.seq());
}

std::string SpanText(const google::protobuf::Duration& span) {
  return base::FormatDuration(ToDuration(span));
}

bool IsOverdue(const v1::LeaseState& lease) {
  return !lease.permanent() && lease.has_remaining() &&
         ToDuration(lease.remaining()) <= absl::ZeroDuration();
}

std::string TimeText(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(time.seconds()),
                          absl::UTCTimeZone());
}

std::string HeldText(const v1::Held& held, uint64_t number) {
  const std::string where = held.zone().empty() ? "" : " in zone " + held.zone();
  if (number == 0) return absl::StrCat("no overdue endpoint is held", where, " any more");
  std::vector<std::string> why;
  for (const int reason : held.reasons()) {
    if (reason == v1::Held::STORAGE_READ_ONLY) why.push_back("the store takes no writes");
    if (reason == v1::Held::BRAKE) why.push_back("too many fell silent at once");
  }
  return absl::StrCat(Count(number, "overdue endpoint"), number == 1 ? " is" : " are", " held",
                      where, " since ", TimeText(held.since()), why.empty() ? "" : ": ",
                      absl::StrJoin(why, ", "));
}

std::string HeldIds(const v1::Held& held) {
  constexpr int kMost = 10;
  std::vector<std::string> ids;
  for (int i = 0; i < std::min(held.keys_size(), kMost); ++i) {
    const v1::EndpointKey& key = held.keys(i);
    ids.push_back(key.node().empty() ? key.id() : absl::StrCat(key.id(), " on ", key.node()));
  }
  if (held.count() > ids.size()) ids.push_back("…");
  return absl::StrJoin(ids, ", ");
}

std::string Count(uint64_t number, const std::string& noun) {
  return absl::StrCat(number, " ", noun, number == 1 ? "" : "s");
}

std::string KeyText(const v1::InstanceKey& key) {
  std::string text = absl::StrCat(key.namespace_(), "/", key.service());
  if (!key.node().empty()) absl::StrAppend(&text, " node ", key.node());
  return base::EscapeForTerminal(absl::StrCat(text, " id ", key.id()));
}

std::string SettingsText(const v1::ServiceSettings& settings) {
  std::vector<std::string> parts;
  if (settings.has_panic()) parts.push_back(settings.panic() ? "panic true" : "panic false");
  if (settings.has_brake_share()) {
    parts.push_back(absl::StrCat("brake share ", settings.brake_share()));
  }
  if (settings.has_default_ttl()) {
    parts.push_back(absl::StrCat("default TTL ", SpanText(settings.default_ttl())));
  }
  return absl::StrJoin(parts, ", ");
}

std::vector<std::string> EndpointHeader() {
  return {"ADDRESS", "ID", "NODE", "HEALTH", "STATE", "VERSION", "ZONE", "TAGS", "METADATA"};
}

std::vector<Cell> EndpointRow(const v1::Endpoint& endpoint, bool held) {
  const std::map<std::string, std::string> metadata(endpoint.metadata().begin(),
                                                    endpoint.metadata().end());
  return {{AddressText(endpoint.address(), endpoint.port())},
          {endpoint.id()},
          {endpoint.node()},
          {HealthName(endpoint.health()), HealthColour(endpoint.health())},
          {StateName(endpoint.state()) + (held ? ", held" : ""),
           held ? Colour::kYellow : Colour::kNone},
          {endpoint.version()},
          {endpoint.locality().zone()},
          {absl::StrJoin(endpoint.tags(), ",")},
          {absl::StrJoin(metadata, ",", absl::PairFormatter("="))}};
}

std::string WatchLine(char sign, const std::string& service, const client::Endpoint& endpoint,
                      bool colours) {
  const Colour colour = sign == '+' ? Colour::kGreen : sign == '-' ? Colour::kRed : Colour::kYellow;
  const client::Address& address = endpoint.address;
  std::string text =
      absl::StrCat(service, " ", AddressText(address.host, address.port), " ", endpoint.id);
  if (!endpoint.node.empty()) absl::StrAppend(&text, " on ", endpoint.node);
  if (sign != '-') {
    const auto state = static_cast<v1::State>(endpoint.state);
    absl::StrAppend(&text, " ", HealthName(static_cast<v1::Health>(endpoint.health)));
    if (state != v1::ACTIVE) absl::StrAppend(&text, " ", StateName(state));
    if (!endpoint.version.empty()) absl::StrAppend(&text, " version ", endpoint.version);
  }
  return absl::StrCat(Paint(std::string(1, sign), colour, colours), " ",
                      base::EscapeForTerminal(text), "\n");
}

}  // namespace muster::cli
