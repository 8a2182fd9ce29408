// A server that is halted, asked to stop, and told twice.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/scenario/abuse.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using grpc::StatusCode;

constexpr absl::Duration kTtl = absl::Seconds(2);
constexpr char kService[] = "web";

class Halted : public testing::Test {
 protected:
  void Start(const std::string& id) {
    services_[id] = std::make_unique<Process>(
        std::vector<std::string>{BinDir() + "/../tests/bin/service_process", server_->address(),
                                 kService, id, absl::StrCat(absl::ToInt64Seconds(kTtl))});
  }
  void StartCommand(const std::string& id) {
    services_[id] = std::make_unique<Process>(
        std::vector<std::string>{BinDir() + "/muster", "--addr", server_->address(), "register",
                                 kService, "10.0.0.1:80", "--id", id, "--ttl",
                                 absl::FormatDuration(kTtl), "--keepalive"},
        dir_.path(id + ".err"));
  }
  std::map<std::string, uint64_t> Incarnations() {
    v1::ListLeasesResponse leases;
    grpc::ClientContext context;
    Remote::Prepare(context);
    const grpc::Status status = remote_->admin->ListLeases(&context, {}, &leases);
    EXPECT_TRUE(status.ok()) << status.error_message();
    std::map<std::string, uint64_t> out;
    for (const auto& lease : leases.leases()) out[lease.key().id()] = lease.incarnation();
    return out;
  }

  TempDir dir_;
  std::unique_ptr<Musterd> server_ = std::make_unique<Musterd>(dir_.path("data"));
  std::unique_ptr<Remote> remote_ = std::make_unique<Remote>(server_->address());
  std::map<std::string, std::unique_ptr<Process>> services_;
};

TEST_F(Halted, NobodyExpiresWhoStillHeartbeats) {
  for (int i = 0; i < 18; ++i) Start(absl::StrCat("s-", i));
  for (int i = 0; i < 2; ++i) StartCommand(absl::StrCat("c-", i));
  Start("dies");
  for (auto& [id, process] : services_) ASSERT_TRUE(process->ReadLine().has_value()) << id;
  Watcher watcher(server_->address(), kService);
  ASSERT_TRUE(Eventually([&] { return watcher.ids().size() == services_.size(); }));
  auto before = Incarnations();
  ASSERT_EQ(before.size(), services_.size());

  server_->process().Signal(SIGSTOP);
  Pause(kTtl);
  services_["dies"]->Kill();
  Pause(kTtl * 2);
  server_->process().Signal(SIGCONT);
  const absl::Time resumed = Now();

  // The one that died meanwhile leaves, and nobody else.
  ASSERT_TRUE(Eventually([&] { return !watcher.gone().empty(); }, kTtl + absl::Seconds(5)));
  Pause(kTtl * 2 - (Now() - resumed));
  ASSERT_EQ(watcher.gone().size(), 1u);
  EXPECT_TRUE(watcher.gone().contains("dies"));
  EXPECT_LE(watcher.gone()["dies"] - resumed, kTtl + absl::Seconds(1));
  EXPECT_EQ(watcher.seen().changes, 1);
  EXPECT_EQ(watcher.seen().streams, 1);
  before.erase("dies");
  EXPECT_EQ(Incarnations(), before) << "nobody had to register again";
  services_.erase("dies");
  for (auto& [id, process] : services_) EXPECT_TRUE(process->Running()) << id;
}

