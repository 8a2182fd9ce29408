// Looks at the files of certificates before they are used, so that a wrong one is named at the
// start and not found out by the first client.
//
// Errors: INVALID_ARGUMENT (INVALID_FIELD), one line that names the file. Thread safety: none
// needed. Cost: reads the files.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "base/clock.h"

namespace muster::security {

struct CertificateFiles {
  std::string cert;       // chain, PEM; the server's own first
  std::string key;        // PEM, without a passphrase
  std::string client_ca;  // PEM; "" = none
};

// The files can be read, hold what they should, the key belongs to the certificate, and nothing has
// expired at `now`.
absl::Status CheckCertificates(const CertificateFiles& files, base::SystemTime now);

// Says in the log, once, what has become wrong with the files of a running server: gRPC reads them
// again and then refuses new connections. Belongs to one thread.
class CertificateLog {
 public:
  explicit CertificateLog(CertificateFiles files) : files_(std::move(files)) {}
  void Look(base::SystemTime now);

 private:
  const CertificateFiles files_;
  std::string problem_;
};

}  // namespace muster::security
