#include "client/cli/connection.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/text.h"
#include "client/cli/interrupt.h"
#include "client/rpc_error.h"

namespace muster::cli {
namespace {

absl::Status WithAddress(const absl::Status& status, const std::string& address) {
  if (status.ok()) return status;
  return client::WithReason(
      absl::Status(status.code(), absl::StrCat(address, ": ", status.message())),
      client::ReasonOf(status));
}

// From now on.
gpr_timespec Span(absl::Duration duration) {
  return gpr_time_from_micros(absl::ToInt64Microseconds(duration), GPR_TIMESPAN);
}

// With what people can do about it.
std::string PlainMessage(const grpc::Status& status) {
  const std::string& message = status.error_message();
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED && message.empty()) {
    return "the server does not know this call";
  }
  if (absl::StartsWith(message, "failed to connect") && absl::EndsWith(message, "Socket closed")) {
    return "can't connect: the server closes the connection; it may want TLS (--ca or --tls), "
           "or a certificate (--cert and --key), or have as many connections as it takes";
  }
  if (message == "empty address list: ") {
    return "can't connect; --ca, --cert or --key may be wrong";
  }
  return client::PlainMessage(status);
}

}  // namespace

absl::Status FromRpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  const client::RpcDetails details = client::DetailsOf(status);
  std::string text = absl::StatusCodeToString(code);
  if (!details.reason.empty()) absl::StrAppend(&text, " (", details.reason, ")");
  absl::StrAppend(&text, ": ", PlainMessage(status));
  if (details.retry_after > absl::ZeroDuration()) {
    absl::StrAppend(&text, "; try again in ", base::FormatDuration(details.retry_after));
  }
  return client::WithReason(absl::Status(code, base::EscapeForTerminal(text)), details.reason);
}

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(ConnectionOptions options) {
  if (options.addresses.empty()) return absl::InvalidArgumentError("no server address");
  if (options.access.cert.empty() != options.access.key.empty()) {
    return absl::InvalidArgumentError("--cert and --key go together");
  }
  return std::unique_ptr<Connection>(new Connection(std::move(options)));
}

Connection::Connection(ConnectionOptions options)
    : options_(std::move(options)),
      credentials_(client::CredentialsOf(options_.access)),
      channels_(options_.addresses.size()),
      timeout_(options_.timeout) {}

Connection::~Connection() = default;

absl::Status Connection::Call(const Rpc& rpc) {
  const absl::Duration patience = timeout_ / static_cast<int64_t>(channels_.size());
  absl::Duration left = timeout_;
  absl::Status status;
  for (size_t others = channels_.size(); others-- > 0;) {
    if (others > 0 && !Answers(patience)) {
      // Nothing was sent. The call, with what is left of its time, goes to the next.
      left -= patience;
      Forget();
      Rotate();
      continue;
    }
    status = CallHere(rpc, left + wait_);
    // Whether it was done isn't known, so it isn't repeated; but the next one goes elsewhere.
    if (absl::IsDeadlineExceeded(status)) Forget();
    if (absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status)) Rotate();
    if (!absl::IsUnavailable(status) || client::ReasonOf(status) == "OUTCOME_UNKNOWN")
      return status;
  }
  return status;
}

bool Connection::Answers(absl::Duration patience) {
  // Short, so that a signal doesn't wait.
  const absl::Duration slice = absl::Milliseconds(20);
  grpc::Channel& channel = PresentChannel();
  grpc_connectivity_state state = channel.GetState(true);
  while (state == GRPC_CHANNEL_IDLE || state == GRPC_CHANNEL_CONNECTING) {
    // The call itself ends by the signal.
    if (interrupt_ != nullptr && interrupt_->came()) return true;
    if (patience <= absl::ZeroDuration()) return false;
    channel.WaitForStateChange(state, Span(std::min(slice, patience)));
    patience -= slice;
    state = channel.GetState(true);
  }
  return true;
}

absl::Status Connection::CallStream(const Rpc& rpc, absl::Duration timeout) {
  return CallHere(rpc, timeout);
}

void Connection::LimitCalls(absl::Duration in_all) {
  timeout_ = std::min(options_.timeout, in_all / static_cast<int64_t>(channels_.size()));
}

void Connection::Rotate() { current_ = (current_ + 1) % channels_.size(); }

const std::string& Connection::address() const { return options_.addresses[current_]; }

void Connection::Forget() { channels_[current_] = nullptr; }

grpc::Channel& Connection::PresentChannel() {
  auto& channel = channels_[current_];
  if (channel == nullptr) channel = client::OpenChannel(address(), credentials_);
  return *channel;
}

absl::Status Connection::CallHere(const Rpc& rpc, absl::Duration timeout) {
  PresentChannel();
  grpc::ClientContext context;
  if (!options_.access.token.empty()) {
    context.AddMetadata("authorization", "Bearer " + options_.access.token);
  }
  if (timeout != absl::InfiniteDuration()) context.set_deadline(Span(timeout));
  const Interrupt::Scope scope(interrupt_, &context);
  const absl::Status status = FromRpc(rpc(channels_[current_], &context));
  // Nobody answered: the next try connects anew, at once. The pauses between tries are the
  // caller's; gRPC's own would go on after the server has come back.
  if (absl::IsUnavailable(status) && client::ReasonOf(status).empty()) Forget();
  return WithAddress(status, address());
}

}  // namespace muster::cli
