#include "client/cli/context.h"

#include <google/protobuf/util/json_util.h>
#include <signal.h>
#include <time.h>

#include <fstream>
#include <iterator>
#include <ostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/text.h"
#include "client/cli/parse.h"

namespace muster::cli {
namespace {

sigset_t EndSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

absl::Status ReadInto(const std::string& path, std::string* to) {
  if (path.empty()) return absl::OkStatus();
  auto text = ReadFile(path);
  if (!text.ok()) return text.status();
  *to = *std::move(text);
  return absl::OkStatus();
}

}  // namespace

int Context::Fail(const absl::Status& status) {
  err << "muster: " << base::EscapeForTerminal(std::string(status.message())) << std::endl;
  return kFailed;
}

int Context::Usage(const absl::Status& status) { return Usage(std::string(status.message())); }

int Context::Usage(const std::string& message) {
  err << "muster: " << base::EscapeForTerminal(message) << "; see muster --help" << std::endl;
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
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad()) return absl::NotFoundError("can't read " + path);
  return text;
}

bool WaitForSignal(absl::Duration timeout) {
  const sigset_t set = EndSignals();
  const timespec span = absl::ToTimespec(std::max(timeout, absl::ZeroDuration()));
  return sigtimedwait(&set, nullptr, &span) > 0;
}

void BlockSignals() {
  const sigset_t set = EndSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

}  // namespace muster::cli
