#include "server/security/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <memory>
#include <sstream>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/log.h"
#include "base/text.h"

namespace muster::security {
namespace {

template <auto kFree>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

absl::Status FileError(std::string_view what, const std::string& path, std::string_view problem) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                         absl::StrCat(base::Av(what), " file \"", base::EscapeForTerminal(path),
                                      "\" ", base::Av(problem)));
}

absl::StatusOr<Bio> Read(std::string_view what, const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) {
    return FileError(what, path, absl::StrCat("can't be read: ", std::strerror(errno)));
  }
  const std::string bytes = text.str();
  Bio bio(BIO_new(BIO_s_mem()));
  BIO_write(bio.get(), bytes.data(), static_cast<int>(bytes.size()));
  return bio;
}

std::string TimeText(const ASN1_TIME* time) {
  const Bio out(BIO_new(BIO_s_mem()));
  ASN1_TIME_print(out.get(), time);
  char* text = nullptr;
  const auto size = BIO_get_mem_data(out.get(), &text);
  return std::string(text, static_cast<size_t>(size));
}

// All certificates of a file; at least one.
absl::StatusOr<std::vector<Certificate>> ReadCertificates(std::string_view what,
                                                          const std::string& path,
                                                          base::SystemTime now) {
  auto bio = Read(what, path);
  if (!bio.ok()) return bio.status();
  std::vector<Certificate> out;
  while (X509* next = PEM_read_bio_X509(bio->get(), nullptr, nullptr, nullptr)) {
    out.emplace_back(next);
  }
  ERR_clear_error();
  if (out.empty()) return FileError(what, path, "holds no PEM certificate");
  auto seconds = static_cast<std::time_t>(now.us / 1'000'000);
  for (const Certificate& certificate : out) {
    const ASN1_TIME* end = X509_get0_notAfter(certificate.get());
    if (X509_cmp_time(end, &seconds) < 0) {
      return FileError(what, path,
                       absl::StrCat("holds a certificate that expired on ", TimeText(end)));
    }
  }
  return out;
}

absl::StatusOr<Key> ReadKey(const std::string& path) {
  constexpr std::string_view kWhat = "tls.key";
  auto bio = Read(kWhat, path);
  if (!bio.ok()) return bio.status();
  // Nobody is there to type a passphrase.
  const auto no_passphrase = [](char*, int, int, void*) { return 0; };
  Key key(PEM_read_bio_PrivateKey(bio->get(), nullptr, no_passphrase, nullptr));
  ERR_clear_error();
  if (key == nullptr) {
    return FileError(kWhat, path, "holds no PEM private key, or one with a passphrase");
  }
  return key;
}

}  // namespace

absl::Status CheckCertificates(const CertificateFiles& files, base::SystemTime now) {
  const auto certificates = ReadCertificates("tls.cert", files.cert, now);
  if (!certificates.ok()) return certificates.status();
  const auto key = ReadKey(files.key);
  if (!key.ok()) return key.status();
  if (X509_check_private_key(certificates->front().get(), key->get()) != 1) {
    ERR_clear_error();
    return FileError("tls.key", files.key,
                     absl::StrCat("does not belong to the certificate of \"",
                                  base::EscapeForTerminal(files.cert), "\""));
  }
  if (files.client_ca.empty()) return absl::OkStatus();
  return ReadCertificates("tls.client_ca", files.client_ca, now).status();
}

void CertificateLog::Look(base::SystemTime now) {
  const absl::Status status = CheckCertificates(files_, now);
  if (status.message() == problem_) return;
  problem_ = std::string(status.message());
  if (status.ok()) {
    base::Log(base::LogLevel::kInfo, "certificates are right again", {{"file", files_.cert}});
  } else {
    base::Log(base::LogLevel::kError, "certificates can't be used; new connections may be refused",
              {{"problem", problem_}});
  }
}

}  // namespace muster::security
