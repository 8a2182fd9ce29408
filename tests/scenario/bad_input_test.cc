// Bad input on a real server: each gets a clear error, the server goes on, and nothing stays
// behind.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/scenario/abuse.h"
#include "tests/scenario/bad_fields.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using grpc::StatusCode;

constexpr int kWarmUps = 2;
constexpr int kCycles = 10;
constexpr double kShare = 0.02;
constexpr int kWanted = 10'000;
constexpr int kAllowed = 5'000;

v1::WatchRequest SubscribeTo(uint64_t sub_id, const std::string& service) {
  v1::WatchRequest request;
  request.mutable_subscribe()->set_sub_id(sub_id);
  request.mutable_subscribe()->set_service(service);
  return request;
}

// Threads by name, but those of gRPC's executors: they start one more, up to twice the processors,
// whenever two calls meet, and keep it.
std::map<std::string, int> SteadyThreads(pid_t pid) {
  std::map<std::string, int> out;
  std::error_code ignored;
  for (const auto& task :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/task"), ignored)) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (!absl::EndsWith(name, "-executo") && !absl::EndsWith(name, "-execut")) ++out[name];
  }
  return out;
}

class BadInput : public testing::Test {
 protected:
  // Yesterday's token: of a set that has changed since, on a server that has restarted since.
  void SetUp() override {
    // One arena, and fixed thresholds: what is freed goes back to the system, so that memory is a
    // number of the server and not of the allocator's mood.
    setenv("MALLOC_ARENA_MAX", "1", 1);
    setenv("MALLOC_MMAP_THRESHOLD_", "65536", 1);
    setenv("MALLOC_TRIM_THRESHOLD_", "65536", 1);
    server_ = std::make_unique<Musterd>(dir_.path("data"));
    Remote remote(server_->address());
    FillPages(remote);
    v1::DiscoverRequest request;
    request.set_service("pages");
    v1::DiscoverResponse page;
    grpc::ClientContext context;
    Remote::Prepare(context);
    ASSERT_TRUE(remote.discovery->Discover(&context, request, &page).ok());
    yesterday_ = page.next_page_token();
    ASSERT_NE(yesterday_, "");
    v1::DeregisterResponse gone;
    v1::InstanceKey key;
    key.set_service("pages");
    key.set_id("p-0");
    ASSERT_TRUE(remote.Deregister(key, 0, &gone).ok());
    ASSERT_EQ(server_->Stop(), 0);
    server_ = std::make_unique<Musterd>(dir_.path("data"));
  }
  // More than one page.
  static void FillPages(Remote& remote) {
    for (int batch = 0; batch < 3; ++batch) {
      v1::BatchRegisterRequest request;
      for (int n = 0; n < 50; ++n) {
        auto* one = request.add_requests();
        *one = Good("pages", absl::StrCat("p-", batch * 50 + n));
        for (int t = 0; t < 12; ++t) one->mutable_instance()->add_tags(std::string(1000, 't'));
      }
      v1::BatchRegisterResponse response;
      grpc::ClientContext context;
      Remote::Prepare(context);
      ASSERT_TRUE(remote.registry->BatchRegister(&context, request, &response).ok());
    }
  }

  void Cycle(uint32_t seed);
  void BadRegistrations(Remote& remote);
  void BadWrites(Remote& remote);
  void BadOperatorCalls(Remote& remote);
  void BadChecks(Remote& remote);
  void BadReads(Remote& remote);
  void NoMessages(Remote& remote);
  void HalfClosed(Remote& remote);
  void Cancelled(Remote& remote);
  void TooManySubscriptions(Remote& remote);
  void BadWatches(Remote& remote);
  void StillServes(Remote& remote);

  grpc::Status Discover(Remote& remote, const v1::DiscoverRequest& request,
                        absl::Duration timeout = absl::Seconds(20)) {
    grpc::ClientContext context;
    Remote::Prepare(context, timeout);
    v1::DiscoverResponse response;
    return remote.discovery->Discover(&context, request, &response);
  }

  TempDir dir_;
  std::unique_ptr<Musterd> server_;
  std::string yesterday_;
};

