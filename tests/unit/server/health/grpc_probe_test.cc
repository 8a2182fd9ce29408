#include "server/health/grpc_probe.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include "base/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "muster/v1/discovery.grpc.pb.h"
#include "tests/scenario/certificates.h"
#include "tests/unit/server/health/grpc_callbacks.h"
#include "tests/unit/server/health/probing.h"
#include "tests/unit/server/health/targets.h"

namespace muster::health {
namespace {

using testing::HasSubstr;
using Serving = grpc::health::v1::HealthCheckResponse;

// A health service that says what it is told to say.
class FakeHealth : public grpc::health::v1::Health::Service {
 public:
  grpc::Status Check(grpc::ServerContext* context,
                     const grpc::health::v1::HealthCheckRequest* request,
                     Serving* response) override {
    base::MutexLock lock(mu_);
    ++checks_;
    asked_ = request->service();
    peer_ = context->peer();
    ++under_way_;
    while (hang_ && !context->IsCancelled()) changed_.WaitFor(mu_, absl::Milliseconds(10));
    --under_way_;
    response->set_status(serving_);
    return status_;
  }
  grpc::Status Watch(grpc::ServerContext* context,
                     const grpc::health::v1::HealthCheckRequest* /*request*/,
                     grpc::ServerWriter<Serving>* writer) override {
    base::MutexLock lock(mu_);
    ++watches_;
    if (!watchable_) return {grpc::StatusCode::UNIMPLEMENTED, "no Watch here"};
    int sent = -1;
    while (!end_ && !context->IsCancelled()) {
      if (serving_ != sent && !mute_) {
        sent = serving_;
        Serving response;
        response.set_status(serving_);
        writer->Write(response);
      }
      changed_.WaitFor(mu_, absl::Milliseconds(10));
    }
    return status_;
  }

  void Set(Serving::ServingStatus serving) {
    base::MutexLock lock(mu_);
    serving_ = serving;
    changed_.NotifyAll();
  }
  void Answer(grpc::Status status) {
    base::MutexLock lock(mu_);
    status_ = std::move(status);
  }
  void Hang(bool hang) {
    base::MutexLock lock(mu_);
    hang_ = hang;
  }
  void Mute() {
    base::MutexLock lock(mu_);
    mute_ = true;
  }
  void WithoutWatch() {
    base::MutexLock lock(mu_);
    watchable_ = false;
  }
  void EndWatches() {
    base::MutexLock lock(mu_);
    end_ = true;
    changed_.NotifyAll();
  }
  int checks() {
    base::MutexLock lock(mu_);
    return checks_;
  }
  // Of Check.
  int under_way() {
    base::MutexLock lock(mu_);
    return under_way_;
  }
  int watches() {
    base::MutexLock lock(mu_);
    return watches_;
  }
  std::string asked() {
    base::MutexLock lock(mu_);
    return asked_;
  }
  std::string peer() {
    base::MutexLock lock(mu_);
    return peer_;
  }

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  int checks_ MUSTER_GUARDED_BY(mu_) = 0;
  int under_way_ MUSTER_GUARDED_BY(mu_) = 0;
  int watches_ MUSTER_GUARDED_BY(mu_) = 0;
  std::string asked_ MUSTER_GUARDED_BY(mu_);
  std::string peer_ MUSTER_GUARDED_BY(mu_);
  Serving::ServingStatus serving_ MUSTER_GUARDED_BY(mu_) = Serving::SERVING;
  grpc::Status status_ MUSTER_GUARDED_BY(mu_);
  bool hang_ MUSTER_GUARDED_BY(mu_) = false;
  bool mute_ MUSTER_GUARDED_BY(mu_) = false;
  bool watchable_ MUSTER_GUARDED_BY(mu_) = true;
  bool end_ MUSTER_GUARDED_BY(mu_) = false;
};

class GrpcServer {
 public:
  explicit GrpcServer(FakeHealth* health,
                      const std::shared_ptr<grpc::ServerCredentials>& credentials =
                          grpc::InsecureServerCredentials(),
                      int port = 0)
      : port_(port) {
    grpc::EnableDefaultHealthCheckService(false);
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), credentials, &port_);
    if (health != nullptr) builder.RegisterService(health);
    builder.RegisterService(&other_);
    server_ = builder.BuildAndStart();
    EXPECT_NE(server_, nullptr);
  }
  ~GrpcServer() { Stop(); }
  void Stop() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::time_point());
    server_ = nullptr;
  }
  uint32_t port() const { return static_cast<uint32_t>(port_); }

 private:
  // A server without a service doesn't start.
  muster::v1::Discovery::Service other_;
  int port_;
  std::unique_ptr<grpc::Server> server_;
};

