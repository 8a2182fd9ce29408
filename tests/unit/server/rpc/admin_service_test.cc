#include "server/rpc/admin_service.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/fake_clock.h"
#include "base/log.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "muster/v1/registry.grpc.pb.h"
#include "server/core/applier.h"
#include "server/rpc/backup_stream.h"
#include "server/rpc/page_token.h"
#include "server/rpc/registry_service.h"
#include "server/security/token_store.h"
#include "storage/backup_file.h"
#include "storage/memory_engine.h"

namespace muster::rpc {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

template <typename Detail>
Detail DetailIn(const grpc::Status& status) {
  google::rpc::Status details;
  Detail out;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&out)) break;
  }
  return out;
}
std::string ReasonOf(const grpc::Status& status) {
  return DetailIn<google::rpc::ErrorInfo>(status).reason();
}
std::string FieldOf(const grpc::Status& status) {
  const auto bad = DetailIn<google::rpc::BadRequest>(status);
  return bad.field_violations().empty() ? "" : bad.field_violations(0).field();
}

// The service on a free port, over a memory engine with threads and leases whose time moves by
// hand.
class AdminServiceTest : public testing::Test {
 protected:
  explicit AdminServiceTest(std::shared_ptr<security::TokenStore> tokens = nullptr)
      : authorizer_(std::move(tokens), false) {}

  void SetUp() override {
    ASSERT_TRUE(engine_.Open({&applier_}).ok());
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    registry_service_.ServeOn(grpc_calls_);
    service_.ServeOn(grpc_calls_);
    grpc_calls_.AddTo(builder);
    builder.RegisterService(&registry_service_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    grpc_calls_.Start();
    const auto channel =
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials());
    stub_ = v1::Admin::NewStub(channel);
    registry_stub_ = v1::Registry::NewStub(channel);
    level_ = base::GetLogLevel();
  }
  void TearDown() override {
    service_.EndCalls();
    server_->Shutdown();
    grpc_calls_.Stop();
    service_.Stop();
    engine_.Close();
    base::SetLogLevel(level_);
  }
  void Serve() {
    leases_.SetLoaded();
    state_.SetPhase(Phase::kServing);
  }
  void Pass(absl::Duration d) {
    clock_.Advance(d);
    leases_.Tick();
  }

