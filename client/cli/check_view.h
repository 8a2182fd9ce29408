// Checks of an instance and what became of them, as people read them. Pure.
//
// Errors: none. What came from outside is not escaped here: tables and sheets do that.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "client/cli/render.h"
#include "muster/v1/discovery.pb.h"
#include "muster/v1/types.pb.h"

namespace muster::cli {

// "http /health", "tcp 10.0.0.7:6379", "ttl 30s"; the instance's address when it has no target.
std::string CheckKindText(const v1::Check& check, const v1::Instance& instance);
// Of the latest result; before the first, what the check starts with.
v1::Health CheckStatus(const v1::CheckState& state);
Cell CheckStatusCell(const v1::CheckState& state);
// A cell for each change of status, oldest left: a dot, or P, W, C where there are no colours.
Cell HistoryCell(const v1::CheckState& state);
// Since when the status is what it is; null before the first result.
const google::protobuf::Timestamp* StatusSince(const v1::CheckState& state);
// What there is before the first line break, at most `columns` wide, and escaped.
std::string FirstLine(const std::string& output, size_t columns);
// "42s", "3m12s", "5d3h": the two largest units. Never less than 0.
std::string AgeText(absl::Duration age);

}  // namespace muster::cli
