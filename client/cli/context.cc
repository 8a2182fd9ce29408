#include "client/cli/context.h"

#include <google/protobuf/util/json_util.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/net_address.h"
#include "base/text.h"
#include "client/cli/parse.h"
#include "client/rpc_error.h"

namespace muster::cli {
namespace {

constexpr size_t kMaxFileBytes = 16 << 20;

absl::Status ReadInto(const std::string& path, std::string* to) {
  if (path.empty()) return absl::OkStatus();
  auto text = ReadFile(path);
  if (!text.ok()) return text.status();
  *to = *std::move(text);
  return absl::OkStatus();
}

absl::Status Unreadable(const std::string& path, int error) {
  return absl::NotFoundError(
      absl::StrCat("can't read ", path, ": ", std::generic_category().message(error)));
}

// Everyone on the way can read it and use it.
void NoteOpenToken(Context& context, const std::vector<std::string>& addresses) {
  for (const std::string& address : addresses) {
    const auto parsed = base::ParseHostPort(address);
    if (!parsed.ok() || base::IsLoopback(parsed->host)) continue;
    context.Note(absl::StrCat("the token goes to ", address, " without TLS; use --tls or --ca"));
    return;
  }
}

}  // namespace

int Context::Fail(const absl::Status& status) {
  err << "muster: " << base::EscapeForTerminal(std::string(status.message())) << std::endl;
  return kFailed;
}

int Context::FailKey(const absl::Status& status, const std::string& node) {
  const bool no_instance =
      absl::IsNotFound(status) && client::ReasonOf(status) != "CHECK_NOT_FOUND";
  if (!no_instance || !node.empty()) return Fail(status);
  return Fail(absl::NotFoundError(
      absl::StrCat(status.message(), "; an instance that has a node needs --node")));
}

void Context::Note(const std::string& message) {
  err << "muster: " << base::EscapeForTerminal(message) << std::endl;
}

int Context::Refuse(const absl::Status& status) {
  return absl::IsInvalidArgument(status) ? Usage(status) : Fail(status);
}

int Context::Usage(const absl::Status& status) { return Usage(std::string(status.message())); }

int Context::Usage(const std::string& message) {
  const bool asks = !message.empty() && message.back() == '?';
  const std::string help =
      absl::StrCat("; see muster ", command, command.empty() ? "" : " ", "--help");
  err << "muster: " << base::EscapeForTerminal(message) << (asks ? "" : help) << std::endl;
  return kWrongUsage;
}

int Context::ReadOptions(ConnectionOptions* options) {
  const auto list = ParseAddresses(addresses);
  if (!list.ok()) return Usage(list.status());
  const auto span = base::ParseDuration(timeout);
  if (!span.ok()) return Usage(absl::StrCat("--timeout: ", span.status().message()));
  if (*span <= absl::ZeroDuration()) return Usage("--timeout: expected more than 0s");
  options->addresses = *list;
  options->timeout = *span;
  client::Access& access = options->access;
  access.tls = tls;
  access.token = token;
  for (const auto& [path, to] : {std::pair{&token_file, &access.token},
                                 {&ca_file, &access.ca},
                                 {&cert_file, &access.cert},
                                 {&key_file, &access.key}}) {
    const absl::Status read = ReadInto(*path, to);
    if (!read.ok()) return Fail(read);
  }
  absl::StripAsciiWhitespace(&access.token);
  if (!base::IsPrintableUtf8(access.token)) return Usage("the token holds control characters");
  // An empty file would switch TLS off.
  for (const auto& [path, pem] :
       {std::pair{&ca_file, &access.ca}, {&cert_file, &access.cert}, {&key_file, &access.key}}) {
    if (path->empty() || absl::StrContains(*pem, "-----BEGIN ")) continue;
    return Fail(absl::InvalidArgumentError(absl::StrCat(*path, " holds no PEM")));
  }
  if (!access.token.empty() && !access.UsesTls()) NoteOpenToken(*this, options->addresses);
  return kDone;
}

int Context::Connect() {
  ConnectionOptions options;
  if (const int code = ReadOptions(&options)) return code;
  auto opened = Connection::Open(std::move(options));
  if (!opened.ok()) return Usage(opened.status());
  connection = *std::move(opened);
  return kDone;
}

int Context::MakeClient(ConnectionOptions flags, client::Options options,
                        std::optional<client::Client>* client) {
  options.servers = std::move(flags.addresses);
  options.token = std::move(flags.access.token);
  options.tls = flags.access.tls;
  options.ca = std::move(flags.access.ca);
  options.cert = std::move(flags.access.cert);
  options.key = std::move(flags.access.key);
  options.environment = false;  // flags have asked it
  auto made = client::Client::Create(std::move(options));
  if (!made.ok()) return Usage(made.status());
  *client = *std::move(made);
  return kDone;
}

void Context::PrintJson(const google::protobuf::Message& message) {
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text);
  if (status.ok()) out << text << std::endl;
}

absl::Status OpenFile(const std::string& path, std::ifstream* file) {
  std::error_code error;
  // Opens well, and fails when it is read.
  if (std::filesystem::is_directory(path, error)) return Unreadable(path, EISDIR);
  errno = 0;
  file->open(path, std::ios::binary);
  return file->is_open() ? absl::OkStatus() : Unreadable(path, errno);
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file;
  const absl::Status opened = OpenFile(path, &file);
  if (!opened.ok()) return opened;
  errno = 0;
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return Unreadable(path, errno);
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() <= kMaxFileBytes) return text;
  return absl::InvalidArgumentError(
      absl::StrCat(base::EscapeForTerminal(path), " has more than ", kMaxFileBytes, " bytes"));
}

}  // namespace muster::cli
