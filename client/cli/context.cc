#include "client/cli/context.h"

#include <google/protobuf/util/json_util.h>

#include <filesystem>
#include <fstream>
#include <ostream>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/net_address.h"
#include "base/text.h"
#include "client/cli/parse.h"

namespace muster::cli {
namespace {

absl::Status ReadInto(const std::string& path, std::string* to) {
  if (path.empty()) return absl::OkStatus();
  auto text = ReadFile(path);
  if (!text.ok()) return text.status();
  *to = *std::move(text);
  return absl::OkStatus();
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
  if (!absl::IsNotFound(status) || !node.empty()) return Fail(status);
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

int Context::Connect() {
  const auto list = ParseAddresses(addresses);
  if (!list.ok()) return Usage(list.status());
  const auto span = base::ParseDuration(timeout);
  if (!span.ok()) return Usage(span.status());
  ConnectionOptions options;
  options.addresses = *list;
  options.timeout = *span;
  options.tls = tls;
  options.token = token;
  for (const auto& [path, to] : {std::pair{&token_file, &options.token},
                                 {&ca_file, &options.ca},
                                 {&cert_file, &options.cert},
                                 {&key_file, &options.key}}) {
    const absl::Status read = ReadInto(*path, to);
    if (!read.ok()) return Fail(read);
  }
  absl::StripAsciiWhitespace(&options.token);
  if (!base::IsPrintableUtf8(options.token)) return Usage("the token holds control characters");
  // An empty file would switch TLS off.
  for (const auto& [path, pem] :
       {std::pair{&ca_file, &options.ca}, {&cert_file, &options.cert}, {&key_file, &options.key}}) {
    if (path->empty() || absl::StrContains(*pem, "-----BEGIN ")) continue;
    return Fail(absl::InvalidArgumentError(absl::StrCat(*path, " holds no PEM")));
  }
  if (!options.token.empty() && !options.UsesTls()) NoteOpenToken(*this, options.addresses);
  auto opened = Connection::Open(std::move(options));
  if (!opened.ok()) return Usage(opened.status());
  connection = *std::move(opened);
  return kDone;
}

void Context::PrintJson(const google::protobuf::Message& message) {
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text);
  if (status.ok()) out << text << std::endl;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const absl::Status unreadable = absl::NotFoundError("can't read " + path);
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return unreadable;
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) return unreadable;
  std::ostringstream text;
  // An empty file puts no character, which the stream calls a failure.
  if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (file.bad() || text.fail()) return unreadable;
  return std::move(text).str();
}

}  // namespace muster::cli