// What a watch has told.
struct Watched {
  std::vector<ProbeResult> statuses;
  std::vector<WatchEnd> ends;
  std::unique_ptr<Probe> probe;
};

class GrpcProbeTest : public Probing {
 protected:
  void SetUp() override { KeepGrpcCallbacks(); }

  static v1::Check GrpcCheck(absl::Duration timeout = absl::Seconds(5),
                             const std::string& service = "") {
    v1::Check check;
    check.mutable_grpc()->set_service(service);
    return WithTimeout(std::move(check), timeout);
  }
  void Watch(Prober& prober, Watched& watched) {
    watched.probe = prober.Watch(
        {.on_status = [&watched](ProbeResult r) { watched.statuses.push_back(std::move(r)); },
         .on_end = [&watched](WatchEnd end) { watched.ends.push_back(std::move(end)); }});
    ASSERT_NE(watched.probe, nullptr);
  }
  bool RunUntilStatuses(const Watched& watched, size_t count) {
    return RunUntil([&] { return watched.statuses.size() >= count || !watched.ends.empty(); }) &&
           watched.statuses.size() == count;
  }
  bool RunUntilEnd(const Watched& watched) {
    return RunUntil([&] { return !watched.ends.empty(); });
  }

  FakeHealth health_;
};

TEST_F(GrpcProbeTest, TheStatusDecides) {
  GrpcServer server(&health_);
  const auto prober = Make(GrpcCheck(absl::Seconds(5), "shop"), server.port());
  struct Case {
    Serving::ServingStatus serving;
    Outcome outcome;
    std::string output;
  };
  for (const Case& c : {
           Case{Serving::SERVING, Outcome::kPassing, "service \"shop\" is SERVING"},
           Case{Serving::UNKNOWN, Outcome::kWarning, "service \"shop\" is UNKNOWN"},
           Case{Serving::NOT_SERVING, Outcome::kFailing, "service \"shop\" is NOT_SERVING"},
           Case{Serving::SERVICE_UNKNOWN, Outcome::kFailing, "is SERVICE_UNKNOWN"},
           Case{static_cast<Serving::ServingStatus>(9), Outcome::kFailing, "has the status 9"},
       }) {
    health_.Set(c.serving);
    EXPECT_THAT(Run(*prober), IsResult(c.outcome, true, c.output));
  }
  EXPECT_EQ(health_.asked(), "shop");
}

TEST_F(GrpcProbeTest, ErrorsOfTheTargetAreReached) {
  GrpcServer server(&health_);
  const auto prober = Make(GrpcCheck(), server.port());
  health_.Answer({grpc::StatusCode::NOT_FOUND, "what?"});
  EXPECT_THAT(Run(*prober),
              IsResult(Outcome::kFailing, true, "the server is NOT_FOUND by 127.0.0.1"));
  // A code that gRPC makes up as well.
  health_.Answer({grpc::StatusCode::UNAVAILABLE, "Connection refused"});
  EXPECT_THAT(Run(*prober), IsResult(Outcome::kFailing, true, "answered UNAVAILABLE: Connection"));
}

