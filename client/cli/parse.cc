#include "client/cli/parse.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/duration_text.h"
#include "base/net_address.h"
#include "base/text.h"

namespace muster::cli {
namespace {

absl::Status Wrong(const std::string& text, const std::string& allowed) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", base::EscapeForTerminal(text), "\": expected ", allowed));
}

}  // namespace

absl::StatusOr<std::pair<std::string, std::string>> ParsePair(const std::string& text) {
  const size_t at = text.find('=');
  if (at == std::string::npos || at == 0) return Wrong(text, "key=value");
  return std::make_pair(text.substr(0, at), text.substr(at + 1));
}

absl::StatusOr<std::map<std::string, std::string>> ParsePairs(
    std::string_view flag, const std::vector<std::string>& texts) {
  std::map<std::string, std::string> out;
  for (const std::string& text : texts) {
    auto pair = ParsePair(text);
    if (!pair.ok()) return pair.status();
    if (out.insert(*pair).second) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        base::Av(flag), " gives ", base::Quoted(pair->first), " twice; allowed: each key once"));
  }
  return out;
}

absl::StatusOr<uint32_t> ParsePort(const std::string& text) {
  uint32_t port = 0;
  if (!absl::SimpleAtoi(text, &port) || port > 65535) return Wrong(text, "a port, 0 to 65535");
  return port;
}

absl::StatusOr<std::pair<std::string, uint32_t>> ParseNamedPort(const std::string& text) {
  const auto pair = ParsePair(text);
  if (!pair.ok()) return Wrong(text, "name=port");
  const auto port = ParsePort(pair->second);
  if (!port.ok()) return port.status();
  return std::make_pair(pair->first, *port);
}

absl::StatusOr<v1::Check> ParseTtlCheck(const std::string& text) {
  const auto pair = ParsePair(text);
  if (!pair.ok()) return Wrong(text, "id=duration, such as main=30s");
  const auto ttl = base::ParseDuration(pair->second);
  if (!ttl.ok()) return ttl.status();
  v1::Check check;
  check.set_id(pair->first);
  SetDuration(*ttl, check.mutable_ttl()->mutable_ttl());
  return check;
}

absl::StatusOr<std::string> ParseLife(const std::string& text) {
  bool good = text.size() == 32;
  for (const char c : text) good = good && absl::ascii_isxdigit(static_cast<unsigned char>(c));
  if (!good) return Wrong(text, "32 hexadecimal digits");
  return absl::HexStringToBytes(text);
}

absl::StatusOr<v1::Locality> ParseLocality(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  if (text.empty() || parts.size() > 2) return Wrong(text, "region/zone");
  v1::Locality locality;
  locality.set_region(parts[0]);
  if (parts.size() == 2) locality.set_zone(parts[1]);
  return locality;
}

absl::StatusOr<v1::Weight> ParseWeight(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  uint32_t passing = 0;
  uint32_t warning = 0;
  if (parts.size() > 2 || !absl::SimpleAtoi(parts.front(), &passing) ||
      !absl::SimpleAtoi(parts.back(), &warning) || passing > 65535 || warning > 65535) {
    return Wrong(text, "a weight of 0 to 65535, or two as passing/warning");
  }
  v1::Weight weight;
  weight.set_passing(passing);
  weight.set_warning(warning);
  return weight;
}

absl::StatusOr<v1::Selector::MinHealth> ParseMinHealth(const std::string& text) {
  const std::string lower = base::AsciiLower(text);
  if (lower == "passing") return v1::Selector::PASSING;
  if (lower == "warning") return v1::Selector::WARNING;
  if (lower == "any") return v1::Selector::ANY;
  return Wrong(text, "passing, warning or any");
}

absl::StatusOr<v1::Health> ParseHealth(const std::string& text) {
  const std::string lower = base::AsciiLower(text);
  if (lower == "passing") return v1::PASSING;
  if (lower == "warning") return v1::WARNING;
  if (lower == "critical") return v1::CRITICAL;
  return Wrong(text, "passing, warning or critical");
}

absl::StatusOr<v1::Revision> ParseRevision(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  uint64_t epoch = 0;
  uint64_t seq = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &epoch) ||
      !absl::SimpleAtoi(parts[1], &seq)) {
    return Wrong(text, "a revision as EPOCH:SEQ");
  }
  v1::Revision revision;
  revision.set_epoch(epoch);
  revision.set_seq(seq);
  return revision;
}

absl::StatusOr<uint64_t> ParseIncarnation(const std::string& text) {
  uint64_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number == 0) return Wrong(text, "a number above 0");
  return number;
}

absl::StatusOr<std::vector<std::string>> ParseAddresses(const std::string& text) {
  std::vector<std::string> addresses;
  for (const absl::string_view part : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    const auto address = base::ParseHostPort(std::string(absl::StripAsciiWhitespace(part)));
    if (!address.ok()) return address.status();
    addresses.push_back(base::FormatHostPort(*address));
  }
  if (addresses.empty()) return Wrong(text, "host:port, or several separated by commas");
  return addresses;
}

absl::Status ParseQuickInstance(const std::vector<std::string>& words, v1::Instance* instance) {
  if (words.empty()) return absl::OkStatus();
  if (words.size() > 2) return Wrong(words[2], "NAME[:PORT], or NAME ADDRESS:PORT");
  const size_t colon = words[0].find(':');
  instance->set_service(words[0].substr(0, colon));
  if (colon != std::string::npos) {
    if (words.size() == 2) return Wrong(words[0], "one port only");
    const auto port = ParsePort(words[0].substr(colon + 1));
    if (!port.ok()) return port.status();
    instance->set_port(*port);
  }
  if (words.size() == 2) {
    const auto address = base::ParseHostPort(words[1]);
    if (!address.ok()) return address.status();
    instance->set_address(address->host);
    instance->set_port(address->port);
  }
  return absl::OkStatus();
}

void SetDuration(absl::Duration from, google::protobuf::Duration* to) {
  to->set_seconds(absl::IDivDuration(from, absl::Seconds(1), &from));
  to->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(from)));
}

absl::Duration ToDuration(const google::protobuf::Duration& from) {
  return absl::Seconds(from.seconds()) + absl::Nanoseconds(from.nanos());
}

}  // namespace muster::cli
