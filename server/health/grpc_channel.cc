#include "server/health/grpc_channel.h"

#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/net_address.h"

namespace muster::health {
namespace {
struct CallbackQueue;  // only a name
}  // namespace
}  // namespace muster::health

// A stub reaches a channel's queue by members that only classes of gRPC's own may use, this
// template among them; with a type that is ours it is ours.
template <>
class grpc::internal::BlockingUnaryCallImpl<muster::health::CallbackQueue,
                                            muster::health::CallbackQueue> {
 public:
  static void Open(ChannelInterface& channel) { channel.CallbackCQ(); }
};

namespace muster::health {
namespace {

// The process's queue of callbacks goes with the last channel that uses it; when that ends on one
// of the queue's own threads, gRPC 1.51 gives it up twice and aborts. This channel never ends.
void KeepCallbackQueue() {
  using Queue = grpc::internal::BlockingUnaryCallImpl<CallbackQueue, CallbackQueue>;
  static auto& kept = *new std::shared_ptr<grpc::Channel>(
      grpc::CreateChannel("ipv4:127.0.0.1:1", grpc::InsecureChannelCredentials()));
  static std::once_flag opened;
  std::call_once(opened, [] { Queue::Open(*kept); });
}

// Answers of the health service have a few bytes.
constexpr int kMaxMessage = 64 * 1024;
constexpr int kMaxMetadata = 16 * 1024;
constexpr int kPauseMs = 100;
// As gRPC's own default. An attempt goes on after its channel's end.
constexpr absl::Duration kLongestAttempt = absl::Seconds(20);

absl::Duration LongestAttempt(absl::Duration timeout) {
  return std::min(timeout, kLongestAttempt) + absl::Milliseconds(kPauseMs);
}

namespace experimental = grpc::experimental;

std::shared_ptr<grpc::ChannelCredentials> CredentialsFor(const Target& target,
                                                         const std::string& roots) {
  if (!target.tls) return grpc::InsecureChannelCredentials();
  experimental::TlsChannelCredentialsOptions options;
  // The name is looked at by the verifier; a call's own host is always the channel's.
  options.set_check_call_host(false);
  if (target.skip_verify) {
    options.set_verify_server_certs(false);
    options.set_certificate_verifier(std::make_shared<experimental::NoOpCertificateVerifier>());
    return experimental::TlsCredentials(options);
  }
  if (!roots.empty()) {
    options.set_certificate_provider(
        std::make_shared<experimental::StaticDataCertificateProvider>(roots));
    options.watch_root_certs();
  }
  options.set_certificate_verifier(std::make_shared<experimental::HostNameCertificateVerifier>());
  return experimental::TlsCredentials(options);
}

grpc::ChannelArguments ArgumentsFor(const Target& target, absl::Duration timeout) {
  grpc::ChannelArguments arguments;
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, base::FormatHostPort({target.host, target.port}));
  if (target.tls) arguments.SetSslTargetNameOverride(target.server_name);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
  arguments.SetInt(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, kMaxMessage);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadata);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kPauseMs);
  // How long a connection is tried, which a channel's end doesn't end.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                   static_cast<int>(absl::ToInt64Milliseconds(LongestAttempt(timeout))));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kPauseMs);
  arguments.SetUserAgentPrefix("muster-health");
  return arguments;
}

}  // namespace

std::shared_ptr<grpc::Channel> GrpcChannel::To(const boost::asio::ip::tcp::endpoint& endpoint,
                                               const Target& target, bool& fresh) {
  fresh = channel_ == nullptr || endpoint_ != endpoint;
  if (!fresh) return channel_;
  Drop();
  if (!room_->Open(base::RealClock().Steady())) return nullptr;
  KeepCallbackQueue();
  const std::string address =
      base::FormatHostPort({endpoint.address().to_string(), endpoint.port()});
  auto made = grpc::CreateCustomChannel(
      absl::StrCat(endpoint.address().is_v6() ? "ipv6:" : "ipv4:", address),
      CredentialsFor(target, roots_), ArgumentsFor(target, timeout_));
  grpc::Channel* const channel = made.get();
  channel_ = {channel, [made = std::move(made), room = room_,
                        attempt = LongestAttempt(timeout_)](grpc::Channel*) mutable {
                const bool ready = made->GetState(false) == GRPC_CHANNEL_READY;
                made.reset();
                const base::SteadyTime now = base::RealClock().Steady();
                room->Close(ready ? now : now + attempt);
              }};
  endpoint_ = endpoint;
  return channel_;
}

bool GrpcChannel::Keep() {
  if (kept_ || channel_ == nullptr) return kept_;
  kept_ = room_->Keep();
  if (!kept_) channel_.reset();
  return kept_;
}

void GrpcChannel::Drop() {
  channel_.reset();
  if (std::exchange(kept_, false)) room_->LetGo();
}

}  // namespace muster::health
