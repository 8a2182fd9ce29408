#include "client/environment.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace muster::client {
namespace {

// FNV-1a: the same in each run of each build.
uint32_t Hash(const std::vector<std::string>& texts) {
  uint32_t hash = 2'166'136'261U;
  const auto add = [&hash](char c) { hash = (hash ^ static_cast<uint8_t>(c)) * 16'777'619U; };
  for (const std::string& text : texts) {
    std::for_each(text.begin(), text.end(), add);
    add('\0');
  }
  return hash;
}

}  // namespace

std::string EnvironmentVariable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

absl::flat_hash_map<std::string, std::string> EnvironmentVariablesWith(const std::string& suffix) {
  absl::flat_hash_map<std::string, std::string> found;
  for (char** one = environ; one != nullptr && *one != nullptr; ++one) {
    const std::string_view text = *one;
    const size_t equals = text.find('=');
    if (equals == text.npos || !text.substr(0, equals).ends_with(suffix)) continue;
    found.try_emplace(std::string(text.substr(0, equals)), text.substr(equals + 1));
  }
  return found;
}

std::string DefaultSnapshotPath(const std::vector<std::string>& servers) {
  std::string caches = EnvironmentVariable("XDG_CACHE_HOME");
  if (caches.empty() || caches.front() != '/') {
    const std::string home = EnvironmentVariable("HOME");
    if (home.empty() || home.front() != '/') return "";
    caches = home + "/.cache";
  }
  std::vector<std::string> sorted = servers;
  std::sort(sorted.begin(), sorted.end());
  return absl::StrCat(caches, "/muster/", program_invocation_short_name, "-",
                      absl::StrFormat("%08x", Hash(sorted)), ".snapshot");
}

}  // namespace muster::client
