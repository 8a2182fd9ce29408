// A run over a TCP connection of its own, with TLS if the target wants it.
//
// The addresses that may be connected to are tried in order. Each but the last gets its share of
// the timeout at most, so that one that swallows packets doesn't use up the time of the next.
//
// Thread safety, ownership: as Run.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "server/health/run.h"

namespace muster::health {

class SocketRun : public Run {
 protected:
  using ErrorCode = boost::system::error_code;

  SocketRun(ProbeEnvironment& environment, const Target& target, absl::Duration timeout,
            ProbeDone done);

  // The connection is there, the TLS handshake done.
  virtual void OnConnected() = 0;

  void Try(const boost::asio::ip::tcp::endpoint& endpoint) override;
  void AbandonTry() override;
  void Release() override;

  // handler(error, bytes). Not called once the run is over.
  template <typename Handler>
  void ReadSome(boost::asio::mutable_buffer buffer, Handler handler) {
    auto guarded = Guarded(std::move(handler));
    if (tls_) return tls_->async_read_some(buffer, std::move(guarded));
    socket_.async_read_some(buffer, std::move(guarded));
  }
  template <typename Handler>
  void Write(boost::asio::const_buffer buffer, Handler handler) {
    auto guarded = Guarded(std::move(handler));
    if (tls_) return boost::asio::async_write(*tls_, buffer, std::move(guarded));
    boost::asio::async_write(socket_, buffer, std::move(guarded));
  }

 private:
  template <typename Handler>
  auto Guarded(Handler handler) {
    return [self = shared_from_this(), this, handler = std::move(handler)](auto... results) {
      if (!over()) handler(results...);
    };
  }

  // Its number is one of those for probes.
  ErrorCode Open(const boost::asio::ip::tcp& protocol);
  void OnConnect(ErrorCode error);
  void Handshake();
  void OnHandshake(ErrorCode error);
  // Says which name the certificate has to have. False: OpenSSL doesn't take it.
  bool NameServer();

  boost::asio::ip::tcp::socket socket_;
  std::optional<boost::asio::ssl::stream<boost::asio::ip::tcp::socket&>> tls_;
};

}  // namespace muster::health
