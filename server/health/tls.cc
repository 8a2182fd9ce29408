#include "server/health/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <boost/asio/buffer.hpp>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"

namespace muster::health {
namespace {

namespace ssl = boost::asio::ssl;

absl::Status BadCa(const std::string& path, std::string_view problem) {
  return base::WithField(
      base::MakeError(
          absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
          absl::StrCat("health.ca is ", base::Quoted(path), ", which ", base::Av(problem),
                       "; allowed: a PEM file of certificates of authorities")),
      "health.ca");
}

void SetUp(ssl::context& context, ssl::verify_mode mode) {
  boost::system::error_code ignored;
  context.set_verify_mode(mode, ignored);
  SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
  // A connection lives for one run: nothing of it is kept.
  SSL_CTX_set_session_cache_mode(context.native_handle(), SSL_SESS_CACHE_OFF);
}

}  // namespace

TlsTrust::TlsTrust() : verifying_(ssl::context::tls_client), trusting_(ssl::context::tls_client) {
  SetUp(verifying_, ssl::verify_peer);
  SetUp(trusting_, ssl::verify_none);
}

absl::StatusOr<std::unique_ptr<TlsTrust>> TlsTrust::Create(const std::string& ca) {
  std::unique_ptr<TlsTrust> trust(new TlsTrust);
  boost::system::error_code error;
  if (ca.empty()) {
    trust->verifying_.set_default_verify_paths(error);
    if (error) {
      return absl::InternalError(
          absl::StrCat("cannot find the system's authorities: ", error.message()));
    }
    return trust;
  }
  std::ifstream file(ca, std::ios::binary);
  trust->roots_.assign(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open() || file.bad() || trust->roots_.empty()) {
    return BadCa(ca, "cannot be read, or is empty");
  }
  trust->verifying_.add_certificate_authority(boost::asio::buffer(trust->roots_), error);
  if (error) return BadCa(ca, absl::StrCat("holds no certificate: ", error.message()));
  return trust;
}

}  // namespace muster::health
