#include "client/grpc_watch.h"

#include <utility>

#include "client/grpc_stream.h"
#include "muster/v1/discovery.grpc.pb.h"

namespace muster::client {
namespace {

using Call = GrpcStream<v1::WatchRequest, v1::WatchResponse>;

class Stream : public WatchStream {
 public:
  Stream(const std::shared_ptr<grpc::Channel>& channel, const std::string& token,
         WatchTransport::Callbacks callbacks)
      : stub_(v1::Discovery::NewStub(channel)),
        call_(channel, token,
              [this](grpc::ClientContext* context, Call::Reactor* reactor) {
                stub_->async()->Watch(context, reactor);
              },
              {.on_message =
                   [on_event = std::move(callbacks.on_event)](v1::WatchResponse event) {
                     on_event(std::move(event));
                     return false;
                   },
               .on_end = std::move(callbacks.on_end)}) {}
  void Write(v1::WatchRequest request) override { call_.Write(std::move(request)); }
  void ReadNext() override { call_.ReadNext(); }

 private:
  const std::unique_ptr<v1::Discovery::Stub> stub_;
  Call call_;
};

}  // namespace

GrpcWatchTransport::GrpcWatchTransport(std::vector<std::string> addresses, Access access)
    : addresses_(std::move(addresses)),
      access_(std::move(access)),
      credentials_(CredentialsOf(access_)) {}

GrpcWatchTransport::~GrpcWatchTransport() = default;

std::unique_ptr<WatchStream> GrpcWatchTransport::Open(size_t server, Callbacks callbacks) {
  return std::make_unique<Stream>(OpenChannel(addresses_[server], credentials_), access_.token,
                                  std::move(callbacks));
}

}  // namespace muster::client