TEST_F(GrpcProbeTest, AServerWithoutTheService) {
  GrpcServer server(nullptr);
  EXPECT_THAT(Run(GrpcCheck(), server.port()),
              IsResult(Outcome::kFailing, true, "doesn't offer grpc.health.v1.Health"));
}

TEST_F(GrpcProbeTest, TheConnectionIsKept) {
  GrpcServer server(&health_);
  const auto prober = Make(GrpcCheck(), server.port());
  Run(*prober);
  const std::string first = health_.peer();
  Run(*prober);
  EXPECT_EQ(health_.peer(), first);
  // Two checks of the same target share none.
  Run(GrpcCheck(), server.port());
  EXPECT_NE(health_.peer(), first);
}

TEST_F(GrpcProbeTest, NobodyThereIsNotReached) {
  EXPECT_THAT(Run(GrpcCheck(), ClosedPort()),
              IsResult(Outcome::kFailing, false, "connection refused by 127.0.0.1:"));
  EXPECT_LT(took_, absl::Seconds(2));
}

TEST_F(GrpcProbeTest, WhoComesBackIsFoundByTheNextRun) {
  auto server = std::make_unique<GrpcServer>(&health_);
  const auto port = server->port();
  const auto prober = Make(GrpcCheck(absl::Seconds(2)), port);
  EXPECT_EQ(Run(*prober).outcome, Outcome::kPassing);
  server.reset();
  EXPECT_THAT(Run(*prober), IsResult(Outcome::kFailing, false, ""));
  EXPECT_THAT(Run(*prober), IsResult(Outcome::kFailing, false, ""));
  server = std::make_unique<GrpcServer>(&health_, grpc::InsecureServerCredentials(),
                                        static_cast<int>(port));
  EXPECT_EQ(Run(*prober).outcome, Outcome::kPassing);
}

// The old connection is found dead, or isn't noticed to be until the call: neither is a failure of
// the server that is there now.
TEST_F(GrpcProbeTest, AServerThatWasRestartedBetweenTwoRunsIsWell) {
  auto server = std::make_unique<GrpcServer>(&health_);
  const auto port = server->port();
  const auto prober = Make(GrpcCheck(), port);
  for (int i = 0; i < 10; ++i) {
    EXPECT_THAT(Run(*prober), IsResult(Outcome::kPassing, true, "SERVING")) << i;
    server.reset();
    server = std::make_unique<GrpcServer>(&health_, grpc::InsecureServerCredentials(),
                                          static_cast<int>(port));
  }
}

