#include "client/cli/check_view.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/cli/columns.h"

namespace muster::cli {
namespace {

std::string TargetText(const std::string& target, const v1::Instance& instance) {
  return target.empty() ? AddressText(instance.address(), instance.port()) : target;
}

char HealthLetter(v1::Health health) {
  switch (health) {
    case v1::PASSING:
      return 'P';
    case v1::WARNING:
      return 'W';
    case v1::CRITICAL:
      return 'C';
    default:
      return '?';
  }
}

}  // namespace

std::string CheckKindText(const v1::Check& check, const v1::Instance& instance) {
  switch (check.kind_case()) {
    case v1::Check::kHttp:
      return absl::StrCat("http ", check.http().method(), check.http().method().empty() ? "" : " ",
                          check.http().url());
    case v1::Check::kTcp:
      return "tcp " + TargetText(check.tcp().target(), instance);
    case v1::Check::kGrpc:
      return absl::StrCat("grpc ", TargetText(check.grpc().target(), instance),
                          check.grpc().service().empty() ? "" : " ", check.grpc().service());
    case v1::Check::kTtl:
      return "ttl " + SpanText(check.ttl().ttl());
    default:
      return "unknown";
  }
}

v1::Health CheckStatus(const v1::CheckState& state) {
  if (state.has_latest()) return state.latest().status();
  const v1::Health initial = state.check().initial_status();
  return initial == v1::HEALTH_UNSPECIFIED ? v1::CRITICAL : initial;
}

Cell CheckStatusCell(const v1::CheckState& state) {
  const v1::Health status = CheckStatus(state);
  return {HealthName(status), HealthColour(status)};
}

Cell HistoryCell(const v1::CheckState& state) {
  Cell cell;
  for (int i = state.transitions_size() - 1; i >= 0; --i) {
    const v1::Health status = state.transitions(i).status();
    cell.text += HealthLetter(status);
    cell.painted += Paint("●", HealthColour(status), true);
  }
  return cell;
}

const google::protobuf::Timestamp* StatusSince(const v1::CheckState& state) {
  if (!state.transitions().empty() && state.transitions(0).has_at()) {
    return &state.transitions(0).at();
  }
  return nullptr;
}

std::string FirstLine(const std::string& output, size_t columns) {
  const size_t end = output.find_first_of("\r\n");
  const std::string line = base::EscapeForTerminal(std::string_view(output).substr(0, end));
  return CutTo(line, columns);
}

std::string AgeText(absl::Duration age) {
  struct Unit {
    int64_t seconds;
    const char* name;
  };
  constexpr Unit kUnits[] = {{86'400, "d"}, {3'600, "h"}, {60, "m"}, {1, "s"}};
  const int64_t seconds = std::max<int64_t>(absl::ToInt64Seconds(age), 0);
  const auto* const largest =
      std::find_if(std::begin(kUnits), std::end(kUnits) - 1,
                   [&](const Unit& unit) { return seconds >= unit.seconds; });
  std::string text = absl::StrCat(seconds / largest->seconds, largest->name);
  if (largest + 1 == std::end(kUnits)) return text;
  const int64_t rest = seconds % largest->seconds / (largest + 1)->seconds;
  return rest == 0 ? text : absl::StrCat(text, rest, (largest + 1)->name);
}

}  // namespace muster::cli
