#include "server/health/socket_run.h"

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/net_address.h"
#include "base/text.h"
#include "server/health/output.h"

namespace muster::health {
namespace {

namespace asio = boost::asio;

// Descriptors, ports or memory of this server, of which the target knows nothing.
bool IsOurLack(int error, const std::string& peer) {
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return true;
    case EADDRNOTAVAIL:
      // Without IPv6 on this machine, no address of it can be assigned: of that, no end is in
      // sight.
      return !peer.starts_with('[');
    default:
      return false;
  }
}

ProbeResult CannotConnect(const std::string& peer, boost::system::error_code error) {
  if (error == asio::error::connection_refused) {
    return Failing(false, absl::StrCat("connection refused by ", peer));
  }
  ProbeResult result =
      Failing(false, absl::StrCat("cannot connect to ", peer, ": ", error.message()));
  if (IsOurLack(error.value(), peer)) result.outcome = ProbeResult::Outcome::kNotRun;
  return result;
}

}  // namespace

SocketRun::SocketRun(ProbeEnvironment& environment, const Target& target, absl::Duration timeout,
                     ProbeDone done)
    : Run(environment, target, timeout, std::move(done)), socket_(environment.loop) {}

void SocketRun::Release() {
  ErrorCode ignored;
  socket_.close(ignored);
}

SocketRun::ErrorCode SocketRun::Open(const asio::ip::tcp& protocol) {
  ErrorCode error;
  const int fd = OpenSocket(environment_.descriptors, protocol.family());
  if (fd < 0) return {errno, boost::system::system_category()};
  socket_.assign(protocol, fd, error);
  if (error) close(fd);
  return error;
}

void SocketRun::Try(const asio::ip::tcp::endpoint& endpoint) {
  if (const ErrorCode error = Open(endpoint.protocol()); error) {
    return asio::post(environment_.loop, Guarded([this, error] { OnConnect(error); }));
  }
  socket_.async_connect(endpoint, Guarded([this](ErrorCode error) { OnConnect(error); }));
}

void SocketRun::AbandonTry() { Release(); }

void SocketRun::OnConnect(ErrorCode error) {
  if (error) {
    Release();
    if (!TryNext()) Finish(CannotConnect(peer(), error));
    return;
  }
  KeepToThis();
  if (!target_.tls) return OnConnected();
  Handshake();
}

void SocketRun::Handshake() {
  NowDoing("in the TLS handshake with", peer());
  TlsTrust& trust = *environment_.tls;
  tls_.emplace(socket_, target_.skip_verify ? trust.trusting() : trust.verifying());
  if (!NameServer()) {
    return Finish(Failing(false, absl::StrCat("cannot ask for ", target_.server_name)));
  }
  tls_->async_handshake(asio::ssl::stream_base::client,
                        Guarded([this](ErrorCode error) { OnHandshake(error); }));
}

bool SocketRun::NameServer() {
  SSL* const ssl = tls_->native_handle();
  const char* const name = target_.server_name.c_str();
  if (base::IsIpLiteral(target_.server_name)) {
    // RFC 6066: no address is named to the server.
    return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
  }
  return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

void SocketRun::OnHandshake(ErrorCode error) {
  if (!error) {
    answered_ = true;
    return OnConnected();
  }
  const long verdict = SSL_get_verify_result(tls_->native_handle());
  if (!target_.skip_verify && verdict != X509_V_OK) {
    return Finish(Failing(
        true, absl::StrCat("the certificate of ", peer(), " is not accepted for ",
                           target_.server_name, ": ", X509_verify_cert_error_string(verdict))));
  }
  Finish(Failing(true, absl::StrCat("no TLS handshake with ", peer(), ": ", error.message())));
}

}  // namespace muster::health