TEST_F(GrpcProbeTest, WhatSpeaksAnotherProtocolIsReached) {
  TestTarget http(std::string("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
  EXPECT_THAT(Run(GrpcCheck(absl::Seconds(3)), http.port()),
              IsResult(Outcome::kFailing, true, "no gRPC answer"));
  TestTarget garbage([](Accepted& a) {
    a.Send("SSH-2.0-OpenSSH_9.2\r\n");
    a.WaitForClose();
  });
  EXPECT_THAT(Run(GrpcCheck(absl::Seconds(3)), garbage.port()),
              IsResult(Outcome::kFailing, true, "no gRPC answer"));
  TestTarget closing([](Accepted&) {});
  EXPECT_THAT(Run(GrpcCheck(absl::Seconds(3)), closing.port()),
              IsResult(Outcome::kFailing, true, "no gRPC answer"));
}

TEST_F(GrpcProbeTest, SilenceIsATimeoutAndNotReached) {
  TestTarget silent([](Accepted& a) { a.WaitForClose(); });
  EXPECT_THAT(Run(GrpcCheck(absl::Milliseconds(400)), silent.port()),
              IsResult(Outcome::kFailing, false, "timed out after 400ms waiting for the answer"));
  EXPECT_GE(took_, absl::Milliseconds(400));
  EXPECT_LT(took_, absl::Milliseconds(1400));
  const Swallowing full;
  EXPECT_THAT(Run(GrpcCheck(absl::Milliseconds(400)), full.port()),
              IsResult(Outcome::kFailing, false, "timed out after 400ms"));
}

TEST_F(GrpcProbeTest, ACallThatHangsInAServerThatIsThereIsReached) {
  GrpcServer server(&health_);
  health_.Hang(true);
  EXPECT_THAT(Run(GrpcCheck(absl::Milliseconds(500)), server.port()),
              IsResult(Outcome::kFailing, true, "timed out after 500ms"));
}

// That a connection was made once says nothing of a target that doesn't answer now.
TEST_F(GrpcProbeTest, SilenceOnAnOldConnectionIsNotReached) {
  GrpcServer server(&health_);
  const auto prober = Make(GrpcCheck(absl::Milliseconds(500)), server.port());
  EXPECT_EQ(Run(*prober).outcome, Outcome::kPassing);
  health_.Hang(true);
  EXPECT_THAT(Run(*prober), IsResult(Outcome::kFailing, false, "timed out after 500ms"));
  EXPECT_THAT(Run(*prober), IsResult(Outcome::kFailing, true, "timed out after 500ms"));
}

TEST_F(GrpcProbeTest, OnlyCheckedAddressesAreConnectedTo) {
  GrpcServer server(&health_);
  config::v1::Health config;
  config.add_allow("127.0.0.1/32");
  Configure(config, false);
  resolver_->Set("turns.example", {"127.0.0.2", "127.0.0.1"});
  const auto prober = Make(GrpcCheck(), server.port(), "turns.example");
  EXPECT_EQ(Run(*prober).outcome, Outcome::kPassing);
  resolver_->Set("turns.example", {"127.0.0.2"});
  EXPECT_THAT(Run(*prober), IsResult(Outcome::kFailing, false, "127.0.0.2 may not be probed"));
  EXPECT_EQ(health_.checks(), 1);
}

TEST_F(GrpcProbeTest, FurtherAddressesAreTried) {
  GrpcServer server(&health_);
  resolver_->Set("two.example", {"127.0.0.2", "127.0.0.1"});
  EXPECT_EQ(Run(GrpcCheck(), server.port(), "two.example").outcome, Outcome::kPassing);
  const Swallowing full("127.0.0.3", static_cast<uint16_t>(server.port()));
  resolver_->Set("three.example", {"127.0.0.3", "127.0.0.1"});
  EXPECT_EQ(Run(GrpcCheck(absl::Seconds(2)), server.port(), "three.example").outcome,
            Outcome::kPassing);
  EXPECT_GE(took_, absl::Seconds(1));
}

TEST_F(GrpcProbeTest, ACancelledRunNeverCallsBack) {
  GrpcServer server(&health_);
  health_.Hang(true);
  ExpectCancels(GrpcCheck(), server.port(), [&] { return health_.checks() == 1; });
  TestTarget silent([](Accepted& a) { a.WaitForClose(); });
  ExpectCancels(GrpcCheck(), silent.port(), [&] { return silent.accepted() == 1; });
  ExpectCancels(
      GrpcCheck(), 80, [&] { return resolver_->Wanted(); }, "hangs.example");
}

TEST_F(GrpcProbeTest, TheFactoryWaitsForCallsThatWereCancelled) {
  GrpcServer server(&health_);
  health_.Hang(true);
  Configure();
  auto prober = Make(GrpcCheck(), server.port());
  auto probe = prober->Start([](const ProbeResult&) { FAIL(); });
  Watched watched;
  Watch(*prober, watched);
  ASSERT_TRUE(RunUntilStatuses(watched, 1));
  ASSERT_TRUE(RunUntil([&] { return health_.checks() == 1; }));
  probe.reset();
  watched.probe.reset();
  prober.reset();
  factory_.reset();
  RunFor(absl::Milliseconds(50));
  EXPECT_TRUE(watched.ends.empty());
}

TEST_F(GrpcProbeTest, AWatchTellsOfEachChange) {
  GrpcServer server(&health_);
  const auto prober = Make(GrpcCheck(absl::Seconds(5), "shop"), server.port());
  Watched watched;
  Watch(*prober, watched);
  ASSERT_TRUE(RunUntilStatuses(watched, 1));
  EXPECT_THAT(watched.statuses[0],
              IsResult(Outcome::kPassing, true, "service \"shop\" is SERVING"));
  health_.Set(Serving::NOT_SERVING);
  const auto start = base::RealClock().Steady();
  ASSERT_TRUE(RunUntilStatuses(watched, 2));
  EXPECT_LT(base::RealClock().Steady() - start, absl::Milliseconds(500));
  EXPECT_THAT(watched.statuses[1], IsResult(Outcome::kFailing, true, "NOT_SERVING"));
  health_.Set(Serving::SERVICE_UNKNOWN);
  ASSERT_TRUE(RunUntilStatuses(watched, 3));
  EXPECT_THAT(watched.statuses[2], IsResult(Outcome::kFailing, true, "SERVICE_UNKNOWN"));
  EXPECT_EQ(health_.checks(), 0) << "nothing is polled so early";
}

TEST_F(GrpcProbeTest, ATargetWithoutWatchIsPolled) {
  GrpcServer server(&health_);
  health_.WithoutWatch();
  const auto prober = Make(GrpcCheck(), server.port());
  Watched watched;
  Watch(*prober, watched);
  ASSERT_TRUE(RunUntilEnd(watched));
  EXPECT_EQ(watched.ends[0].cause, WatchEnd::Cause::kUnsupported);
  EXPECT_TRUE(watched.statuses.empty());
  EXPECT_EQ(Run(*prober).outcome, Outcome::kPassing);
}

TEST_F(GrpcProbeTest, AWatchOfNobodyFails) {
  const auto prober = Make(GrpcCheck(), ClosedPort());
  Watched watched;
  Watch(*prober, watched);
  ASSERT_TRUE(RunUntilEnd(watched));
  EXPECT_EQ(watched.ends[0].cause, WatchEnd::Cause::kFailed);
  EXPECT_THAT(watched.ends[0].result,
              IsResult(Outcome::kFailing, false, "connection refused by 127.0.0.1:"));
}

TEST_F(GrpcProbeTest, AWatchWithoutAFirstStatusTimesOut) {
  GrpcServer server(&health_);
  health_.Mute();
  const auto prober = Make(GrpcCheck(absl::Milliseconds(400)), server.port());
  Watched watched;
  Watch(*prober, watched);
  ASSERT_TRUE(RunUntilEnd(watched));
  EXPECT_EQ(watched.ends[0].cause, WatchEnd::Cause::kFailed);
  EXPECT_THAT(
      watched.ends[0].result,
      IsResult(Outcome::kFailing, true, "timed out after 400ms waiting for the first status"));
}

TEST_F(GrpcProbeTest, AWatchThatTheTargetEndsIsLost) {
  GrpcServer server(&health_);
  const auto prober = Make(GrpcCheck(), server.port());
  Watched watched;
  Watch(*prober, watched);
  ASSERT_TRUE(RunUntilStatuses(watched, 1));
  health_.EndWatches();
  ASSERT_TRUE(RunUntilEnd(watched));
  EXPECT_EQ(watched.ends[0].cause, WatchEnd::Cause::kLost);
  EXPECT_THAT(watched.ends[0].result.output, HasSubstr("ended the watch"));
}

TEST_F(GrpcProbeTest, AWatchOfAServerThatStopsIsLost) {
  GrpcServer server(&health_);
  const auto prober = Make(GrpcCheck(), server.port());
  Watched watched;
  Watch(*prober, watched);
  ASSERT_TRUE(RunUntilStatuses(watched, 1));
  server.Stop();
  ASSERT_TRUE(RunUntilEnd(watched));
  EXPECT_EQ(watched.ends[0].cause, WatchEnd::Cause::kLost);
  Watched again;
  Watch(*prober, again);
  ASSERT_TRUE(RunUntilEnd(again));
  EXPECT_EQ(again.ends[0].cause, WatchEnd::Cause::kFailed);
  EXPECT_THAT(again.ends[0].result,
              IsResult(Outcome::kFailing, false, "connection refused by 127.0.0.1:"));
}

v1::Check EachSecond() {
  v1::Check check;
  check.mutable_grpc();
  check.mutable_interval()->set_seconds(1);
  return WithTimeout(std::move(check), absl::Milliseconds(300));
}

// The server answers neither Check nor anything on the stream, as one does that is stopped.
TEST_F(GrpcProbeTest, AWatchThatGivesNoSignOfLifeAnyMoreFails) {
  GrpcServer server(&health_);
  const auto prober = Make(EachSecond(), server.port());
  Watched watched;
  Watch(*prober, watched);
  ASSERT_TRUE(RunUntilStatuses(watched, 1));
  ASSERT_TRUE(RunUntil([&] { return health_.checks() == 2; }));
  RunFor(absl::Milliseconds(50));
  ASSERT_TRUE(watched.ends.empty());
  health_.Hang(true);
  const auto start = base::RealClock().Steady();
  ASSERT_TRUE(RunUntilEnd(watched));
  EXPECT_EQ(watched.ends[0].cause, WatchEnd::Cause::kFailed);
  EXPECT_THAT(watched.ends[0].result,
              IsResult(Outcome::kFailing, false, "gave no sign of life for 300ms"));
  const absl::Duration took = base::RealClock().Steady() - start;
  EXPECT_GE(took, absl::Milliseconds(1200));
  EXPECT_LT(took, absl::Milliseconds(1900));
}

// As with one that takes one call at a time: whether it is dead is to be found out by a run.
TEST_F(GrpcProbeTest, AWatchThatNeverGaveASignOfLifeIsLost) {
  GrpcServer server(&health_);
  health_.Hang(true);
  const auto prober = Make(EachSecond(), server.port());
  Watched watched;
  Watch(*prober, watched);
  ASSERT_TRUE(RunUntilStatuses(watched, 1));
  ASSERT_TRUE(RunUntilEnd(watched));
  EXPECT_EQ(watched.ends[0].cause, WatchEnd::Cause::kLost);
  EXPECT_EQ(health_.checks(), 1);
}

TEST_F(GrpcProbeTest, AStatusIsASignOfLifeAndEndsTheCallForOne) {
  GrpcServer server(&health_);
  health_.Hang(true);
  const auto prober = Make(EachSecond(), server.port());
  Watched watched;
  Watch(*prober, watched);
  ASSERT_TRUE(RunUntil([&] { return health_.under_way() == 1; }));
  health_.Set(Serving::NOT_SERVING);
  ASSERT_TRUE(RunUntilStatuses(watched, 2));
  ASSERT_TRUE(RunUntil([&] { return health_.under_way() == 0; }));
  RunFor(absl::Milliseconds(400));
  EXPECT_TRUE(watched.ends.empty()) << "it has an interval again";
}

TEST_F(GrpcProbeTest, AnyAnswerIsASignOfLife) {
  GrpcServer server(&health_);
  const auto prober = Make(EachSecond(), server.port());
  health_.Answer({grpc::StatusCode::UNIMPLEMENTED, "only Watch"});
  Watched watched;
  Watch(*prober, watched);
  ASSERT_TRUE(RunUntil([&] { return health_.checks() == 3; }));
  EXPECT_TRUE(watched.ends.empty());
}

TEST_F(GrpcProbeTest, AWatchThatIsDestroyedNeverCallsBack) {
  GrpcServer server(&health_);
  const auto prober = Make(GrpcCheck(), server.port());
  Watched watched;
  Watch(*prober, watched);
  ASSERT_TRUE(RunUntilStatuses(watched, 1));
  health_.Set(Serving::NOT_SERVING);
  watched.probe.reset();
  RunFor(absl::Milliseconds(300));
  EXPECT_EQ(watched.statuses.size(), 1U);
  EXPECT_TRUE(watched.ends.empty());
}

TEST_F(GrpcProbeTest, ACallbackMayDestroyItsWatchAndProber) {
  GrpcServer server(&health_);
  auto prober = Make(GrpcCheck(), server.port());
  int statuses = 0;
  std::unique_ptr<Probe> probe;
  probe = prober->Watch({.on_status =
                             [&](const ProbeResult&) {
                               ++statuses;
                               probe.reset();
                               prober.reset();
                             },
                         .on_end = [](const WatchEnd&) { FAIL(); }});
  ASSERT_TRUE(RunUntil([&] { return statuses == 1; }));
  RunFor(absl::Milliseconds(200));
  EXPECT_EQ(statuses, 1);
}

class GrpcTlsProbeTest : public GrpcProbeTest {
 protected:
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
  static std::shared_ptr<grpc::ServerCredentials> Credentials(const std::string& name = "server") {
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back(
        {test::ReadText(authority_->key(name)), test::ReadText(authority_->cert(name))});
    return grpc::SslServerCredentials(options);
  }
  static v1::Check Tls(const std::string& name = "", bool skip_verify = false) {
    v1::Check check = GrpcCheck(absl::Seconds(3));
    check.mutable_grpc()->set_tls(true);
    check.mutable_grpc()->set_tls_server_name(name);
    check.mutable_grpc()->set_tls_skip_verify(skip_verify);
    return check;
  }

  static inline test::TempDir* dir_ = nullptr;
  static inline test::Authority* authority_ = nullptr;
};

TEST_F(GrpcTlsProbeTest, ACertificateOfTheAuthorityIsAccepted) {
  Trust();
  GrpcServer server(&health_, Credentials());
  resolver_->Set("db.example", {"127.0.0.1"});
  EXPECT_THAT(Run(Tls("localhost"), server.port()), IsResult(Outcome::kPassing, true, "SERVING"));
  EXPECT_THAT(Run(Tls(), server.port()), IsResult(Outcome::kPassing, true, "SERVING"));
  EXPECT_THAT(Run(Tls("localhost"), server.port(), "db.example"),
              IsResult(Outcome::kPassing, true, "SERVING"));
}

TEST_F(GrpcTlsProbeTest, AnotherNameIsRefused) {
  Trust();
  GrpcServer server(&health_, Credentials());
  resolver_->Set("db.example", {"127.0.0.1"});
  EXPECT_THAT(Run(Tls("db.example"), server.port()),
              IsResult(Outcome::kFailing, true, "no gRPC answer"));
  EXPECT_THAT(Run(Tls(), server.port(), "db.example"),
              IsResult(Outcome::kFailing, true, "no gRPC answer"));
  EXPECT_EQ(health_.checks(), 0);
}

TEST_F(GrpcTlsProbeTest, AnExpiredOneAndOneOfAnUnknownAuthorityAreRefused) {
  GrpcServer server(&health_, Credentials());
  EXPECT_THAT(Run(Tls(), server.port()), IsResult(Outcome::kFailing, true, "no gRPC answer"));
  Trust();
  GrpcServer expired(&health_, Credentials("expired"));
  EXPECT_THAT(Run(Tls(), expired.port()), IsResult(Outcome::kFailing, true, "no gRPC answer"));
  EXPECT_EQ(health_.checks(), 0);
}

TEST_F(GrpcTlsProbeTest, AnyIsTakenWhenNoneIsLookedAt) {
  for (const std::string name : {"server", "expired"}) {
    GrpcServer server(&health_, Credentials(name));
    EXPECT_THAT(Run(Tls("db.example", true), server.port()),
                IsResult(Outcome::kPassing, true, "SERVING"))
        << name;
  }
}

}  // namespace
}  // namespace muster::health
