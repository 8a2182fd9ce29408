// Registrations as an application has them: through a connection, on fakes and with threads.
#include "client/lease/live_registration.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "client/loop.h"
#include "client/pause.h"
#include "client/registry_connection.h"
#include "fake_lease_transport.h"
#include "fake_scheduler.h"
#include "fake_transport.h"
#include "muster/client/client.h"
#include "muster/client/log.h"

namespace muster::client {
namespace {

using State = RegistrationStatus::State;
using testing::FakeLeaseTransport;
using testing::FakeScheduler;
using testing::FakeTransport;
using testing::Taken;

Instance Web() { return {.service = "web", .address = {"10.0.0.1", 80}, .id = "a"}; }

class LiveRegistrationTest : public ::testing::Test {
 protected:
  LiveRegistrationTest() {
    auto leases = std::make_unique<FakeLeaseTransport>(1);
    transport_ = leases.get();
    connection_ = RegistryConnection::Create(
        Options{}, {.clock = base::RealClock(),
                    .rng = std::make_unique<base::SeededRng>(7),
                    .new_scheduler = [this](const std::string&) { return scheduler_.Share(); },
                    .watches = std::make_unique<FakeTransport>(1),
                    .leases = std::move(leases)});
  }
  std::unique_ptr<Registration> Register(Instance instance, RegisterOptions options = {}) {
    // The fake's tasks run on the test's thread, which therefore can't wait for them.
    options.deregister = false;
    auto registration = connection_->Register(std::move(instance), std::move(options));
    EXPECT_TRUE(registration.ok()) << registration.status();
    scheduler_.Run();
    return registration.ok() ? *std::move(registration) : nullptr;
  }
  FakeLeaseTransport::Session& Session() { return transport_->last(); }
  void Take() {
    const auto call = Session().registers.front();
    Session().registers.pop_front();
    call.done(Taken(call.request, 41));
    scheduler_.Run();
  }

