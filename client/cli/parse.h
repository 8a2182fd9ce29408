// Values of flags, made of text. Pure.
//
// Errors: INVALID_ARGUMENT that quotes the text and says what is allowed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "muster/v1/discovery.pb.h"
#include "muster/v1/types.pb.h"

namespace muster::cli {

// "k=v"; the value may hold '=' and be empty.
absl::StatusOr<std::pair<std::string, std::string>> ParsePair(const std::string& text);
// Such pairs, each key once. `flag` gave them.
absl::StatusOr<std::map<std::string, std::string>> ParsePairs(
    std::string_view flag, const std::vector<std::string>& texts);
// 0 to 65535.
absl::StatusOr<uint32_t> ParsePort(const std::string& text);
// "name=port".
absl::StatusOr<std::pair<std::string, uint32_t>> ParseNamedPort(const std::string& text);
// "id=30s": a check that ReportHealth feeds.
absl::StatusOr<v1::Check> ParseTtlCheck(const std::string& text);
// 32 hexadecimal digits to 16 bytes.
absl::StatusOr<std::string> ParseLife(const std::string& text);
// "region/zone", "region" or "/zone".
absl::StatusOr<v1::Locality> ParseLocality(const std::string& text);
// "3" for both, or "passing/warning": "3/1".
absl::StatusOr<v1::Weight> ParseWeight(const std::string& text);
// passing, warning, any.
absl::StatusOr<v1::Selector::MinHealth> ParseMinHealth(const std::string& text);
// passing, warning, critical.
absl::StatusOr<v1::Health> ParseHealth(const std::string& text);
// "epoch:seq".
absl::StatusOr<v1::Revision> ParseRevision(const std::string& text);
// A lease handle or incarnation: decimal, not 0.
absl::StatusOr<uint64_t> ParseIncarnation(const std::string& text);
// host:port, separated by commas; at least one.
absl::StatusOr<std::vector<std::string>> ParseAddresses(const std::string& text);
// The short form of `register`: "NAME", "NAME:PORT", or "NAME" with "ADDRESS:PORT".
absl::Status ParseQuickInstance(const std::vector<std::string>& words, v1::Instance* instance);

void SetDuration(absl::Duration from, google::protobuf::Duration* to);
absl::Duration ToDuration(const google::protobuf::Duration& from);

}  // namespace muster::cli