void BadInput::BadRegistrations(Remote& remote) {
  std::vector<BadInstance> all = BadNames();
  for (auto& field : BadFields()) all.push_back(std::move(field));
  v1::BatchRegisterRequest batch;
  for (const BadInstance& bad : all) {
    v1::RegisterRequest request = Good("bad", "b-1");
    bad.spoil(request, *request.mutable_instance());
    v1::RegisterResponse response;
    ExpectError(remote.Register(request, &response), bad.wanted, bad.what);
    *batch.add_requests() = request;
  }
  // In a batch each has its own error.
  grpc::ClientContext context;
  Remote::Prepare(context);
  v1::BatchRegisterResponse response;
  ASSERT_TRUE(remote.registry->BatchRegister(&context, batch, &response).ok());
  ASSERT_EQ(response.results_size(), batch.requests_size());
  for (int i = 0; i < response.results_size(); ++i) {
    ExpectError(response.results(i).status(), all[static_cast<size_t>(i)].wanted,
                all[static_cast<size_t>(i)].what + " in a batch");
  }
  EXPECT_EQ(remote.Discover("bad").empty_reason(), v1::UNKNOWN_SERVICE);
}

void BadInput::BadWrites(Remote& remote) {
  for (const int count : {0, 1001}) {
    v1::BatchRegisterRequest batch;
    for (int i = 0; i < count; ++i) *batch.add_requests() = Good("bad", absl::StrCat("b-", i));
    grpc::ClientContext context;
    Remote::Prepare(context);
    v1::BatchRegisterResponse response;
    ExpectError(remote.registry->BatchRegister(&context, batch, &response),
                {StatusCode::INVALID_ARGUMENT, "LIMIT_BATCH", "requests",
                 absl::StrCat("requests has ", count, " items; allowed: 1 to 1000")},
                "batch");
  }
  v1::HeartbeatRequest beats;
  for (uint64_t i = 0; i < 10'001; ++i) beats.add_lease_handles(i);
  const Wanted too_many{StatusCode::INVALID_ARGUMENT, "LIMIT_BATCH", "lease_handles",
                        "lease_handles and leases have 10001 items; at most 10000"};
  v1::HeartbeatResponse beaten;
  ExpectError(remote.Heartbeat(beats, &beaten), too_many, "10,001 heartbeats");
  grpc::ClientContext context;
  Remote::Prepare(context);
  const auto stream = remote.registry->KeepAlive(&context);
  EXPECT_TRUE(stream->Write(beats));
  EXPECT_FALSE(stream->Read(&beaten));
  ExpectError(stream->Finish(), too_many, "10,001 heartbeats on a stream");

  v1::InstanceKey key;
  key.set_service("nobody");
  v1::DeregisterResponse gone;
  ExpectError(remote.Deregister(key, 0, &gone), BadField("key.id", "id is empty"), "no id");
  key.set_id("n-1");
  ExpectError(remote.Deregister(key, 0, &gone),
              {StatusCode::NOT_FOUND, "INSTANCE_NOT_FOUND", "", "\"nobody\" has no instance"},
              "unknown instance");
  v1::ReportHealthResponse reported;
  ExpectError(remote.Report(key, 0, "", v1::PASSING, &reported),
              {StatusCode::NOT_FOUND, "INSTANCE_NOT_FOUND", "", "\"nobody\" has no instance"},
              "report for an unknown instance");
  key.set_service("pages");
  key.set_id("p-1");
  ExpectError(remote.Report(key, 0, "", v1::HEALTH_UNSPECIFIED, &reported),
              BadField("status", "status is 0"), "report of nothing");
  ExpectError(remote.Report(key, 0, "none", v1::PASSING, &reported),
              {StatusCode::NOT_FOUND, "CHECK_NOT_FOUND", "", "check"}, "report for no check");
}

void BadInput::BadOperatorCalls(Remote& remote) {
  for (const auto& bad : BadMaintenance()) {
    v1::SetMaintenanceRequest request;
    request.set_on(true);
    bad.spoil(request);
    grpc::ClientContext context;
    Remote::Prepare(context);
    v1::SetMaintenanceResponse response;
    ExpectError(remote.registry->SetMaintenance(&context, request, &response), bad.wanted,
                bad.what);
  }
  for (const auto& bad : BadSettings()) {
    v1::SetServiceSettingsRequest request;
    request.set_service("bad");
    bad.spoil(request);
    grpc::ClientContext context;
    Remote::Prepare(context);
    v1::SetServiceSettingsResponse response;
    ExpectError(remote.registry->SetServiceSettings(&context, request, &response), bad.wanted,
                bad.what);
  }
  EXPECT_EQ(remote.Discover("bad").empty_reason(), v1::UNKNOWN_SERVICE);
}

// Of an instance with 32 checks: nothing of it changes.
void BadInput::BadChecks(Remote& remote) {
  v1::RegisterRequest full = Good("full", "f-1");
  for (int i = 0; i < 32; ++i) {
    v1::Check* check = full.mutable_instance()->add_checks();
    check->mutable_ttl()->mutable_ttl()->set_seconds(3600);
    check->set_initial_status(v1::PASSING);
  }
  v1::RegisterResponse registered;
  ASSERT_TRUE(remote.Register(full, &registered).ok());
  for (const auto& bad : BadAdditions()) {
    v1::AddCheckRequest request;
    *request.mutable_key() = registered.key();
    request.mutable_check()->set_id("check-1");
    request.mutable_check()->mutable_http()->set_url("/");
    bad.spoil(request);
    grpc::ClientContext context;
    Remote::Prepare(context);
    v1::AddCheckResponse response;
    ExpectError(remote.registry->AddCheck(&context, request, &response), bad.wanted, bad.what);
  }
  for (const auto& [id, wanted] : std::vector<std::pair<std::string, Wanted>>{
           {"none", {StatusCode::NOT_FOUND, "CHECK_NOT_FOUND", "", "has no check \"none\""}},
           {"a\x1b[2Jb", {StatusCode::NOT_FOUND, "CHECK_NOT_FOUND", "", "\\x1b"}},
           {"", BadField("check_id", "is empty; say which check is to go")}}) {
    v1::RemoveCheckRequest request;
    *request.mutable_key() = registered.key();
    request.set_check_id(id);
    grpc::ClientContext context;
    Remote::Prepare(context);
    v1::RemoveCheckResponse response;
    ExpectError(remote.registry->RemoveCheck(&context, request, &response), wanted, "remove " + id);
  }
  v1::RegisterResponse again;
  ASSERT_TRUE(remote.Register(full, &again).ok());
  EXPECT_FALSE(again.changed()) << "nothing was stored";
  v1::DeregisterResponse gone;
  EXPECT_TRUE(remote.Deregister(registered.key(), 0, &gone).ok());
}

void BadInput::BadReads(Remote& remote) {
  v1::DiscoverRequest request;
  ExpectError(Discover(remote, request), BadName("service", "service name is empty"), "no service");
  request.set_service(std::string(129, 's'));
  ExpectError(Discover(remote, request), BadName("service", "has 129 bytes"), "long service");
  request.set_service("pages");
  request.set_namespace_("a b");
  ExpectError(Discover(remote, request), BadName("namespace", "namespace"), "bad namespace");
  request.clear_namespace_();
  for (int i = 0; i < 17; ++i) request.mutable_selector()->add_all_tags("t");
  ExpectError(Discover(remote, request), BadField("selector.all_tags", "all_tags has 17 items"),
              "17 tags");
  request.clear_selector();
  request.mutable_selector()->set_filter("a == b");
  ExpectError(Discover(remote, request),
              {StatusCode::INVALID_ARGUMENT, "NOT_IN_THIS_RELEASE", "selector.filter", "filter"},
              "filter");
  request.clear_selector();
  request.mutable_min_revision()->set_epoch(7);
  ExpectError(Discover(remote, request),
              {StatusCode::FAILED_PRECONDITION, "EPOCH_CHANGED", "min_revision.epoch",
               "min_revision is of epoch 7"},
              "another epoch");
  request.clear_min_revision();
  const Wanted no_token{StatusCode::INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token",
                        "page_token"};
  for (const std::string& token :
       {std::string("garbage"), std::string("AAAA"), std::string(10'000, 'A')}) {
    request.set_page_token(token);
    ExpectError(Discover(remote, request), no_token, "garbage token");
    v1::ListServicesRequest list;
    list.set_page_token(token);
    grpc::ClientContext context;
    Remote::Prepare(context);
    v1::ListServicesResponse listed;
    ExpectError(remote.discovery->ListServices(&context, list, &listed), no_token,
                "garbage token for ListServices");
  }
  request.set_page_token(yesterday_);
  ExpectError(Discover(remote, request),
              {StatusCode::ABORTED, "PAGE_TOKEN_EXPIRED", "", "page_token"}, "yesterday's token");
  request.set_service("other");
  ExpectError(Discover(remote, request), no_token, "another service's token");

  v1::ListServicesRequest list;
  list.set_page_size(10'001);
  grpc::ClientContext context;
  Remote::Prepare(context);
  v1::ListServicesResponse listed;
  ExpectError(remote.discovery->ListServices(&context, list, &listed),
              BadField("page_size", "page_size is 10001"), "page of 10,001");
}

// What is no message at all, or none that the server knows.
void BadInput::NoMessages(Remote& remote) {
  const std::string garbage = RandomBytes(4711, 300);
  ExpectError(RawCall(remote.channel, "/muster.v1.Discovery/Discover", garbage),
              BadField("", "request can't be read"), "garbage for Discover");
  ExpectError(RawCall(remote.channel, "/muster.v1.Discovery/Watch", garbage),
              BadField("", "request is not a muster.v1.WatchRequest"), "garbage for Watch");
  const Wanted unreadable = BadField("", "request can't be read");
  for (const char* method :
       {"/muster.v1.Registry/Register", "/muster.v1.Registry/BatchRegister",
        "/muster.v1.Registry/Heartbeat", "/muster.v1.Registry/KeepAlive",
        "/muster.v1.Registry/SetMaintenance", "/muster.v1.Registry/SetServiceSettings",
        "/muster.v1.Discovery/ListServices", "/muster.v1.Discovery/WatchServices",
        "/muster.v1.Admin/ListLeases"}) {
    ExpectError(RawCall(remote.channel, method, garbage), unreadable, method);
  }
  // A service name of two bytes that are not UTF-8.
  ExpectError(RawCall(remote.channel, "/muster.v1.Registry/Register", "\x0a\x04\x12\x02\xff\xfe"),
              unreadable, "bad UTF-8");
  // gRPC itself refuses what follows; it gives no reasons.
  for (const char* method : {"/muster.v1.Registry/NoSuchMethod", "/no.such.Service/Method", "/x"}) {
    EXPECT_EQ(RawCall(remote.channel, method, "").error_code(), StatusCode::UNIMPLEMENTED)
        << method;
  }
  const std::string large(10 << 20, 'x');
  for (const char* method : {"/muster.v1.Registry/Register", "/muster.v1.Discovery/Discover",
                             "/muster.v1.Discovery/Watch", "/muster.v1.Registry/KeepAlive"}) {
    const grpc::Status status = RawCall(remote.channel, method, large);
    EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED) << method;
    EXPECT_TRUE(absl::StrContains(status.error_message(), "4194304")) << status.error_message();
  }
}

void BadInput::HalfClosed(Remote& remote) {
  grpc::ClientContext beating;
  Remote::Prepare(beating);
  const auto beats = remote.registry->KeepAlive(&beating);
  v1::HeartbeatRequest beat;
  beat.set_sequence(7);
  v1::HeartbeatResponse beaten;
  EXPECT_TRUE(beats->Write(beat));
  EXPECT_TRUE(beats->Read(&beaten));
  EXPECT_EQ(beaten.sequence(), 7);
  beats->WritesDone();
  EXPECT_FALSE(beats->Read(&beaten));
  EXPECT_TRUE(beats->Finish().ok());

  // Without subscriptions there is nothing to go on with; with one it goes on.
  grpc::ClientContext nothing;
  Remote::Prepare(nothing);
  const auto none = remote.discovery->Watch(&nothing);
  none->WritesDone();
  v1::WatchResponse event;
  EXPECT_FALSE(none->Read(&event));
  EXPECT_TRUE(none->Finish().ok());

  grpc::ClientContext following;
  Remote::Prepare(following);
  const auto watch = remote.discovery->Watch(&following);
  EXPECT_TRUE(watch->Write(SubscribeTo(1, "half-closed")));
  watch->WritesDone();
  EXPECT_TRUE(watch->Read(&event) && event.snapshot().complete());
  v1::RegisterResponse registered;
  EXPECT_TRUE(remote.Register(Good("half-closed", "h-1"), &registered).ok());
  EXPECT_TRUE(watch->Read(&event) && event.change().upserted_size() == 1);
  v1::DeregisterResponse gone;
  EXPECT_TRUE(remote.Deregister(registered.key(), 0, &gone).ok());
  EXPECT_TRUE(watch->Read(&event) && event.change().removed_size() == 1);
  following.TryCancel();
  EXPECT_EQ(watch->Finish().error_code(), StatusCode::CANCELLED);
}

void BadInput::Cancelled(Remote& remote) {
  v1::DiscoverRequest future;
  future.set_service("pages");
  *future.mutable_min_revision() = remote.Discover("pages").revision();
  future.mutable_min_revision()->set_seq((1ull << 53) - 1);
  EXPECT_EQ(Discover(remote, future, absl::Milliseconds(50)).error_code(),
            StatusCode::DEADLINE_EXCEEDED);

  grpc::ClientContext waiting;
  Remote::Prepare(waiting);
  grpc::CompletionQueue queue;
  const auto call = remote.discovery->AsyncDiscover(&waiting, future, &queue);
  v1::DiscoverResponse response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  waiting.TryCancel();
  void* tag = nullptr;
  bool ok = false;
  EXPECT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(status.error_code(), StatusCode::CANCELLED);

  grpc::ClientContext beating;
  Remote::Prepare(beating);
  const auto beats = remote.registry->KeepAlive(&beating);
  EXPECT_TRUE(beats->Write({}));
  beating.TryCancel();
  EXPECT_EQ(beats->Finish().error_code(), StatusCode::CANCELLED);

  grpc::ClientContext following;
  Remote::Prepare(following);
  const auto watch = remote.discovery->Watch(&following);
  EXPECT_TRUE(watch->Write(SubscribeTo(1, "pages")));
  v1::WatchResponse event;
  EXPECT_TRUE(watch->Read(&event));
  following.TryCancel();
  EXPECT_EQ(watch->Finish().error_code(), StatusCode::CANCELLED);

  // A copy of the store that nobody waits for.
  grpc::ClientContext copying;
  Remote::Prepare(copying);
  const auto copy = remote.admin->Backup(&copying, {});
  copying.TryCancel();
  EXPECT_FALSE(copy->Finish().ok());
}

void BadInput::TooManySubscriptions(Remote& remote) {
  grpc::ClientContext context;
  Remote::Prepare(context, absl::Seconds(60));
  const auto watch = remote.discovery->Watch(&context);
  std::thread writer([&] {
    for (uint64_t id = 1; id <= kWanted; ++id) {
      if (!watch->Write(SubscribeTo(id, absl::StrCat("many-", id)))) return;
    }
  });
  int accepted = 0;
  int refused = 0;
  v1::WatchResponse event;
  while (accepted + refused < kWanted && watch->Read(&event)) {
    if (event.has_error()) {
      ++refused;
      if (refused == 1 || refused == kWanted - kAllowed) {
        ExpectError(event.error(),
                    {StatusCode::RESOURCE_EXHAUSTED, "LIMIT_SUBSCRIPTIONS", "subscribe",
                     "limits.subscriptions_per_stream is 5000"},
                    "subscription 5,001");
      }
    } else if (event.has_snapshot()) {
      ++accepted;
      EXPECT_LE(event.sub_id(), static_cast<uint64_t>(kAllowed));
    }
  }
  writer.join();
  EXPECT_EQ(accepted, kAllowed);
  EXPECT_EQ(refused, kWanted - kAllowed);
  // Those of calls that were cancelled before may take a moment to go.
  EXPECT_TRUE(Eventually([&] { return remote.Status().subscriptions() == uint64_t{kAllowed}; }));

  // The stream still works: one leaves, so another finds room.
  v1::WatchRequest leave;
  leave.mutable_unsubscribe()->set_sub_id(1);
  EXPECT_TRUE(watch->Write(leave));
  EXPECT_TRUE(watch->Read(&event) && event.has_unsubscribed());
  EXPECT_TRUE(watch->Write(SubscribeTo(kWanted + 1, "pages")));
  int endpoints = 0;
  while (watch->Read(&event) && event.has_snapshot()) {
    endpoints += event.snapshot().endpoints_size();
    if (event.snapshot().complete()) break;
  }
  EXPECT_EQ(endpoints, 149);
  context.TryCancel();
  EXPECT_EQ(watch->Finish().error_code(), StatusCode::CANCELLED);
}

void BadInput::BadWatches(Remote& remote) {
  grpc::ClientContext context;
  Remote::Prepare(context);
  const auto watch = remote.discovery->Watch(&context);
  v1::WatchResponse event;
  const auto refused = [&](const v1::WatchRequest& request, const Wanted& wanted,
                           const std::string& what) {
    EXPECT_TRUE(watch->Write(request));
    ASSERT_TRUE(watch->Read(&event)) << what;
    ASSERT_TRUE(event.has_error()) << what << ": " << event.ShortDebugString();
    EXPECT_EQ(event.sub_id(), request.subscribe().sub_id());
    ExpectError(event.error(), wanted, what);
  };
  refused(SubscribeTo(1, ""), BadName("subscribe.service", "service name is empty"), "no service");
  refused(SubscribeTo(1, std::string(129, 's')), BadName("subscribe.service", "has 129 bytes"),
          "long service");
  auto filtered = SubscribeTo(1, "pages");
  filtered.mutable_subscribe()->mutable_selector()->set_filter("a");
  refused(filtered,
          {StatusCode::INVALID_ARGUMENT, "NOT_IN_THIS_RELEASE", "selector.filter", "filter"},
          "filter");
  EXPECT_TRUE(watch->Write(SubscribeTo(1, "nobody")));
  EXPECT_TRUE(watch->Read(&event) && event.snapshot().complete());
  refused(SubscribeTo(1, "nobody"), BadField("subscribe.sub_id", "sub_id 1 is taken"), "taken id");
  // Both are gone: the id is free again.
  EXPECT_TRUE(watch->Write(SubscribeTo(1, "nobody")));
  EXPECT_TRUE(watch->Read(&event) && event.snapshot().complete());
  // What is none of the requests ends the stream.
  EXPECT_TRUE(watch->Write({}));
  EXPECT_FALSE(watch->Read(&event));
  ExpectError(watch->Finish(), BadField("request", "request holds none of"), "empty request");
}

void BadInput::StillServes(Remote& remote) {
  v1::RegisterResponse registered;
  ASSERT_TRUE(remote.Register(Good("after", "a-1"), &registered).ok());
  EXPECT_EQ(remote.Discover("after").endpoints_size(), 1);
  v1::DeregisterResponse gone;
  EXPECT_TRUE(remote.Deregister(registered.key(), registered.incarnation(), &gone).ok());
}

void BadInput::Cycle(uint32_t seed) {
  RawPeer stays(server_->port());
  stays.Send(RandomBytes(seed, 5000));
  for (uint32_t n = 1; n <= 2; ++n) {
    RawPeer passing(server_->port());
    passing.Send(RandomBytes(seed * 10 + n, 1000));
  }
  RawPeer browser(server_->port());
  browser.Send("GET / HTTP/1.1\r\nHost: muster\r\n\r\n");

  Remote remote(server_->address());
  BadRegistrations(remote);
  BadWrites(remote);
  BadOperatorCalls(remote);
  BadChecks(remote);
  BadReads(remote);
  NoMessages(remote);
  HalfClosed(remote);
  Cancelled(remote);
  TooManySubscriptions(remote);
  BadWatches(remote);
  StillServes(remote);
  EXPECT_TRUE(browser.HungUp());
  EXPECT_TRUE(stays.HungUp());
}

TEST_F(BadInput, GetsClearErrorsAndLeavesNothingBehind) {
  uint32_t seed = 0;
  for (int i = 0; i < kWarmUps; ++i) ASSERT_NO_FATAL_FAILURE(Cycle(++seed));
  const auto settled = [&] {
    Remote remote(server_->address());
    EXPECT_TRUE(Eventually([&] {
      const v1::StatusResponse status = remote.Status();
      return status.watch_streams() == 0 && status.subscriptions() == 0;
    }));
  };
  settled();
  const Usage before = UsageOf(server_->pid());
  const auto threads = SteadyThreads(server_->pid());
  for (int i = 0; i < kCycles; ++i) ASSERT_NO_FATAL_FAILURE(Cycle(++seed));
  settled();
  EXPECT_TRUE(Eventually([&] { return UsageOf(server_->pid()).fds <= before.fds; }))
      << UsageOf(server_->pid()).fds << " after, " << before.fds << " before";
#if !defined(__SANITIZE_ADDRESS__)  // which keeps what was freed, to see who uses it still
  // What was freed goes back to the system within seconds.
  const double allowed = static_cast<double>(before.resident_bytes) * (1 + kShare);
  EXPECT_TRUE(Eventually([&] {
    return static_cast<double>(UsageOf(server_->pid()).resident_bytes) <= allowed;
  })) << UsageOf(server_->pid()).resident_bytes
      << " after, " << before.resident_bytes << " before";
#endif
  const Usage after = UsageOf(server_->pid());
  EXPECT_EQ(SteadyThreads(server_->pid()), threads);
  EXPECT_LE(after.threads, before.threads + 4 * std::thread::hardware_concurrency());
  RecordProperty("resident_before", absl::StrCat(before.resident_bytes));
  RecordProperty("resident_after", absl::StrCat(after.resident_bytes));
  EXPECT_EQ(server_->Stop(), 0);
}

}  // namespace
}  // namespace muster::test
