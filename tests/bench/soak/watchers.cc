#include "tests/bench/soak/watchers.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/thread.h"
#include "muster/v1/discovery.grpc.pb.h"
#include "tests/bench/fixture.h"

namespace muster::bench {

class Watchers::Stream {
 public:
  // Watches services_each services from `first` on.
  Stream(Watchers& owner, size_t first)
      : owner_(owner),
        stub_(v1::Discovery::NewStub(owner.channel_)),
        stream_(stub_->Watch(&context_)) {
    const WatcherOptions& options = owner.options_;
    for (size_t i = 0; i < options.services_each; ++i) {
      v1::WatchRequest request;
      request.mutable_subscribe()->set_sub_id(i + 1);
      request.mutable_subscribe()->set_service(ServiceName((first + i) % options.services));
      stream_->Write(request);
    }
    thread_ = base::NamedThread("watcher", [this] { Read(); });
  }
  ~Stream() {
    ending_ = true;
    context_.TryCancel();
    thread_.Join();
    static_cast<void>(stream_->Finish());
  }

 private:
  void Read() {
    v1::WatchResponse response;
    while (stream_->Read(&response)) {
      ++owner_.messages_;
      if (response.has_error()) break;
    }
    if (!ending_) ++owner_.broken_;
  }

  Watchers& owner_;
  const std::unique_ptr<v1::Discovery::Stub> stub_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1::WatchRequest, v1::WatchResponse>> stream_;
  std::atomic<bool> ending_{false};
  base::NamedThread thread_;
};

Watchers::Watchers(const std::string& address, const WatcherOptions& options)
    : options_(options),
      channel_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())) {
  for (size_t i = 0; i < options.streams; ++i) Open();
}

Watchers::~Watchers() = default;

void Watchers::Open() {
  streams_.push_back(
      std::make_unique<Stream>(*this, opened_++ * options_.services_each % options_.services));
}

void Watchers::Reopen(size_t count) {
  count = std::min(count, streams_.size());
  streams_.erase(streams_.begin(), streams_.begin() + static_cast<std::ptrdiff_t>(count));
  for (size_t i = 0; i < count; ++i) Open();
}

absl::Status Watchers::status() const {
  if (broken_ == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(broken_.load(), " watch streams ended by themselves"));
}

}  // namespace muster::bench