// A stream that the server is to end, read by a thread of its own.
class OpenStream {
 public:
  static std::unique_ptr<OpenStream> Watch(Remote& remote) {
    auto out = std::make_unique<OpenStream>();
    std::shared_ptr stream = remote.discovery->Watch(&out->context_);
    v1::WatchRequest request;
    request.mutable_subscribe()->set_sub_id(1);
    request.mutable_subscribe()->set_service(kService);
    out->Begin(stream, request, v1::WatchResponse());
    return out;
  }
  static std::unique_ptr<OpenStream> KeepAlive(Remote& remote, uint64_t handle) {
    auto out = std::make_unique<OpenStream>();
    std::shared_ptr stream = remote.registry->KeepAlive(&out->context_);
    v1::HeartbeatRequest request;
    request.add_lease_handles(handle);
    out->Begin(stream, request, v1::HeartbeatResponse());
    return out;
  }
  // Answered only once the store has gone on by far.
  static std::unique_ptr<OpenStream> Discover(Remote& remote, v1::Revision revision) {
    auto out = std::make_unique<OpenStream>();
    revision.set_seq(revision.seq() + 1'000'000);
    out->thread_ = std::thread([stream = out.get(), &remote, revision] {
      v1::DiscoverRequest request;
      request.set_service(kService);
      *request.mutable_min_revision() = revision;
      v1::DiscoverResponse response;
      stream->status_ = remote.discovery->Discover(&stream->context_, request, &response);
    });
    return out;
  }
  OpenStream() { Remote::Prepare(context_, absl::Seconds(60)); }
  ~OpenStream() {
    context_.TryCancel();
    if (thread_.joinable()) thread_.join();
  }

  // Waits for the end.
  const grpc::Status& status() {
    if (thread_.joinable()) thread_.join();
    return status_;
  }

 private:
  // Returns once the server has answered.
  template <typename Stream, typename Request, typename Response>
  void Begin(Stream stream, const Request& request, Response response) {
    EXPECT_TRUE(stream->Write(request));
    EXPECT_TRUE(stream->Read(&response));
    thread_ = std::thread([this, stream, response]() mutable {
      while (stream->Read(&response)) {
      }
      status_ = stream->Finish();
    });
  }

  grpc::ClientContext context_;
  grpc::Status status_;
  std::thread thread_;
};

class Stopped : public testing::Test {
 protected:
  // `more`: bytes of metadata.
  grpc::Status Register(Remote& remote, const std::string& id, int more = 0) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service(kService);
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    request.mutable_ttl()->set_seconds(600);
    for (int i = 0; i < more; i += 500) {
      (*request.mutable_instance()->mutable_metadata())[absl::StrCat("k", i)].assign(500, 'x');
    }
    grpc::ClientContext context;  // a server that is gone is an error here
    context.set_deadline(absl::ToChronoTime(Now() + absl::Seconds(20)));
    response_.Clear();
    const grpc::Status status = remote.registry->Register(&context, request, &response_);
    if (status.ok()) acknowledged_[id] = response_.incarnation();
    return status;
  }
  void ExpectAcknowledgedIsThere() {
    Musterd again(dir_.path("data"));
    Remote remote(again.address());
    std::set<std::string> ids;
    const v1::DiscoverResponse found = remote.Discover(kService);
    for (const auto& endpoint : found.endpoints()) ids.insert(endpoint.id());
    for (const auto& [id, incarnation] : acknowledged_) {
      EXPECT_TRUE(ids.contains(id)) << id;
      v1::HeartbeatRequest beat;
      beat.add_lease_handles(incarnation);
      v1::HeartbeatResponse beaten;
      ASSERT_TRUE(remote.Heartbeat(beat, &beaten).ok());
      EXPECT_EQ(beaten.outcomes(0), v1::HeartbeatResponse::RENEWED) << id;
    }
    EXPECT_EQ(again.Stop(), 0);
  }

  TempDir dir_;
  std::unique_ptr<Musterd> server_ = std::make_unique<Musterd>(dir_.path("data"));
  std::unique_ptr<Remote> remote_ = std::make_unique<Remote>(server_->address());
  v1::RegisterResponse response_;
  std::map<std::string, uint64_t> acknowledged_;
};