  FakeScheduler scheduler_;
  FakeLeaseTransport* transport_ = nullptr;
  std::shared_ptr<RegistryConnection> connection_;
};

TEST_F(LiveRegistrationTest, SaysWhereItStandsAndTellsOfChanges) {
  std::vector<State> told;
  const auto registration = Register(Web(), {.on_change = [&](const RegistrationStatus& status) {
                                       told.push_back(status.state);
                                     }});
  EXPECT_EQ(registration->status().state, State::kPending);
  EXPECT_EQ(registration->status().unconfirmed, absl::InfiniteDuration());
  EXPECT_TRUE(told.empty());
  const absl::Status waited = registration->WaitUntilHeld(absl::ZeroDuration());
  EXPECT_TRUE(absl::IsDeadlineExceeded(waited)) << waited;
  Take();
  EXPECT_TRUE(registration->WaitUntilHeld(absl::ZeroDuration()).ok());
  EXPECT_EQ(registration->status().state, State::kHeld);
  EXPECT_EQ(registration->status().incarnation, 41u);
  EXPECT_EQ(registration->status().id, "a");
  EXPECT_LT(registration->status().unconfirmed, absl::InfiniteDuration());
  Session().End(absl::UnavailableError("gone"));
  scheduler_.Run();
  EXPECT_EQ(registration->status().why.message(), "server-0: gone");
  EXPECT_EQ(told, (std::vector<State>{State::kHeld, State::kLost}));
}

TEST_F(LiveRegistrationTest, ChangesOfStateAreLinesOfTheLog) {
  std::vector<std::string> lines;
  SetLogSink([&](const LogLine& line) { lines.emplace_back(line.message); });
  const auto registration = Register(Web());
  const auto silent = Register(Web(), {.log = false});
  Take();
  Take();
  Session().End(absl::UnavailableError("gone"));
  scheduler_.Run();
  SetLogSink(nullptr);
  EXPECT_EQ(lines, (std::vector<std::string>{"registered", "a registration isn't confirmed"}));
}

TEST_F(LiveRegistrationTest, RegistersWhatTheInstanceSaysUnderOneLife) {
  Instance instance = Web();
  instance.ns = "shop";
  instance.node = "n1";
  instance.more_hosts = {"fd00::1"};
  instance.named_ports = {{"admin", 81}};
  instance.tags = {"v2"};
  instance.metadata = {{"k", "v"}};
  instance.version = "2.0";
  instance.protocol = "grpc";
  instance.region = "eu";
  instance.zone = "eu-1";
  instance.passing_weight = 5;
  instance.warning_weight = 0;
  instance.ttl_checks = {{.id = "disk", .ttl = absl::Milliseconds(1'500)}};
  const auto registration = Register(instance, {.ttl = absl::Seconds(10)});
  const v1::RegisterRequest first = Session().registers.front().request;
  EXPECT_EQ(first.life_id().size(), 16u);
  EXPECT_EQ(first.ttl().seconds(), 10);
  const v1::Instance& sent = first.instance();
  EXPECT_EQ(sent.namespace_(), "shop");
  EXPECT_EQ(sent.service(), "web");
  EXPECT_EQ(sent.node(), "n1");
  EXPECT_EQ(sent.address(), "10.0.0.1");
  EXPECT_EQ(sent.port(), 80u);
  EXPECT_EQ(sent.additional_addresses(0), "fd00::1");
  EXPECT_EQ(sent.named_ports().at("admin"), 81u);
  EXPECT_EQ(sent.tags(0), "v2");
  EXPECT_EQ(sent.metadata().at("k"), "v");
  EXPECT_EQ(sent.version(), "2.0");
  EXPECT_EQ(sent.protocol(), "grpc");
  EXPECT_EQ(sent.locality().region(), "eu");
  EXPECT_EQ(sent.locality().zone(), "eu-1");
  EXPECT_EQ(sent.weight().passing(), 5u);
  EXPECT_EQ(sent.weight().warning(), 0u);
  EXPECT_EQ(sent.checks(0).id(), "disk");
  EXPECT_EQ(sent.checks(0).ttl().ttl().seconds(), 1);
  EXPECT_EQ(sent.checks(0).ttl().ttl().nanos(), 500'000'000);
  Session().End(absl::UnavailableError("gone"));
  scheduler_.Advance(absl::Seconds(1));
  EXPECT_EQ(Session().registers.front().request.life_id(), first.life_id());
  const auto other = Register(Web());
  EXPECT_NE(Session().registers.back().request.life_id(), first.life_id());
}

TEST_F(LiveRegistrationTest, WhatCantBeRegisteredIsNamed) {
  const auto error = [&](const std::function<void(Instance&, RegisterOptions&)>& spoil) {
    Instance instance = Web();
    RegisterOptions options;
    spoil(instance, options);
    const absl::Status status = connection_->Register(instance, options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  const auto expect = [&](const std::string& message,
                          const std::function<void(Instance&, RegisterOptions&)>& spoil) {
    const std::string got = error(spoil);
    EXPECT_TRUE(absl::StrContains(got, message)) << got;
  };
  expect("service", [](Instance& i, RegisterOptions&) { i.service = "a b"; });
  expect("service", [](Instance& i, RegisterOptions&) { i.service = ""; });
  expect("ns", [](Instance& i, RegisterOptions&) { i.ns = "a/b"; });
  expect("address: ", [](Instance& i, RegisterOptions&) { i.address.host = "0.0.0.0"; });
  expect("address: ", [](Instance& i, RegisterOptions&) { i.address.host = "a b"; });
  expect("more_hosts: ", [](Instance& i, RegisterOptions&) { i.more_hosts = {"::"}; });
  expect("id: ", [](Instance& i, RegisterOptions&) { i.id = "\xff"; });
  expect("tags: ", [](Instance& i, RegisterOptions&) { i.tags = {"\xff"}; });
  expect("metadata: ", [](Instance& i, RegisterOptions&) { i.metadata = {{"k", "\xff"}}; });
  expect("passing_weight: 65536; allowed: 0 to 65535",
         [](Instance& i, RegisterOptions&) { i.passing_weight = 65'536; });
  expect("warning_weight", [](Instance& i, RegisterOptions&) { i.warning_weight = 65'536; });
  expect("ttl_checks: one has no id", [](Instance& i, RegisterOptions&) { i.ttl_checks = {{}}; });
  expect("\"x\" is there twice", [](Instance& i, RegisterOptions&) {
    i.ttl_checks = {{.id = "x"}, {.id = "x"}};
  });
  expect("ttl of the check \"x\": 0; allowed: 1s to 24h", [](Instance& i, RegisterOptions&) {
    i.ttl_checks = {{.id = "x", .ttl = absl::ZeroDuration()}};
  });
  expect("ttl: 999ms; allowed: 1s to 24h",
         [](Instance&, RegisterOptions& o) { o.ttl = absl::Milliseconds(999); });
  expect("ttl: ", [](Instance&, RegisterOptions& o) { o.ttl = absl::InfiniteDuration(); });
  expect("drain", [](Instance&, RegisterOptions& o) { o.drain = -absl::Seconds(1); });
  expect("leave_within", [](Instance&, RegisterOptions& o) { o.leave_within = -absl::Seconds(1); });
  EXPECT_EQ(transport_->sessions(), 0u);
}

TEST_F(LiveRegistrationTest, ProbesAreAskedThreeTimesInEachTtlAndReportsAreSent) {
  Instance instance = Web();
  int asked = 0;
  instance.ttl_checks = {{.id = "self",
                          .ttl = absl::Seconds(30),
                          .probe =
                              [&] {
                                ++asked;
                                return HealthReport{Endpoint::Health::kWarning, "so-so"};
                              }},
                         {.id = "told"}};
  auto registration = Register(instance);
  EXPECT_EQ(asked, 1);
  Take();
  ASSERT_EQ(Session().reports.size(), 1u);
  EXPECT_EQ(Session().reports.back().request.status(), v1::WARNING);
  EXPECT_TRUE(registration->Report("told", {Endpoint::Health::kPassing, "f\xffne"}).ok());
  scheduler_.Run();
  EXPECT_EQ(Session().reports.back().request.output(), "f\\xffne");
  EXPECT_TRUE(absl::IsNotFound(registration->Report("other", {})));
  scheduler_.Advance(absl::Seconds(3'000));
  EXPECT_GE(asked, 300);
  EXPECT_LE(asked, 376);
  registration = nullptr;
  const int before = asked;
  scheduler_.Advance(absl::Seconds(3'000));
  EXPECT_EQ(asked, before);
}

// With threads, as in programs; the registry answers at once.
class AnsweringLeases : public FakeLeaseTransport {
 public:
  AnsweringLeases() : FakeLeaseTransport(1) {}
  ~AnsweringLeases() override {
    for (std::thread& thread : threads_) thread.join();
  }
  std::unique_ptr<LeaseSession> Open(size_t, Callbacks callbacks) override {
    return std::make_unique<Answering>(*this, std::move(callbacks));
  }
  int left() const { return left_; }
  int drained() const { return drained_; }
  // Whoever was deregistered had been drained before.
  bool in_order() const { return in_order_; }
  absl::Duration last_deadline() const { return absl::Milliseconds(last_deadline_ms_.load()); }

  enum class Drains { kUnknown, kAnswered, kNeverAnswered };
  std::atomic<Drains> drains{Drains::kUnknown};
  std::atomic<bool> beats_often{false};
  // It loses the lease that is renewed next.
  std::atomic<bool> forgets{false};

 private:
  class Answering : public LeaseSession {
   public:
    Answering(AnsweringLeases& owner, Callbacks callbacks)
        : owner_(owner), callbacks_(std::move(callbacks)) {}
    void Beat(v1::HeartbeatRequest) override {
      v1::HeartbeatResponse response;
      response.add_outcomes(owner_.forgets.exchange(false) ? v1::HeartbeatResponse::UNKNOWN
                                                           : v1::HeartbeatResponse::RENEWED);
      owner_.threads_.emplace_back([on_beat = callbacks_.on_beat, response] { on_beat(response); });
    }
    void Register(const v1::RegisterRequest& request, absl::Duration,
                  Done<v1::RegisterResponse> done) override {
      v1::RegisterResponse response = Taken(request, ++owner_.last_handle_);
      if (owner_.beats_often) {
        response.mutable_heartbeat_interval()->set_seconds(0);
        response.mutable_heartbeat_interval()->set_nanos(500'000'000);
      }
      owner_.threads_.emplace_back([done, response] { done(response); });
    }
    void Deregister(const v1::DeregisterRequest&, absl::Duration,
                    Done<v1::DeregisterResponse> done) override {
      owner_.in_order_ = owner_.drained_ > owner_.left_;
      ++owner_.left_;
      owner_.threads_.emplace_back([done] { done(v1::DeregisterResponse()); });
    }
    void ReportHealth(const v1::ReportHealthRequest&, absl::Duration,
                      Done<v1::ReportHealthResponse>) override {}
    void Drain(const v1::DrainRequest& request, absl::Duration,
               Done<v1::DrainResponse> done) override {
      ++owner_.drained_;
      owner_.last_deadline_ms_ =
          request.deadline().seconds() * 1'000 + request.deadline().nanos() / 1'000'000;
      const Drains drains = owner_.drains;
      if (drains == Drains::kNeverAnswered) return;
      owner_.threads_.emplace_back([done, drains] {
        if (drains == Drains::kUnknown) return done(absl::UnimplementedError("not yet"));
        done(v1::DrainResponse());
      });
    }

   private:
    AnsweringLeases& owner_;
    const Callbacks callbacks_;
  };
  std::vector<std::thread> threads_;  // of the registrar's thread
  uint64_t last_handle_ = 40;
  std::atomic<int> left_{0};
  std::atomic<int> drained_{0};
  std::atomic<bool> in_order_{false};
  std::atomic<int64_t> last_deadline_ms_{0};
};

class ThreadedRegistrationTest : public ::testing::Test {
 protected:
  ThreadedRegistrationTest() {
    auto leases = std::make_unique<AnsweringLeases>();
    leases_ = leases.get();
    client_ = std::make_unique<Client>(RegistryConnection::Create(
        Options{}, {.clock = base::RealClock(),
                    .rng = std::make_unique<base::SystemRng>(),
                    .new_scheduler =
                        [](const std::string& name) {
                          return std::make_unique<Loop>(name, base::RealClock());
                        },
                    .watches = std::make_unique<FakeTransport>(1),
                    .leases = std::move(leases)}));
  }
  AnsweringLeases* leases_ = nullptr;
  std::unique_ptr<Client> client_;
};

TEST_F(ThreadedRegistrationTest, DeregistersWhenDestroyedOrAskedAndOnlyOnce) {
  {
    const auto registration = client_->Register(Web());
    ASSERT_TRUE(registration.ok());
    EXPECT_TRUE((*registration)->WaitUntilHeld(absl::Seconds(20)).ok());
  }
  EXPECT_EQ(leases_->left(), 1);
  {
    const auto registration = client_->Register(Web());
    EXPECT_TRUE((*registration)->WaitUntilHeld(absl::Seconds(20)).ok());
    EXPECT_TRUE((*registration)->Deregister(absl::Seconds(20)).ok());
    EXPECT_EQ((*registration)->status().state, State::kEnded);
    EXPECT_TRUE(absl::IsFailedPrecondition((*registration)->WaitUntilHeld(absl::Seconds(20))));
    EXPECT_EQ(leases_->left(), 2);
  }
  EXPECT_EQ(leases_->left(), 2);
  {
    const auto registration = client_->Register(Web(), {.deregister = false});
    EXPECT_TRUE((*registration)->WaitUntilHeld(absl::Seconds(20)).ok());
  }
  EXPECT_EQ(leases_->left(), 2);
}

TEST_F(ThreadedRegistrationTest, ADrainThatTheRegistryDoesNotKnowDeregisters) {
  const auto registration = client_->Register(Web());
  EXPECT_TRUE((*registration)->WaitUntilHeld(absl::Seconds(20)).ok());
  const base::SteadyTime began = base::RealClock().Steady();
  const auto drained = (*registration)->Drain(absl::Milliseconds(300));
  ASSERT_TRUE(drained.ok()) << drained.status();
  EXPECT_EQ(drained->eligible, 0u);
  EXPECT_EQ(leases_->left(), 1);
  EXPECT_GE(base::RealClock().Steady() - began, absl::Milliseconds(250));
  EXPECT_EQ((*registration)->status().state, State::kEnded);
}

TEST_F(ThreadedRegistrationTest, DrainsBeforeItLeavesUnlessThatWasDone) {
  leases_->drains = AnsweringLeases::Drains::kAnswered;
  const auto registration = [&](RegisterOptions options) {
    auto made = client_->Register(Web(), std::move(options));
    EXPECT_TRUE(made.ok() && (*made)->WaitUntilHeld(absl::Seconds(20)).ok());
    return *std::move(made);
  };
  registration({}) = nullptr;
  EXPECT_EQ(leases_->drained(), 1);
  EXPECT_EQ(leases_->left(), 1);
  EXPECT_TRUE(leases_->in_order());
  EXPECT_EQ(leases_->last_deadline(), absl::Seconds(5));
  {
    const auto drained = registration({.drain = absl::Milliseconds(1'500)});
    EXPECT_TRUE(drained->Drain(absl::Seconds(20)).ok());
    EXPECT_EQ(drained->status().state, State::kHeld) << "the lease is kept";
    EXPECT_EQ(leases_->left(), 1);
  }
  EXPECT_EQ(leases_->drained(), 2);
  EXPECT_EQ(leases_->left(), 2);
  registration({.drain = absl::ZeroDuration()}) = nullptr;
  EXPECT_EQ(leases_->drained(), 2);
  EXPECT_EQ(leases_->left(), 3);
  EXPECT_TRUE(registration({})->Deregister(absl::Seconds(20)).ok());
  EXPECT_EQ(leases_->drained(), 2) << "who asks for that alone gets that alone";
  registration({.deregister = false}) = nullptr;
  EXPECT_EQ(leases_->drained(), 2);
  EXPECT_EQ(leases_->left(), 4);
}

TEST_F(ThreadedRegistrationTest, ARegistryThatKnowsNoDrainIsToldAtOnce) {
  const base::SteadyTime began = base::RealClock().Steady();
  {
    const auto registration = client_->Register(Web(), {.drain = absl::Seconds(60)});
    EXPECT_TRUE((*registration)->WaitUntilHeld(absl::Seconds(20)).ok());
  }
  EXPECT_EQ(leases_->drained(), 1);
  EXPECT_EQ(leases_->left(), 1);
  EXPECT_LT(base::RealClock().Steady() - began, absl::Seconds(30));
}

TEST_F(ThreadedRegistrationTest, ADrainThatIsNeverAnsweredEndsAndItLeaves) {
  leases_->drains = AnsweringLeases::Drains::kNeverAnswered;
  const base::SteadyTime began = base::RealClock().Steady();
  {
    const auto registration = client_->Register(
        Web(), {.drain = absl::Milliseconds(50), .leave_within = absl::Seconds(20)});
    EXPECT_TRUE((*registration)->WaitUntilHeld(absl::Seconds(20)).ok());
  }
  EXPECT_EQ(leases_->left(), 1);
  EXPECT_GE(base::RealClock().Steady() - began, absl::Milliseconds(50));
}

TEST_F(ThreadedRegistrationTest, ADrainTakesNoLongerThanItMayWhenNobodyAnswers) {
  leases_->drains = AnsweringLeases::Drains::kNeverAnswered;
  const auto registration = client_->Register(Web(), {.drain = absl::ZeroDuration()});
  EXPECT_TRUE((*registration)->WaitUntilHeld(absl::Seconds(20)).ok());
  const base::SteadyTime began = base::RealClock().Steady();
  EXPECT_TRUE(absl::IsDeadlineExceeded((*registration)->Drain(absl::Milliseconds(50)).status()));
  EXPECT_LT(base::RealClock().Steady() - began, absl::Seconds(4));
}

TEST_F(ThreadedRegistrationTest, DrainsAgainBeforeItLeavesIfTheRegistryHadLostIt) {
  leases_->drains = AnsweringLeases::Drains::kAnswered;
  leases_->beats_often = true;
  auto registration = client_->Register(Web());
  EXPECT_TRUE((*registration)->WaitUntilHeld(absl::Seconds(20)).ok());
  EXPECT_TRUE((*registration)->Drain(absl::Seconds(20)).ok());
  const uint64_t drained = (*registration)->status().incarnation;
  leases_->forgets = true;
  while ((*registration)->status().incarnation == drained) Pause(absl::Milliseconds(5));
  EXPECT_TRUE((*registration)->WaitUntilHeld(absl::Seconds(20)).ok());
  registration->reset();
  EXPECT_GE(leases_->drained(), 3) << "at once when it was back, and again to wait for it";
  EXPECT_EQ(leases_->left(), 1);
}

TEST_F(ThreadedRegistrationTest, MayBeDestroyedInItsCallbackAndInItsProbe) {
  for (const bool in_probe : {false, true}) {
    base::Mutex mu;
    base::CondVar ended;
    bool has_ended = false;
    std::unique_ptr<Registration> held;
    const auto end = [&] {
      base::MutexLock lock(mu);
      held = nullptr;
      has_ended = true;
      ended.NotifyAll();
    };
    base::MutexLock lock(mu);
    Instance instance = Web();
    RegisterOptions options;
    if (in_probe) {
      instance.ttl_checks = {{.id = "x", .probe = [&] {
                                end();
                                return HealthReport{};
                              }}};
    } else {
      options.on_change = [&](const RegistrationStatus&) { end(); };
    }
    auto registration = client_->Register(instance, options);
    ASSERT_TRUE(registration.ok());
    held = *std::move(registration);
    while (!has_ended) ASSERT_TRUE(ended.WaitFor(mu, absl::Seconds(20)));
  }
}

TEST_F(ThreadedRegistrationTest, KeepsItsConnection) {
  auto registration = client_->Register(Web());
  ASSERT_TRUE(registration.ok());
  client_ = nullptr;
  EXPECT_TRUE((*registration)->WaitUntilHeld(absl::Seconds(20)).ok());
  *registration = nullptr;
}

}  // namespace
}  // namespace muster::client
