#include "client/fallback/overrides.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "base/log.h"
#include "base/text.h"

namespace muster::client {
namespace {

constexpr std::string_view kSuffix = "_URL";

// "user-service" -> "USER_SERVICE"
std::string StemOf(std::string_view service) {
  std::string stem(service);
  for (char& c : stem) {
    const auto byte = static_cast<unsigned char>(c);
    c = absl::ascii_isalnum(byte) ? absl::ascii_toupper(byte) : '_';
  }
  return stem;
}

}  // namespace

Overrides::Overrides(const absl::flat_hash_map<std::string, std::string>& variables,
                     const std::string& prefix) {
  for (const auto& [name, value] : variables) {
    if (!absl::StartsWith(name, prefix) || !absl::EndsWith(name, base::Av(kSuffix))) continue;
    if (name.size() <= prefix.size() + kSuffix.size() || value.empty()) continue;
    auto target = ParseTarget(value);
    if (!target.ok()) {
      base::Log(base::LogLevel::kWarn, "a variable of the environment names no service",
                {{"variable", base::EscapeForTerminal(name)},
                 {"error", std::string(target.status().message())}});
      continue;
    }
    targets_[name.substr(prefix.size(), name.size() - prefix.size() - kSuffix.size())] =
        *std::move(target);
  }
}

std::string Overrides::VariableOf(std::string_view service) {
  return StemOf(service) + std::string(kSuffix);
}

const Target* Overrides::Find(std::string_view service) const {
  if (targets_.empty()) return nullptr;
  const auto found = targets_.find(StemOf(service));
  return found == targets_.end() ? nullptr : &found->second;
}

}  // namespace muster::client
