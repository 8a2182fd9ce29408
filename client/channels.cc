#include "client/channels.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

namespace muster::client {
namespace {

// Of the largest message that is received: snapshots come in parts, pages of lists are 1 MiB.
constexpr int kMaxMessageBytes = 64 << 20;

}  // namespace

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const Access& access) {
  if (!access.UsesTls()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = access.ca;
  ssl.pem_cert_chain = access.cert;
  ssl.pem_private_key = access.key;
  return grpc::SslCredentials(ssl);
}

std::shared_ptr<grpc::Channel> OpenChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // More often than servers allow without calls, but not than they tell their progress.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // Whoever makes a new channel wants to connect anew, at once.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

}  // namespace muster::client