  v1::RegisterResponse Register(const std::string& service, const std::string& id,
                                absl::Duration ttl, const std::string& node = "n1",
                                const std::string& value = "") {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service(service);
    request.mutable_instance()->set_node(node);
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    for (int i = 0; i < 20 && !value.empty(); ++i) {
      (*request.mutable_instance()->mutable_metadata())[absl::StrCat("k", i)] = value;
    }
    if (ttl == absl::ZeroDuration()) {
      request.set_permanent(true);
    } else {
      request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
    }
    v1::RegisterResponse response;
    grpc::ClientContext context;
    const auto status = registry_stub_->Register(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::StatusResponse Status() {
    v1::StatusResponse response;
    grpc::ClientContext context;
    const auto status = stub_->Status(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  grpc::Status List(const v1::ListLeasesRequest& request, v1::ListLeasesResponse* response) {
    response->Clear();
    grpc::ClientContext context;
    return stub_->ListLeases(&context, request, response);
  }
  // Ids in the order of the list.
  std::vector<std::string> Ids(const v1::ListLeasesRequest& request) {
    v1::ListLeasesResponse response;
    const auto status = List(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    std::vector<std::string> out;
    for (const auto& lease : response.leases()) out.push_back(lease.key().id());
    return out;
  }
  // 12 MB, more than streams buffer.
  void RegisterMuch() {
    for (int i = 0; i < 1200; ++i) {
      Register("big", absl::StrCat("i", i), absl::ZeroDuration(), "n1", std::string(500, 'x'));
    }
  }
  struct OpenBackup {
    OpenBackup() {
      context.set_deadline(absl::ToChronoTime(
          absl::FromUnixMicros((base::RealClock().System() + absl::Seconds(30)).us)));
    }
    explicit OpenBackup(v1::Admin::Stub& stub) : OpenBackup() { Start(stub); }
    void Start(v1::Admin::Stub& stub) { reader = stub.Backup(&context, {}); }
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::BackupResponse>> reader;
    v1::BackupResponse part;
  };

  base::FakeClock clock_;
  base::SeededRng rng_{1};
  core::Catalog catalog_;
  core::WatchHub hub_;
  core::LeaseTable leases_{clock_, rng_, {}};
  core::HeldSet held_{catalog_, leases_, hub_, clock_};
  core::Applier applier_{catalog_, leases_, hub_};
  std::shared_ptr<storage::MemoryStore> store_ = std::make_shared<storage::MemoryStore>();
  storage::MemoryEngine engine_{{.clock = clock_, .rng = rng_}, store_};
  core::Registry registry_{engine_, catalog_, leases_, held_, clock_, {}};
  security::Authorizer authorizer_;
  ServerState state_;
  Calls grpc_calls_;
  RegistryService registry_service_{registry_, authorizer_, state_, {}};
  ConnectionCounts connections_{.open = 7, .max = 50};
  AdminService service_{{.catalog = catalog_,
                         .leases = leases_,
                         .held = held_,
                         .engine = engine_,
                         .authorizer = authorizer_,
                         .state = state_,
                         .clock = clock_},
                        {.version = "1.2.3",
                         .build = "some compiler",
                         .max_instances = 10,
                         .max_subscriptions = 100,
                         .max_waiting_calls = 50,
                         .watches =
                             [] {
                               return WatchCounts{3, 91, 7};
                             },
                         .connections = [this] { return connections_; }}};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Admin::Stub> stub_;
  std::unique_ptr<v1::Registry::Stub> registry_stub_;
  base::LogLevel level_ = base::LogLevel::kInfo;
};

// Status

TEST_F(AdminServiceTest, StatusTellsHowTheServerIs) {
  Serve();
  Register("api", "a", absl::Seconds(30));
  Register("db", "a", absl::ZeroDuration());
  v1::DeregisterRequest remove;
  remove.mutable_key()->set_service("db");
  remove.mutable_key()->set_node("n1");
  remove.mutable_key()->set_id("a");
  v1::DeregisterResponse removed;
  grpc::ClientContext context;
  ASSERT_TRUE(registry_stub_->Deregister(&context, remove, &removed).ok());
  clock_.Advance(absl::Milliseconds(90'500));

  const v1::StatusResponse status = Status();
  EXPECT_EQ(status.version(), "1.2.3");
  EXPECT_EQ(status.build(), "some compiler");
  EXPECT_EQ(status.phase(), v1::StatusResponse::SERVING);
  EXPECT_EQ(status.uptime().seconds(), 90);
  EXPECT_EQ(status.uptime().nanos(), 500'000'000);
  EXPECT_EQ(status.started_at().seconds(), clock_.System().us / 1'000'000 - 90);
  EXPECT_EQ(status.revision().seq(), removed.revision().seq());
  EXPECT_EQ(status.revision().epoch(), removed.revision().epoch());
  EXPECT_EQ(status.services(), 2u);
  EXPECT_EQ(status.instances(), 1u);
  EXPECT_EQ(status.leases(), 1u);
  EXPECT_EQ(status.tombstones(), 1u);
  EXPECT_EQ(status.watch_streams(), 3u);
  EXPECT_EQ(status.subscriptions(), 91u);
  EXPECT_EQ(status.storage_engine(), "memory");
  EXPECT_FALSE(status.has_frozen_since());
  std::map<std::string, std::pair<uint64_t, uint64_t>> limits;
  for (const auto& l : status.limits()) limits[l.name()] = {l.used(), l.max()};
  EXPECT_EQ(limits["limits.instances"], std::pair(uint64_t{1}, uint64_t{10}));
  EXPECT_EQ(limits["limits.subscriptions"], std::pair(uint64_t{91}, uint64_t{100}));
  EXPECT_EQ(limits["limits.waiting_calls"], std::pair(uint64_t{7}, uint64_t{50}));
  EXPECT_EQ(limits["limits.write_queue"].second, engine_.Stats().queue_max);
  EXPECT_EQ(limits["limits.connections"], std::pair(uint64_t{7}, uint64_t{50}));
  EXPECT_EQ(status.refused_connections(), 0u);
  EXPECT_THAT(status.warnings(), ElementsAre("limits.subscriptions is nearly full: 91 of 100"));
}

TEST_F(AdminServiceTest, StatusWarnsOfRefusedConnectionsFor10Minutes) {
  Serve();
  connections_.refused = 3;
  connections_.last_refused = clock_.Steady();
  clock_.Advance(absl::Minutes(10));
  EXPECT_EQ(Status().refused_connections(), 3u);
  EXPECT_THAT(Status().warnings(), Contains(HasSubstr("3 connections were closed at once")));
  clock_.Advance(absl::Microseconds(1));
  EXPECT_THAT(Status().warnings(), Not(Contains(HasSubstr("closed at once"))));
  EXPECT_EQ(Status().refused_connections(), 3u);
}

TEST_F(AdminServiceTest, StatusAnswersInEveryPhase) {
  EXPECT_EQ(Status().phase(), v1::StatusResponse::LOADING);
  state_.SetPhase(Phase::kDraining);
  EXPECT_EQ(Status().phase(), v1::StatusResponse::DRAINING);
}

TEST_F(AdminServiceTest, StatusTellsSinceWhenTheStoreIsReadOnly) {
  Serve();
  store_->FailWrites(absl::DataLossError("disk on fire"));
  v1::RegisterRequest request;
  request.mutable_instance()->set_service("api");
  request.mutable_instance()->set_id("a");
  request.mutable_instance()->set_address("10.0.0.1");
  v1::RegisterResponse response;
  grpc::ClientContext context;
  EXPECT_FALSE(registry_stub_->Register(&context, request, &response).ok());
  const v1::StatusResponse status = Status();
  EXPECT_EQ(status.frozen_since().seconds(), clock_.System().us / 1'000'000);
  EXPECT_THAT(status.frozen_reason(), HasSubstr("disk on fire"));
  EXPECT_THAT(status.warnings(), Contains(HasSubstr("takes no writes")));
}

// Leases

TEST_F(AdminServiceTest, LeasesComeSoonestFirstAndPermanentOnesLast) {
  Serve();
  Register("api", "late", absl::Seconds(60));
  Register("api", "fixed", absl::ZeroDuration());
  Register("db", "soon", absl::Seconds(5), "n2");
  Register("api", "middle", absl::Seconds(30), "n2");
  v1::ListLeasesRequest request;
  EXPECT_THAT(Ids(request), ElementsAre("soon", "middle", "late"));
  request.set_include_permanent(true);
  EXPECT_THAT(Ids(request), ElementsAre("soon", "middle", "late", "fixed"));
  request.set_service("API");
  EXPECT_THAT(Ids(request), ElementsAre("middle", "late", "fixed"));
  request.set_node("n2");
  EXPECT_THAT(Ids(request), ElementsAre("middle"));
  request.set_namespace_("other");
  EXPECT_THAT(Ids(request), ElementsAre());
}

TEST_F(AdminServiceTest, ALeaseTellsItsKeyLifeAndTime) {
  Serve();
  const auto registered = Register("api", "a", absl::Seconds(30));
  Pass(absl::Milliseconds(500));
  v1::ListLeasesResponse response;
  ASSERT_TRUE(List({}, &response).ok());
  ASSERT_EQ(response.leases_size(), 1);
  const v1::Lease& lease = response.leases(0);
  EXPECT_EQ(lease.key().SerializeAsString(), registered.key().SerializeAsString());
  EXPECT_EQ(lease.incarnation(), registered.incarnation());
  EXPECT_FALSE(lease.permanent());
  EXPECT_EQ(lease.ttl().seconds(), 30);
  EXPECT_EQ(lease.remaining().seconds(), 29);
  EXPECT_EQ(lease.remaining().nanos(), 500'000'000);
}

// Every second lease is renewed between pages; none of the others is missed or seen twice.
TEST_F(AdminServiceTest, PagesMissNoLeaseWhileOthersMove) {
  Serve();
  constexpr int kLeases = 100;
  std::vector<uint64_t> handles;
  for (int i = 0; i < kLeases; ++i) {
    handles.push_back(Register("api", absl::StrCat(i), absl::Seconds(30)).lease_handle());
    if (i % 4 == 0) Pass(absl::Milliseconds(100));  // four share a deadline
  }
  Register("api", "fixed1", absl::ZeroDuration());
  Register("api", "fixed2", absl::ZeroDuration());
  v1::ListLeasesRequest request;
  request.set_page_size(7);
  request.set_include_permanent(true);
  std::map<std::string, int> seen;
  int pages = 0;
  do {
    v1::ListLeasesResponse response;
    const auto status = List(request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_LE(response.leases_size(), 7);
    for (const auto& lease : response.leases()) ++seen[lease.key().id()];
    request.set_page_token(response.next_page_token());
    Pass(absl::Milliseconds(10));
    for (int i = 1; i < kLeases; i += 2) {
      EXPECT_EQ(leases_.RenewHandle(handles[static_cast<size_t>(i)]).outcome,
                core::RenewOutcome::kRenewed);
    }
    ASSERT_LT(++pages, 100);
  } while (!request.page_token().empty());
  EXPECT_GT(pages, 10);
  for (int i = 0; i < kLeases; i += 2) EXPECT_EQ(seen[absl::StrCat(i)], 1) << i;
  for (int i = 1; i < kLeases; i += 2) {
    EXPECT_GE(seen[absl::StrCat(i)], 1) << i;
    EXPECT_LE(seen[absl::StrCat(i)], 2) << i;
  }
  EXPECT_EQ(seen["fixed1"], 1);
  EXPECT_EQ(seen["fixed2"], 1);
}

TEST_F(AdminServiceTest, ListLeasesNamesWhatIsWrong) {
  Serve();
  v1::ListLeasesResponse response;
  v1::ListLeasesRequest request;
  request.set_page_size(10'001);
  grpc::Status status = List(request, &response);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(status), "page_size");
  request.set_page_size(10'000);
  EXPECT_TRUE(List(request, &response).ok());

  request.set_page_token("garbage");
  status = List(request, &response);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(status), "PAGE_TOKEN_INVALID");
  EXPECT_EQ(FieldOf(status), "page_token");

  request.clear_page_token();
  request.set_service("a b");
  EXPECT_EQ(FieldOf(List(request, &response)), "service");
  request.clear_service();
  request.set_namespace_("a b");
  EXPECT_EQ(FieldOf(List(request, &response)), "namespace");
}

TEST_F(AdminServiceTest, APageTokenBelongsToItsRequestAndItsRunOfTheServer) {
  Serve();
  for (const char* id : {"a", "b", "c"}) Register("api", id, absl::Seconds(30));
  v1::ListLeasesRequest request;
  request.set_page_size(1);
  v1::ListLeasesResponse response;
  ASSERT_TRUE(List(request, &response).ok());
  request.set_page_token(response.next_page_token());
  request.set_page_size(2);
  EXPECT_THAT(Ids(request), ElementsAre("b", "c")) << "the size of pages may change";
  request.set_service("api");
  grpc::Status status = List(request, &response);
  EXPECT_EQ(ReasonOf(status), "PAGE_TOKEN_INVALID");

  request.clear_service();
  auto token = DecodePageToken(request.page_token());
  ASSERT_TRUE(token.ok());
  ++token->epoch;
  request.set_page_token(EncodePageToken(*token));
  status = List(request, &response);
  EXPECT_EQ(status.error_code(), grpc::ABORTED);
  EXPECT_EQ(ReasonOf(status), "PAGE_TOKEN_EXPIRED");
}

// Backup

TEST_F(AdminServiceTest, ABackupIsAWholeCopyInSmallParts) {
  Serve();
  RegisterMuch();
  OpenBackup backup(*stub_);
  std::string bytes;
  int parts = 0;
  while (backup.reader->Read(&backup.part)) {
    EXPECT_LE(backup.part.chunk().size(), kMaxBackupChunk);
    EXPECT_EQ(backup.part.has_revision(), parts == 0);
    if (parts++ == 0) {
      EXPECT_EQ(backup.part.revision().seq(), engine_.revision().seq);
      EXPECT_EQ(backup.part.revision().epoch(), engine_.revision().epoch);
      Register("later", "a", absl::ZeroDuration());
    }
    bytes += backup.part.chunk();
  }
  ASSERT_TRUE(backup.reader->Finish().ok());
  EXPECT_GT(parts, 20);
  std::istringstream in(bytes);
  storage::BackupReader reader(in);
  const auto header = reader.ReadHeader();
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->version(), "1.2.3");
  size_t instances = 0;
  while (true) {
    const auto entry = reader.Next();
    ASSERT_TRUE(entry.ok()) << entry.status();
    if (!*entry) break;
    if ((*entry)->family == storage::Family::kInstances) ++instances;
  }
  EXPECT_EQ(instances, 1200u) << "what was registered later is not in it";
}

TEST_F(AdminServiceTest, OneBackupAtATimeAndACancelledOneMakesRoom) {
  Serve();
  RegisterMuch();
  OpenBackup first(*stub_);
  ASSERT_TRUE(first.reader->Read(&first.part));
  {
    OpenBackup second(*stub_);
    EXPECT_FALSE(second.reader->Read(&second.part));
    const grpc::Status status = second.reader->Finish();
    EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
    EXPECT_GT(DetailIn<google::rpc::RetryInfo>(status).retry_delay().seconds(), 0);
  }
  // Nobody else waits for it.
  Register("api", "a", absl::Seconds(30));
  EXPECT_EQ(Status().instances(), 1201u);
  first.context.TryCancel();
  EXPECT_EQ(first.reader->Finish().error_code(), grpc::CANCELLED);
  const base::SteadyTime give_up = base::RealClock().Steady() + absl::Seconds(20);
  bool room = false;
  while (!room && base::RealClock().Steady() < give_up) {
    OpenBackup next(*stub_);
    room = next.reader->Read(&next.part);
    next.context.TryCancel();
    (void)next.reader->Finish();
  }
  EXPECT_TRUE(room);
}

TEST_F(AdminServiceTest, StoppingEndsABackupWhoseClientTakesNothing) {
  Serve();
  RegisterMuch();
  OpenBackup backup(*stub_);
  ASSERT_TRUE(backup.reader->Read(&backup.part));
  service_.EndCalls();
  service_.Stop();  // returns although nobody reads
  while (backup.reader->Read(&backup.part)) {
  }
  EXPECT_THAT(backup.reader->Finish().error_code(),
              testing::AnyOf(grpc::UNAVAILABLE, grpc::CANCELLED));
  OpenBackup late(*stub_);
  EXPECT_FALSE(late.reader->Read(&late.part));
  EXPECT_EQ(ReasonOf(late.reader->Finish()), "DRAINING");
}

// Verify

TEST_F(AdminServiceTest, VerifyCountsAndFindsWhatIsWrong) {
  Serve();
  Register("api", "a", absl::Seconds(30));
  Register("api", "b", absl::ZeroDuration());
  v1::VerifyResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Verify(&context, {}, &response).ok());
  EXPECT_TRUE(response.ok());
  EXPECT_EQ(response.services_checked(), 1u);
  EXPECT_EQ(response.instances_checked(), 2u);
  EXPECT_EQ(response.leases_checked(), 2u);
  EXPECT_EQ(response.revision().seq(), engine_.revision().seq);

  leases_.Put({.key = storage::EncodeInstanceKey("default", "api", "n1", "nobody"),
               .mod_seq = 1,
               .ttl = absl::Seconds(30)});
  response.Clear();
  grpc::ClientContext again;
  ASSERT_TRUE(stub_->Verify(&again, {}, &response).ok());
  EXPECT_FALSE(response.ok());
  EXPECT_THAT(response.problems(), ElementsAre(HasSubstr("\"nobody\"")));
}

// Log level

TEST_F(AdminServiceTest, TheLogLevelChanges) {
  base::SetLogLevel(base::LogLevel::kWarn);
  v1::SetLogLevelRequest request;
  v1::SetLogLevelResponse response;
  request.set_level("error");
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->SetLogLevel(&context, request, &response).ok());
  EXPECT_EQ(response.previous(), "warn");
  EXPECT_EQ(base::GetLogLevel(), base::LogLevel::kError);
  request.set_level("loud");
  grpc::ClientContext bad;
  const grpc::Status status = stub_->SetLogLevel(&bad, request, &response);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(status), "level");
  EXPECT_THAT(status.error_message(), HasSubstr("debug, info, warn, error"));
  EXPECT_EQ(base::GetLogLevel(), base::LogLevel::kError);
}

// Refusals

TEST_F(AdminServiceTest, WhileLoadingOnlyStatusAndTheLogLevelAnswer) {
  v1::ListLeasesResponse leases;
  EXPECT_EQ(ReasonOf(List({}, &leases)), "LOADING");
  v1::VerifyResponse verified;
  grpc::ClientContext context;
  EXPECT_EQ(ReasonOf(stub_->Verify(&context, {}, &verified)), "LOADING");
  OpenBackup backup(*stub_);
  EXPECT_FALSE(backup.reader->Read(&backup.part));
  EXPECT_EQ(ReasonOf(backup.reader->Finish()), "LOADING");
}

std::shared_ptr<security::TokenStore> TwoTokens() {
  std::string dir = testing::TempDir() + "admin_XXXXXX";
  EXPECT_NE(mkdtemp(dir.data()), nullptr);
  std::ofstream(dir + "/tokens") << "read reader-token-0001 eyes\nwrite writer-token-0001 hands\n";
  auto store = std::make_shared<security::TokenStore>(dir + "/tokens");
  EXPECT_TRUE(store->Load().ok());
  std::filesystem::remove_all(dir);
  return store;
}

class AdminRightsTest : public AdminServiceTest {
 protected:
  AdminRightsTest() : AdminServiceTest(TwoTokens()) {}

  // The code that each call ends with for a token, by name of the call.
  std::map<std::string, grpc::StatusCode> Codes(const std::string& token) {
    std::map<std::string, grpc::StatusCode> out;
    const auto call = [&](const char* name, auto method, auto request, auto response) {
      grpc::ClientContext context;
      if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
      out[name] = (*stub_.*method)(&context, request, &response).error_code();
    };
    using Stub = v1::Admin::Stub;
    call("Status", &Stub::Status, v1::StatusRequest(), v1::StatusResponse());
    call("ListLeases", &Stub::ListLeases, v1::ListLeasesRequest(), v1::ListLeasesResponse());
    call("Verify", &Stub::Verify, v1::VerifyRequest(), v1::VerifyResponse());
    v1::SetLogLevelRequest level;
    level.set_level("info");
    call("SetLogLevel", &Stub::SetLogLevel, level, v1::SetLogLevelResponse());
    OpenBackup backup;
    if (!token.empty()) backup.context.AddMetadata("authorization", "Bearer " + token);
    backup.Start(*stub_);
    while (backup.reader->Read(&backup.part)) {
    }
    out["Backup"] = backup.reader->Finish().error_code();
    return out;
  }
};

TEST_F(AdminRightsTest, CallsNeedTheirRight) {
  Serve();
  for (const auto& [name, code] : Codes("")) EXPECT_EQ(code, grpc::UNAUTHENTICATED) << name;
  for (const auto& [name, code] : Codes("writer-token-0001")) EXPECT_EQ(code, grpc::OK) << name;
  auto read = Codes("reader-token-0001");
  for (const char* name : {"Status", "ListLeases", "Verify"}) EXPECT_EQ(read[name], grpc::OK);
  for (const char* name : {"SetLogLevel", "Backup"}) {
    EXPECT_EQ(read[name], grpc::PERMISSION_DENIED) << name;
  }
}

TEST_F(AdminServiceTest, LaterCallsSayThatTheyAreNotInThisRelease) {
  Serve();
  const auto expect_later = [](const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED);
    EXPECT_EQ(ReasonOf(status), "NOT_IN_THIS_RELEASE");
  };
  const auto call = [&](auto& stub, auto method, auto request, auto response) {
    grpc::ClientContext context;
    expect_later((stub.*method)(&context, request, &response));
  };
  using Admin = v1::Admin::Stub;
  call(*stub_, &Admin::TopServices, v1::TopServicesRequest(), v1::TopServicesResponse());
  call(*stub_, &Admin::ListWatchers, v1::ListWatchersRequest(), v1::ListWatchersResponse());
}

}  // namespace
}  // namespace muster::rpc
