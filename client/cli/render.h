// Text for people: tables, colours, lines. Pure. Everything that came from outside is escaped.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "muster/client/endpoint.h"
#include "muster/v1/discovery.pb.h"
#include "muster/v1/types.pb.h"

namespace muster::cli {

enum class Colour { kNone, kGreen, kYellow, kRed, kDim };

// The text in a colour, when colours are on. The text has to be escaped.
std::string Paint(const std::string& text, Colour colour, bool colours);

struct Cell {
  // Escaped by the table.
  std::string text;
  Colour colour = Colour::kNone;
  // Shown in place of the text when colours are on. As wide as the text; nothing escapes it.
  std::string painted = {};
};

// Columns padded to their widest cell, two spaces between them.
class Table {
 public:
  explicit Table(std::vector<std::string> header);
  // REQUIRES: as many cells as the header has.
  void Add(std::vector<Cell> row);
  bool empty() const { return rows_.size() == 1; }
  // The last column is cut where a line would be wider than `columns`; 0 = there is no such limit.
  std::string Text(bool colours, size_t columns = 0) const;

 private:
  std::vector<std::vector<Cell>> rows_;
};

// Facts about one thing, a line each: name, padded, and text.
class Sheet {
 public:
  // Both are escaped; an empty text adds no line.
  void Add(const std::string& name, const std::string& text, Colour colour = Colour::kNone);
  std::string Text(bool colours) const;

 private:
  std::vector<std::pair<std::string, Cell>> lines_;
};

// "passing"; never the C++ or proto spelling.
std::string HealthName(v1::Health health);
Colour HealthColour(v1::Health health);
std::string StateName(v1::State state);
// A sentence's end: "no service of this name is known".
std::string EmptyReasonText(v1::EmptyReason reason);
// "10.0.0.7:8080"; without port, the host alone. Not escaped.
std::string AddressText(const std::string& host, uint32_t port);
// "1790000000:42", as --min-revision takes it.
std::string RevisionText(const v1::Revision& revision);
// "1m30s".
std::string SpanText(const google::protobuf::Duration& span);
// Over, and the instance is there all the same: held, or about to be removed.
bool IsOverdue(const v1::LeaseState& lease);
// "2026-11-24T03:37:00Z".
std::string TimeText(const google::protobuf::Timestamp& time);
// "3 overdue endpoints are held in zone a since …: the store takes no writes". Not escaped.
std::string HeldText(const v1::Held& held, uint64_t number);
// "api-1 on host-1, api-2, …": ten at most. Not escaped.
std::string HeldIds(const v1::Held& held);
// "1 instance", "2 instances".
std::string Count(uint64_t number, const std::string& noun);
// "namespace/service node id", escaped.
std::string KeyText(const v1::InstanceKey& key);
// "panic true, default TTL 30s"; "" when none is set. Not escaped.
std::string SettingsText(const v1::ServiceSettings& settings);
// The header and row of a table of endpoints.
std::vector<std::string> EndpointHeader();
std::vector<Cell> EndpointRow(const v1::Endpoint& endpoint, bool held);
// One line of `watch`, with its end of line.
std::string WatchLine(char sign, const std::string& service, const client::Endpoint& endpoint,
                      bool colours);

}  // namespace muster::cli
