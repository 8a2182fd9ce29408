// Probes over TLS, by HTTP and by TCP: server/health/socket_run.cc and tls.cc.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/errors.h"
#include "server/health/tls.h"
#include "tests/scenario/certificates.h"
#include "tests/unit/server/health/probing.h"
#include "tests/unit/server/health/targets.h"

namespace muster::health {
namespace {

constexpr char kAnswer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

class TlsProbeTest : public Probing {
 protected:
  // One authority for all tests: keys take their time.
  static void SetUpTestSuite() {
    dir_ = new test::TempDir;
    authority_ = new test::Authority(dir_->path("ca"));
    authority_->Issue("server");
    authority_->Issue("expired", "-1");
  }
  static void TearDownTestSuite() {
    delete authority_;
    delete dir_;
  }

  void Trust() {
    config::v1::Health config;
    config.set_ca(authority_->ca());
    Configure(config);
  }
  static v1::Check Https(const std::string& name = "", bool skip_verify = false) {
    v1::Check check = HttpCheck("/");
    check.mutable_http()->set_tls(true);
    check.mutable_http()->set_tls_server_name(name);
    check.mutable_http()->set_tls_skip_verify(skip_verify);
    return check;
  }
  static v1::Check Tcp(const std::string& name = "", bool skip_verify = false) {
    v1::Check check = TcpCheck();
    check.mutable_tcp()->set_tls(true);
    check.mutable_tcp()->set_tls_server_name(name);
    check.mutable_tcp()->set_tls_skip_verify(skip_verify);
    return check;
  }
  // Answers over TLS, with the certificate of this name.
  static std::unique_ptr<TestTarget> Server(const std::string& certificate = "server") {
    auto tls =
        std::make_shared<ServerTls>(authority_->cert(certificate), authority_->key(certificate));
    return std::make_unique<TestTarget>([tls](Accepted& a) {
      if (!a.Handshake(tls->get())) return;
      const char* const name = a.server_name();
      asked_name().Set(name == nullptr ? "none" : name);
      a.ReadRequest();
      a.Send(kAnswer);
    });
  }
  // The server name that the last client asked for.
  class Name {
   public:
    void Set(const std::string& name) {
      base::MutexLock lock(mu_);
      name_ = name;
    }
    std::string Get() {
      base::MutexLock lock(mu_);
      return name_;
    }

   private:
    base::Mutex mu_;
    std::string name_ MUSTER_GUARDED_BY(mu_);
  };
  static Name& asked_name() {
    static auto* const name = new Name;
    return *name;
  }

