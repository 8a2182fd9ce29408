// Lives of one key against a real server: what comes late from a dead life touches nothing, two
// living processes do not fight, and the same registration again costs nothing.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/scenario/abuse.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using grpc::StatusCode;
using Beaten = v1::HeartbeatResponse;

constexpr char kService[] = "web";

v1::RegisterRequest Request(const std::string& id, char life, uint32_t port) {
  v1::RegisterRequest request;
  v1::Instance* instance = request.mutable_instance();
  instance->set_service(kService);
  instance->set_id(id);
  instance->set_address("10.0.0.1");
  instance->set_port(port);
  auto* check = instance->add_checks();
  check->set_id("c");
  check->mutable_ttl()->mutable_ttl()->set_seconds(3600);
  check->set_initial_status(v1::PASSING);
  request.set_life_id(std::string(16, life));
  request.mutable_ttl()->set_seconds(600);
  return request;
}

class Fencing : public testing::Test {
 protected:
  void Restart() {
    const int port = server_->port();
    server_->Kill();
    server_ = std::make_unique<Musterd>(dir_.path("data"), std::vector<std::string>{}, port);
    remote_ = std::make_unique<Remote>(server_->address());
  }
  v1::RegisterResponse Register(const v1::RegisterRequest& request) {
    v1::RegisterResponse response;
    const grpc::Status status = remote_->Register(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::DescribeInstanceResponse Describe(const v1::InstanceKey& key) {
    grpc::ClientContext context;
    Remote::Prepare(context);
    v1::DescribeInstanceRequest request;
    *request.mutable_key() = key;
    v1::DescribeInstanceResponse response;
    const grpc::Status status = remote_->discovery->DescribeInstance(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  static absl::Duration Remaining(const v1::DescribeInstanceResponse& described) {
    return absl::Seconds(described.lease().remaining().seconds()) +
           absl::Nanoseconds(described.lease().remaining().nanos());
  }
  // Nothing of `key` is changed or renewed by `calls`, nothing is written, and nobody is told.
  void ExpectUntouched(const v1::InstanceKey& key, const std::function<void()>& calls) {
    Watcher watcher(server_->address(), kService);
    ASSERT_TRUE(Eventually([&] { return watcher.complete(); }));
    const absl::Time began = Now();
    v1::DescribeInstanceResponse before = Describe(key);
    calls();
    v1::DescribeInstanceResponse after = Describe(key);
    // Only time went by: a renewal sets 600 s, which is more than a lease has that runs since its
    // registration, and far less than one has after a restart.
    EXPECT_LE(Remaining(after), Remaining(before));
    EXPECT_LE(Remaining(before) - Remaining(after), Now() - began + absl::Milliseconds(10));
    before.mutable_lease()->clear_remaining();
    after.mutable_lease()->clear_remaining();
    EXPECT_EQ(after.DebugString(), before.DebugString()) << "the store's revision included";
    ExpectOnlyTheNext(watcher);
  }
  // The next change that is made is the first that `watcher` is told of.
  void ExpectOnlyTheNext(Watcher& watcher) {
    const std::string id = absl::StrCat("next-", ++next_);
    const size_t members = watcher.ids().size();
    Register(Request(id, 'n', 1));
    EXPECT_TRUE(Eventually([&] { return watcher.ids().size() > members; }));
    EXPECT_EQ(watcher.seen().changes, 1);
    EXPECT_TRUE(watcher.gone().empty());
    EXPECT_EQ(watcher.seen().problem, "");
  }

  TempDir dir_;
  std::unique_ptr<Musterd> server_ = std::make_unique<Musterd>(dir_.path("data"));
  std::unique_ptr<Remote> remote_ = std::make_unique<Remote>(server_->address());
  int next_ = 0;
};

// Everything that a process may still send when its successor is there.
void LateCalls(Remote& remote, const v1::RegisterResponse& dead) {
  v1::DeregisterResponse removed;
  ExpectError(remote.Deregister(dead.key(), dead.incarnation(), &removed),
              {StatusCode::FAILED_PRECONDITION, "STALE_INCARNATION", "", "was replaced by"},
              "Deregister");
  v1::ReportHealthResponse reported;
  ExpectError(remote.Report(dead.key(), dead.incarnation(), "c", v1::CRITICAL, &reported),
              {StatusCode::FAILED_PRECONDITION, "STALE_INCARNATION", "", "was replaced by"},
              "ReportHealth");
  v1::HeartbeatRequest beat;
  beat.add_lease_handles(dead.lease_handle());
  *beat.add_leases()->mutable_key() = dead.key();
  beat.mutable_leases(0)->set_incarnation(dead.incarnation());
  const auto expect_stale = [](const Beaten& beaten, const std::string& what) {
    EXPECT_EQ(beaten.outcomes_size(), 2) << what;
    for (const int outcome : beaten.outcomes()) EXPECT_EQ(outcome, Beaten::STALE) << what;
    for (const uint32_t remaining : beaten.remaining_ms()) EXPECT_EQ(remaining, 0u) << what;
  };
  Beaten beaten;
  EXPECT_TRUE(remote.Heartbeat(beat, &beaten).ok());
  expect_stale(beaten, "Heartbeat");

  grpc::ClientContext context;
  Remote::Prepare(context);
  const auto stream = remote.registry->KeepAlive(&context);
  beaten.Clear();
  EXPECT_TRUE(stream->Write(beat));
  EXPECT_TRUE(stream->Read(&beaten));
  expect_stale(beaten, "KeepAlive");
  EXPECT_TRUE(stream->WritesDone());
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(Fencing, LateCallsOfADeadLifeTouchNothing) {
  const auto dead = Register(Request("w-1", 'a', 1));
  const auto successor = Register(Request("w-1", 'b', 2));
  ASSERT_GT(successor.incarnation(), dead.incarnation());
  ExpectUntouched(successor.key(), [&] { LateCalls(*remote_, dead); });
  Restart();
  ExpectUntouched(successor.key(), [&] { LateCalls(*remote_, dead); });
  const auto described = Describe(successor.key());
  EXPECT_EQ(described.incarnation(), successor.incarnation());
  EXPECT_EQ(described.endpoint().port(), 2u);
  EXPECT_EQ(described.endpoint().health(), v1::PASSING);

  // The successor's own calls are taken, over the restart too.
  v1::ReportHealthResponse reported;
  EXPECT_TRUE(
      remote_->Report(successor.key(), successor.incarnation(), "c", v1::WARNING, &reported).ok());
  EXPECT_TRUE(reported.changed());
  v1::DeregisterResponse removed;
  EXPECT_TRUE(remote_->Deregister(successor.key(), successor.incarnation(), &removed).ok());
}

// The content that the successor has: no watcher is told, and still the older one is out.
TEST_F(Fencing, ALifeWithTheSameContentReplacesToo) {
  const auto dead = Register(Request("w-1", 'a', 1));
  Watcher watcher(server_->address(), kService);
  ASSERT_TRUE(Eventually([&] { return watcher.complete(); }));
  const auto successor = Register(Request("w-1", 'b', 1));
  EXPECT_TRUE(successor.changed());
  EXPECT_GT(successor.incarnation(), dead.incarnation());
  ExpectOnlyTheNext(watcher);
  ExpectUntouched(successor.key(), [&] { LateCalls(*remote_, dead); });
}

TEST_F(Fencing, AReplacedLifeDoesNotComeBack) {
  Register(Request("w-1", 'a', 1));
  const auto successor = Register(Request("w-1", 'b', 2));
  const auto come_back = [&] {
    // As it was, with new content, and with the successor's.
    for (const uint32_t port : {1u, 3u, 2u}) {
      v1::RegisterResponse response;
      ExpectError(remote_->Register(Request("w-1", 'a', port), &response),
                  {StatusCode::FAILED_PRECONDITION, "SUPERSEDED", "", "has to stop"},
                  absl::StrCat("port ", port));
    }
    v1::BatchRegisterRequest batch;
    *batch.add_requests() = Request("w-1", 'a', 1);
    v1::BatchRegisterResponse response;
    grpc::ClientContext context;
    Remote::Prepare(context);
    ASSERT_TRUE(remote_->registry->BatchRegister(&context, batch, &response).ok());
    ASSERT_EQ(response.results_size(), 1);
    EXPECT_EQ(ReasonOf(response.results(0).status()), "SUPERSEDED");
  };
  ExpectUntouched(successor.key(), come_back);
  Restart();
  ExpectUntouched(successor.key(), come_back);
  EXPECT_EQ(Describe(successor.key()).incarnation(), successor.incarnation());
}

class TwoProcesses : public Fencing {
 protected:
  // The second takes the key over once; the first ends with `exit_code`, and peace stays.
  void ExpectOneTakeOver(const std::vector<std::string>& first_argv,
                         const std::vector<std::string>& second_argv, int exit_code) {
    Process first(first_argv, dir_.path("first.err"));
    ASSERT_TRUE(first.ReadLine().has_value());
    Watcher watcher(server_->address(), kService);
    ASSERT_TRUE(Eventually([&] { return watcher.ids().size() == 1; }));
    const absl::Time began = Now();
    Process second(second_argv, dir_.path("second.err"));
    ASSERT_TRUE(second.ReadLine().has_value());
    ASSERT_TRUE(Eventually([&] { return watcher.seen().changes == 1; }));
    const auto taken = remote_->Status().revision().seq();
    EXPECT_EQ(first.Wait(), exit_code);
    Pause(absl::Seconds(4) - (Now() - began));  // two TTLs
    EXPECT_TRUE(second.Running());
    EXPECT_EQ(remote_->Status().revision().seq(), taken) << "nobody wrote since";
    EXPECT_EQ(watcher.seen().changes, 1);
    EXPECT_TRUE(watcher.gone().empty());
    EXPECT_EQ(watcher.ids().size(), 1u);

    // Started again, the first one is a life of its own: it may take over, once.
    Process third(first_argv, dir_.path("first.err"));
    ASSERT_TRUE(third.ReadLine().has_value());
    EXPECT_EQ(second.Wait(), exit_code);
    EXPECT_TRUE(third.Running());
    EXPECT_TRUE(Eventually([&] { return watcher.seen().changes == 2; }));
    EXPECT_TRUE(watcher.gone().empty());
  }
};

TEST_F(TwoProcesses, OfAServiceDoNotFight) {
  const std::vector<std::string> argv = {BinDir() + "/../tests/bin/service_process",
                                         server_->address(), kService, "w-1", "2"};
  ExpectOneTakeOver(argv, argv, 3);
}

TEST_F(TwoProcesses, OfTheCommandLineDoNotFight) {
  const auto argv = [this](const std::string& address) {
    return std::vector<std::string>{BinDir() + "/muster",
                                    "--addr",
                                    server_->address(),
                                    "register",
                                    kService,
                                    address,
                                    "--id",
                                    "w-1",
                                    "--ttl",
                                    "2s",
                                    "--keepalive"};
  };
  ExpectOneTakeOver(argv("10.0.0.1:1"), argv("10.0.0.1:2"), 1);
}

// Bytes that the store has logged: every commit adds some.
uint64_t LoggedBytes(const std::string& data_dir) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(data_dir)) {
    if (entry.path().extension() == ".log") bytes += entry.file_size();
  }
  return bytes;
}

TEST_F(Fencing, TheSameAHundredThousandTimesIsNothing) {
  constexpr int kInstances = 1000;
  constexpr int kBatches = 80;
  constexpr int kThreads = 4;
  constexpr int kEach = 5000;
  static_assert(kInstances * kBatches + kThreads * kEach == 100'000);
  v1::BatchRegisterRequest batch;
  for (int i = 0; i < kInstances; ++i) {
    *batch.add_requests() = Request(absl::StrCat("w-", i), 'a', 1);
  }
  const auto register_all = [&] {
    v1::BatchRegisterResponse response;
    grpc::ClientContext context;
    Remote::Prepare(context);
    EXPECT_TRUE(remote_->registry->BatchRegister(&context, batch, &response).ok());
    return response;
  };
  const v1::BatchRegisterResponse first = register_all();
  ASSERT_EQ(first.results_size(), kInstances);
  Watcher watcher(server_->address(), kService);
  ASSERT_TRUE(Eventually([&] { return watcher.complete(); }));
  const auto revision = remote_->Status().revision();
  const uint64_t logged = LoggedBytes(dir_.path("data"));

  // One by one, and many at once, at the same time.
  std::atomic<int> same = 0;
  const auto is_same = [&](const v1::RegisterResponse& again, int i) {
    same += !again.changed() && again.incarnation() == first.results(i).response().incarnation() &&
            again.revision().seq() == revision.seq();
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kEach; ++i) {
        const int instance = (i + thread) % 10;
        is_same(Register(batch.requests(instance)), instance);
      }
    });
  }
  for (int round = 0; round < kBatches; ++round) {
    const v1::BatchRegisterResponse again = register_all();
    for (int i = 0; i < again.results_size(); ++i) is_same(again.results(i).response(), i);
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(same, 100'000);
  EXPECT_EQ(remote_->Status().revision().seq(), revision.seq());
  EXPECT_EQ(LoggedBytes(dir_.path("data")), logged) << "nothing was committed";
  ExpectOnlyTheNext(watcher);
  EXPECT_GT(remote_->Status().revision().seq(), revision.seq());
  EXPECT_GT(LoggedBytes(dir_.path("data")), logged) << "what is committed shows";
}

}  // namespace
}  // namespace muster::test
