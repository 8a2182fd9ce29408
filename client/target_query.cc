#include "client/target_query.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/errors.h"
#include "base/names.h"
#include "base/text.h"

namespace muster::client {
namespace {

using base::Av;
using base::Quoted;

// As the server has it for a selector.
constexpr size_t kMaxTags = 16;
constexpr size_t kMaxMetadata = 16;
constexpr std::string_view kKeys[] = {"tag",  "meta.KEY", "namespace", "version", "region",
                                      "zone", "port",     "health",    "draining"};

absl::Status Wrong(std::string_view problem) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kNameInvalid, problem);
}

std::optional<std::string> Decode(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const absl::string_view digits = text.substr(i + 1, 2);
    if (digits.size() < 2 || !std::all_of(digits.begin(), digits.end(), absl::ascii_isxdigit)) {
      return std::nullopt;
    }
    out += absl::HexStringToBytes(digits);
    i += 2;
  }
  return out;
}

absl::Status UnknownKey(std::string_view key) {
  const std::string near = base::NearestName(key, kKeys);
  std::string message = absl::StrCat("has the unknown condition ", Quoted(key), "; allowed: ");
  for (const std::string_view known : kKeys) {
    absl::StrAppend(&message, known == kKeys[0] ? "" : ", ", Av(known));
  }
  if (!near.empty()) absl::StrAppend(&message, "; did you mean ", near, "?");
  return Wrong(message);
}

absl::Status ReadHealth(const std::string& value, Query& query) {
  if (value == "passing") {
    query.min_health = Query::MinHealth::kPassing;
  } else if (value == "warning") {
    query.min_health = Query::MinHealth::kWarning;
  } else if (value == "any") {
    query.min_health = Query::MinHealth::kAny;
  } else {
    return Wrong(absl::StrCat("has health=", Quoted(value), "; allowed: passing, warning, any"));
  }
  return absl::OkStatus();
}

absl::Status ReadPair(const std::string& key, std::string value, Query& query) {
  if (absl::string_view name = key; absl::ConsumePrefix(&name, "meta.")) {
    if (name.empty()) return Wrong("has meta. without a key");
    if (!query.metadata.emplace(std::string(name), std::move(value)).second) {
      return Wrong(absl::StrCat("has ", Quoted(key), " twice"));
    }
    if (query.metadata.size() <= kMaxMetadata) return absl::OkStatus();
    return Wrong(absl::StrCat("has more than ", kMaxMetadata, " of meta.KEY"));
  }
  if (value.empty()) return Wrong(absl::StrCat("has ", Quoted(key), " without a value"));
  if (key == "tag") {
    query.tags.push_back(std::move(value));
    if (query.tags.size() <= kMaxTags) return absl::OkStatus();
    return Wrong(absl::StrCat("has more than ", kMaxTags, " tags"));
  }
  if (key == "health") return ReadHealth(value, query);
  if (key == "draining") {
    if (value != "true" && value != "false") {
      return Wrong(absl::StrCat("has draining=", Quoted(value), "; allowed: true, false"));
    }
    query.include_draining = value == "true";
    return absl::OkStatus();
  }
  if (key == "namespace") {
    if (auto s = base::CheckName("namespace", value); !s.ok()) {
      return Wrong(absl::StrCat("is wrong: ", s.message()));
    }
    query.ns = std::move(value);
    return absl::OkStatus();
  }
  for (const auto& [name, field] : {std::pair("version", &Query::version),
                                    {"region", &Query::region},
                                    {"zone", &Query::zone},
                                    {"port", &Query::port_name}}) {
    if (key != name) continue;
    query.*field = std::move(value);
    return absl::OkStatus();
  }
  return UnknownKey(key);
}

}  // namespace

absl::Status ReadQuery(std::string_view text, Query& query) {
  std::set<std::string> once;
  for (const absl::string_view pair : absl::StrSplit(Av(text), '&')) {
    const std::pair<absl::string_view, absl::string_view> halves =
        absl::StrSplit(pair, absl::MaxSplits('=', 1));
    auto key = Decode(halves.first);
    auto value = Decode(halves.second);
    if (!key || !value) {
      return Wrong(absl::StrCat("has ", Quoted(base::Sv(pair)),
                                ", in which a '%' is not followed by two hexadecimal digits"));
    }
    if (!base::IsPrintableUtf8(*key) || !base::IsPrintableUtf8(*value)) {
      return Wrong(absl::StrCat("has ", Quoted(base::Sv(pair)), ", which is no printable UTF-8"));
    }
    if (*key != "tag" && !once.insert(*key).second) {
      return Wrong(absl::StrCat("has ", Quoted(*key), " twice"));
    }
    if (auto s = ReadPair(*key, *std::move(value), query); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace muster::client
