#include "server/security/certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/errors.h"
#include "base/log.h"

namespace muster::security {
namespace {

using testing::HasSubstr;

constexpr int64_t kYear2030 = 1'893'456'000;

class CertificatesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "muster-pem-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    Make("a");
    Make("b");
    std::ofstream(Path("text.pem")) << "no certificate\n";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string Path(const std::string& name) const { return dir_ + "/" + name; }

  // A key, and its certificate, which ends with 2029.
  void Make(const std::string& name) const {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    ASSERT_NE(key, nullptr);
    X509* certificate = X509_new();
    ASN1_TIME_set(X509_getm_notBefore(certificate), 0);
    ASN1_TIME_set(X509_getm_notAfter(certificate), kYear2030 - 1);
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    Write(name + ".pem", [&](std::FILE* f) { PEM_write_X509(f, certificate); });
    Write(name + ".key", [&](std::FILE* f) {
      PEM_write_PrivateKey(f, key, nullptr, nullptr, 0, nullptr, nullptr);
    });
    char secret[] = "secret";
    Write(name + ".locked", [&](std::FILE* f) {
      PEM_write_PrivateKey(f, key, EVP_aes_128_cbc(), nullptr, 0, nullptr, secret);
    });
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  template <typename Writer>
  void Write(const std::string& name, Writer writer) const {
    std::FILE* file = std::fopen(Path(name).c_str(), "w");
    ASSERT_NE(file, nullptr);
    writer(file);
    std::fclose(file);
  }

  absl::Status Check(const std::string& cert, const std::string& key, const std::string& ca = "",
                     int64_t now_s = kYear2030 - 10) const {
    return CheckCertificates({Path(cert), Path(key), ca.empty() ? "" : Path(ca)},
                             base::SystemTime{now_s * 1'000'000});
  }
  void ExpectProblem(const absl::Status& status, const std::string& file,
                     const std::string& problem) const {
    EXPECT_EQ(base::ReasonOf(status), base::Reason::kInvalidField);
    EXPECT_THAT(std::string(status.message()), HasSubstr(file));
    EXPECT_THAT(std::string(status.message()), HasSubstr(problem));
  }

  std::string dir_;
};

TEST_F(CertificatesTest, GoodOnesPass) {
  EXPECT_TRUE(Check("a.pem", "a.key").ok());
  EXPECT_TRUE(Check("a.pem", "a.key", "b.pem").ok());
}

TEST_F(CertificatesTest, BadOnesAreNamed) {
  ExpectProblem(Check("no.pem", "a.key"), "tls.cert file \"" + Path("no.pem"), "can't be read");
  ExpectProblem(Check("text.pem", "a.key"), "text.pem", "holds no PEM certificate");
  ExpectProblem(Check("a.pem", "text.pem"), "tls.key", "holds no PEM private key");
  ExpectProblem(Check("a.pem", "a.locked"), "a.locked", "passphrase");
  ExpectProblem(Check("a.pem", "b.key"), "b.key", "does not belong to the certificate");
  ExpectProblem(Check("a.pem", "a.key", "a.key"), "tls.client_ca", "holds no PEM certificate");
}

TEST_F(CertificatesTest, ExpiredOnesAreNamed) {
  ExpectProblem(Check("a.pem", "a.key", "", kYear2030), "a.pem", "expired on Dec 31 23:59:59 2029");
}

TEST_F(CertificatesTest, WhatBecameWrongIsLoggedOnce) {
  std::vector<std::string> lines;
  base::SetLogSink([&](base::LogLevel level, std::string_view message, const auto&) {
    lines.push_back(std::string(base::LogLevelName(level)) + " " + std::string(message));
  });
  CertificateLog log({Path("a.pem"), Path("a.key"), ""});
  const base::SystemTime now{(kYear2030 - 10) * 1'000'000};
  log.Look(now);
  EXPECT_TRUE(lines.empty());
  std::filesystem::copy_file(Path("a.key"), Path("kept"));
  std::filesystem::copy_file(Path("b.key"), Path("a.key"),
                             std::filesystem::copy_options::overwrite_existing);
  log.Look(now);
  log.Look(now);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], HasSubstr("error certificates can't be used"));
  std::filesystem::rename(Path("kept"), Path("a.key"));
  log.Look(now);
  log.Look(now);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[1], HasSubstr("right again"));
  base::SetLogSink(nullptr);
}

}  // namespace
}  // namespace muster::security
