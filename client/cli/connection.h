// Calls to one of several servers: channels, fail-over, credentials, errors.
//
//   auto connection = Connection::Open(options);
//   absl::Status status = CallUnary<v1::Admin>(**connection, &v1::Admin::Stub::Status, request,
//   &reply);
//
// Thread safety: none. The server that answered last is asked first.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/channels.h"

namespace grpc {
class Channel;
class ChannelInterface;
class ChannelCredentials;
class ClientContext;
class Status;
}  // namespace grpc

namespace muster::cli {

class Interrupt;

struct ConnectionOptions {
  // host:port; at least one.
  std::vector<std::string> addresses;
  client::Access access;
  // Of one call.
  absl::Duration timeout = absl::Seconds(10);
};

// One line: code, reason, the server's words, and when to try again. The text is escaped. The
// reason is also there for client::ReasonOf.
absl::Status FromRpc(const grpc::Status& status);

class Connection {
 public:
  using Rpc = std::function<grpc::Status(const std::shared_ptr<grpc::ChannelInterface>& channel,
                                         grpc::ClientContext* context)>;

  // Connects lazily. Errors: INVALID_ARGUMENT when the certificate and key don't go together.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(ConnectionOptions options);
  ~Connection();

  // Tries each server in turn while they are UNAVAILABLE or take longer than their share of the
  // time-out to answer a connection. A call whose outcome is unknown is not repeated: that of one
  // that was sent and not answered in time, too. The error names the server.
  absl::Status Call(const Rpc& rpc);
  // For streams: the present server only. No deadline unless one is given.
  absl::Status CallStream(const Rpc& rpc, absl::Duration timeout = absl::InfiniteDuration());
  // The present server failed: the next CallStream goes to another.
  void Rotate();

  // From now on a call may take so much longer than its time-out: the server waits for others.
  void LetCallsWait(absl::Duration longer) { wait_ = longer; }
  // From now on a Call that tries every server takes no longer than this in all.
  void LimitCalls(absl::Duration in_all);
  // Its signal cancels the calls from now on. Null: nothing does. REQUIRES: outlives them.
  void CancelBy(Interrupt* interrupt) { interrupt_ = interrupt; }

  const std::string& address() const;
  size_t servers() const { return channels_.size(); }

 private:
  explicit Connection(ConnectionOptions options);
  // Of the present server; made when there is none.
  grpc::Channel& PresentChannel();
  // The present server is connected to anew the next time.
  void Forget();
  // False: within `patience` it neither took nor refused a connection.
  bool Answers(absl::Duration patience);
  absl::Status CallHere(const Rpc& rpc, absl::Duration timeout);

  const ConnectionOptions options_;
  std::shared_ptr<grpc::ChannelCredentials> credentials_;
  // By address; null until asked for.
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  size_t current_ = 0;
  // Of one try.
  absl::Duration timeout_;
  absl::Duration wait_ = absl::ZeroDuration();
  Interrupt* interrupt_ = nullptr;
};

// REQUIRES: the service's generated header is included.
template <typename Service, typename Request, typename Response>
absl::Status CallUnary(Connection& connection,
                       grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                       const Request& request, Response* response) {
  return connection.Call([&](const auto& channel, grpc::ClientContext* context) {
    response->Clear();
    const auto stub = Service::NewStub(channel);
    return (stub.get()->*method)(context, request, response);
  });
}

}  // namespace muster::cli
