// gRPC channels to registry servers.
//
// Thread safety: pure. A channel connects by itself, in the background.
#pragma once

#include <memory>
#include <string>

namespace grpc {
class Channel;
class ChannelCredentials;
}  // namespace grpc

namespace muster::client {

// How servers are spoken to. TLS is on when any of the four is set. PEM, not file names.
struct Access {
  std::string token;  // sent as "authorization: Bearer …"; "" = none
  bool tls = false;
  std::string ca;
  std::string cert;  // goes together with key
  std::string key;

  bool UsesTls() const { return tls || !ca.empty() || !cert.empty(); }
};

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const Access& access);

// A connection of its own, with keepalive: asked after 30 s, given up 10 s later.
std::shared_ptr<grpc::Channel> OpenChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials);

}  // namespace muster::client