  static inline test::TempDir* dir_ = nullptr;
  static inline test::Authority* authority_ = nullptr;
};

TEST_F(TlsProbeTest, ACertificateOfTheAuthorityIsAccepted) {
  Trust();
  const auto server = Server();
  EXPECT_THAT(Run(Https(), server->port()), IsResult(Outcome::kPassing, true, "HTTP 200 OK: hi"));
  EXPECT_EQ(asked_name().Get(), "none") << "an address is not named";
  EXPECT_THAT(Run(Https("localhost"), server->port()),
              IsResult(Outcome::kPassing, true, "HTTP 200 OK: hi"));
  EXPECT_EQ(asked_name().Get(), "localhost");
  EXPECT_THAT(Run(Tcp(), server->port()), IsResult(Outcome::kPassing, true, "over TLS"));
}

TEST_F(TlsProbeTest, TheHostOfAUrlIsTheName) {
  Trust();
  resolver_->Set("localhost", {"127.0.0.1"});
  resolver_->Set("other.example", {"127.0.0.1"});
  const auto server = Server();
  EXPECT_EQ(Run(HttpCheck(absl::StrCat("https://localhost:", server->port(), "/")), 1).outcome,
            Outcome::kPassing);
  EXPECT_EQ(asked_name().Get(), "localhost");
  EXPECT_THAT(
      Run(HttpCheck(absl::StrCat("https://other.example:", server->port(), "/")), 1),
      IsResult(Outcome::kFailing, true, "is not accepted for other.example: hostname mismatch"));
}

TEST_F(TlsProbeTest, AnotherNameIsRefused) {
  Trust();
  const auto server = Server();
  for (const v1::Check& check : {Https("db.example"), Tcp("db.example")}) {
    EXPECT_THAT(Run(check, server->port()),
                IsResult(Outcome::kFailing, true,
                         absl::StrCat("the certificate of 127.0.0.1:", server->port(),
                                      " is not accepted for db.example: hostname mismatch")));
  }
  EXPECT_THAT(Run(Tcp("127.0.0.2"), server->port()),
              IsResult(Outcome::kFailing, true, "IP address mismatch"));
}

TEST_F(TlsProbeTest, AnExpiredOneIsRefused) {
  Trust();
  const auto server = Server("expired");
  for (const v1::Check& check : {Https(), Tcp()}) {
    EXPECT_THAT(Run(check, server->port()),
                IsResult(Outcome::kFailing, true, "certificate has expired"));
  }
}

TEST_F(TlsProbeTest, OneOfAnUnknownAuthorityIsRefused) {
  const auto server = Server();
  for (const v1::Check& check : {Https(), Tcp()}) {
    EXPECT_THAT(Run(check, server->port()),
                IsResult(Outcome::kFailing, true, "unable to get local issuer certificate"));
  }
}

TEST_F(TlsProbeTest, AnyIsTakenWhenNoneIsLookedAt) {
  for (const std::string certificate : {"server", "expired"}) {
    const auto server = Server(certificate);
    EXPECT_EQ(Run(Https("db.example", true), server->port()).outcome, Outcome::kPassing);
    EXPECT_EQ(asked_name().Get(), "db.example");
    EXPECT_EQ(Run(Tcp("", true), server->port()).outcome, Outcome::kPassing);
  }
}

TEST_F(TlsProbeTest, WhatSpeaksNoTlsIsSaid) {
  Trust();
  TestTarget plain([](Accepted& a) {
    a.Send("HTTP/1.1 400 Bad Request\r\n\r\n");
    a.WaitForClose();
  });
  EXPECT_THAT(Run(Https(), plain.port()),
              IsResult(Outcome::kFailing, true,
                       absl::StrCat("no TLS handshake with 127.0.0.1:", plain.port())));
  TestTarget closing([](Accepted&) {});
  EXPECT_THAT(Run(Tcp(), closing.port()), IsResult(Outcome::kFailing, true, "no TLS handshake"));
}

TEST_F(TlsProbeTest, AHandshakeThatHangsIsNotReached) {
  Trust();
  TestTarget silent([](Accepted& a) { a.WaitForClose(); });
  EXPECT_THAT(Run(WithTimeout(Https(), absl::Milliseconds(300)), silent.port()),
              IsResult(Outcome::kFailing, false,
                       "timed out after 300ms in the TLS handshake with 127.0.0.1:"));
}

TEST_F(TlsProbeTest, AServerThatAnswersNothingOverTlsIsReached) {
  Trust();
  const ServerTls tls(authority_->cert("server"), authority_->key("server"));
  TestTarget mute([&tls](Accepted& a) {
    if (!a.Handshake(tls.get())) return;
    a.ReadRequest();
    a.WaitForClose();
  });
  EXPECT_THAT(Run(WithTimeout(Https(), absl::Milliseconds(500)), mute.port()),
              IsResult(Outcome::kFailing, true, "waiting for the answer's head"));
}

TEST_F(TlsProbeTest, ACancelledHandshakeNeverCallsBack) {
  Trust();
  TestTarget silent([](Accepted& a) { a.WaitForClose(); });
  ExpectCancels(Https(), silent.port(), [&] { return silent.accepted() == 1; });
}

TEST_F(TlsProbeTest, AFileWithoutAuthoritiesIsNamed) {
  std::ofstream(dir_->path("empty.pem")) << "";
  std::ofstream(dir_->path("text.pem")) << "hello";
  for (const std::string name : {"empty.pem", "text.pem", "missing.pem", "ca/ca.key"}) {
    const auto trust = TlsTrust::Create(dir_->path(name));
    EXPECT_EQ(trust.status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(base::FieldOf(trust.status()), "health.ca");
    EXPECT_THAT(std::string(trust.status().message()), testing::HasSubstr(name));
  }
  EXPECT_TRUE(TlsTrust::Create("").ok());
}

}  // namespace
}  // namespace muster::health