TEST_F(Stopped, OpenStreamsAreToldAndNothingIsLost) {
  std::map<std::string, std::unique_ptr<OpenStream>> streams;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(Register(*remote_, absl::StrCat("w-", i)).ok());
    streams[absl::StrCat("KeepAlive ", i)] =
        OpenStream::KeepAlive(*remote_, response_.lease_handle());
  }
  for (int i = 0; i < 50; ++i) {
    streams[absl::StrCat("Watch ", i)] = OpenStream::Watch(*remote_);
  }
  streams["Discover"] = OpenStream::Discover(*remote_, remote_->Status().revision());
  ASSERT_EQ(remote_->Status().watch_streams(), 50u);

  // Somebody goes on writing until the server says no.
  grpc::Status refused;
  std::thread writer([&] {
    Remote mine(server_->address());
    for (int i = 0; refused.ok(); ++i) refused = Register(mine, absl::StrCat("late-", i));
  });
  EXPECT_TRUE(Eventually([&] {
    const auto answer = remote_->Discover(kService);
    return answer.endpoints_size() > 30;
  }));
  const absl::Time asked = Now();
  EXPECT_EQ(server_->Stop(), 0);
  EXPECT_LE(Now() - asked, absl::Seconds(4)) << "nobody made it wait";
  writer.join();
  EXPECT_EQ(refused.error_code(), StatusCode::UNAVAILABLE) << refused.error_message();
  for (auto& [what, stream] : streams) {
    ExpectError(stream->status(),
                {StatusCode::UNAVAILABLE, "DRAINING", "", "the server is stopping"}, what);
  }
  EXPECT_GT(acknowledged_.size(), 30u);
  ExpectAcknowledgedIsThere();
}

// A foreign stream that waits for its client keeps the server for some seconds; a second signal
// ends it at once.
TEST_F(Stopped, WatchesOfItsHealthAreToldAndEnd) {
  using grpc::health::v1::HealthCheckResponse;
  const auto stub = grpc::health::v1::Health::NewStub(remote_->channel);
  grpc::ClientContext context;
  Remote::Prepare(context);
  const auto health = stub->Watch(&context, {});
  HealthCheckResponse response;
  ASSERT_TRUE(health->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  const absl::Time asked = Now();
  server_->process().Signal(SIGTERM);
  ASSERT_TRUE(health->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(health->Read(&response));
  EXPECT_EQ(health->Finish().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(server_->process().Wait(), 0);
  EXPECT_LE(Now() - asked, absl::Seconds(2)) << "the watch kept it";
}

TEST_F(Stopped, ASecondSignalEndsItAtOnce) {
  // More than a stream takes that nobody reads.
  for (int i = 0; i < 1500; ++i) ASSERT_TRUE(Register(*remote_, absl::StrCat("w-", i), 5000).ok());
  const auto watch = OpenStream::Watch(*remote_);
  // Whose window stays as it is: gRPC lets it grow with what it measures.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const auto discovery = v1::Discovery::NewStub(
      grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  const auto unread = discovery->Watch(&context);
  v1::WatchRequest request;
  request.mutable_subscribe()->set_sub_id(1);
  request.mutable_subscribe()->set_service(kService);
  ASSERT_TRUE(unread->Write(request));
  ASSERT_TRUE(Eventually([&] { return remote_->Status().subscriptions() == 2; }));

  server_->process().Signal(SIGTERM);
  EXPECT_EQ(watch->status().error_code(), StatusCode::UNAVAILABLE) << "it is stopping";
  EXPECT_EQ(server_->process().Wait(absl::Seconds(1)), std::nullopt) << "the stream keeps it";
  const absl::Time again = Now();
  server_->process().Signal(SIGTERM);
  EXPECT_EQ(server_->process().Wait(), 128 + SIGTERM);
  EXPECT_LE(Now() - again, absl::Seconds(2));
  context.TryCancel();
  EXPECT_FALSE(unread->Finish().ok());
  ExpectAcknowledgedIsThere();
}

}  // namespace
}  // namespace muster::test
