// Whose certificates are believed: the authorities of the configured file, or those of the system.
//
// Thread safety: const after Create. Cost: the file is read once, at Create; a change of it takes a
// restart. Those of the system are looked up when a certificate asks for them.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace muster::health {

class TlsTrust {
 public:
  // `ca`: a PEM file; "" = the system's. Errors: INVALID_ARGUMENT that names health.ca.
  static absl::StatusOr<std::unique_ptr<TlsTrust>> Create(const std::string& ca);

  boost::asio::ssl::context& verifying() { return verifying_; }
  // For targets whose certificate is not looked at.
  boost::asio::ssl::context& trusting() { return trusting_; }
  // The configured file's text; "" = the system's.
  const std::string& roots() const { return roots_; }

 private:
  TlsTrust();

  boost::asio::ssl::context verifying_;
  boost::asio::ssl::context trusting_;
  std::string roots_;
};

}  // namespace muster::health
