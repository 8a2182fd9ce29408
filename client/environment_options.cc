#include "client/environment_options.h"

#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/environment.h"

namespace muster::client {
namespace {

constexpr size_t kMaxPemBytes = 1 << 20;
constexpr char kThisMachine[] = "127.0.0.1:8502";

// An empty file would turn TLS off.
absl::Status ReadPem(const std::string& variable, std::string* pem) {
  const std::string path = EnvironmentVariable(variable);
  if (path.empty()) return absl::OkStatus();
  errno = 0;
  std::ifstream file(path);
  pem->resize(kMaxPemBytes + 1);
  file.read(pem->data(), kMaxPemBytes + 1);
  pem->resize(static_cast<size_t>(file.gcount()));
  if (file.bad() || !file.is_open()) {
    return absl::InvalidArgumentError(
        absl::StrCat(variable, ": can't read the file: ", std::generic_category().message(errno)));
  }
  if (pem->size() > kMaxPemBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(variable, ": the file has more than ", kMaxPemBytes, " bytes"));
  }
  if (absl::StrContains(*pem, "-----BEGIN ")) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(variable, ": the file holds no PEM"));
}

}  // namespace

absl::Status FillFromEnvironment(Options* options) {
  if (options->environment) {
    const std::string servers = EnvironmentVariable("MUSTER_ADDR");
    if (options->servers.empty() && !servers.empty()) {
      options->servers = absl::StrSplit(servers, ',');
      for (std::string& server : options->servers) absl::StripAsciiWhitespace(&server);
    }
    if (options->token.empty()) {
      options->token = EnvironmentVariable("MUSTER_TOKEN");
      absl::StripAsciiWhitespace(&options->token);
    }
    const bool sets_tls =
        options->tls || !options->ca.empty() || !options->cert.empty() || !options->key.empty();
    const std::pair<const char*, std::string*> files[] = {{"MUSTER_CA", &options->ca},
                                                          {"MUSTER_CERT", &options->cert},
                                                          {"MUSTER_KEY", &options->key}};
    for (const auto& [variable, pem] : files) {
      if (sets_tls) break;
      if (absl::Status status = ReadPem(variable, pem); !status.ok()) return status;
    }
  }
  if (options->servers.empty()) options->servers = {kThisMachine};
  return absl::OkStatus();
}

}  // namespace muster::client
