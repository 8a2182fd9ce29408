#include "client/lease/registrar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "client/rpc_error.h"
#include "fake_lease_transport.h"
#include "fake_scheduler.h"

namespace muster::client {
namespace {

using State = RegistrationStatus::State;
using testing::FakeLeaseTransport;
using testing::FakeScheduler;
using testing::Taken;
using Outcome = v1::HeartbeatResponse;

v1::RegisterRequest Web(const std::string& id) {
  v1::RegisterRequest request;
  request.mutable_instance()->set_service("web");
  request.mutable_instance()->set_id(id);
  request.set_life_id("0123456789abcdef");
  return request;
}

class RegistrarTest : public ::testing::Test {
 protected:
  void SetUp() override { Make(1); }
  void Make(size_t servers) {
    registrar_ = nullptr;
    transport_ = std::make_unique<FakeLeaseTransport>(servers);
    registrar_ = std::make_unique<Registrar>(scheduler_, *transport_, rng_, Registrar::Options{});
  }
  Registrar::Id Add(const std::string& id) {
    const Registrar::Id added = registrar_->Add(
        Web(id), [this, id](const Registrar::State& state) { states_[id] = state; });
    scheduler_.Run();
    return added;
  }
  FakeLeaseTransport::Session& Session() { return transport_->last(); }
  // Answers what was asked to be registered.
  size_t TakeAll() {
    size_t taken = 0;
    for (; !Session().registers.empty(); ++taken) {
      const auto call = Session().registers.front();
      Session().registers.pop_front();
      call.done(Taken(call.request, ++handle_));
      scheduler_.Run();
    }
    return taken;
  }
  void Refuse(absl::Status status) {
    ASSERT_FALSE(Session().registers.empty());
    const auto call = Session().registers.front();
    Session().registers.pop_front();
    call.done(std::move(status));
    scheduler_.Run();
  }
  // Answers all heartbeats that were sent; how many leases were in them.
  size_t Beat(Outcome::Outcome outcome) {
    size_t leases = 0;
    while (!Session().beats.empty()) {
      v1::HeartbeatResponse response;
      for (int i = 0; i < Session().beats.front().lease_handles_size(); ++i, ++leases) {
        response.add_outcomes(outcome);
      }
      Session().beats.pop_front();
      Session().callbacks.on_beat(response);
      scheduler_.Run();
    }
    return leases;
  }
  void AnswerDrain(absl::StatusOr<v1::DrainResponse> response) {
    ASSERT_FALSE(Session().drains.empty());
    const auto call = Session().drains.front();
    Session().drains.pop_front();
    call.done(std::move(response));
    scheduler_.Run();
  }
  // The registry does, and takes it anew.
  void Forget() {
    scheduler_.Advance(absl::Seconds(10));
    Beat(Outcome::UNKNOWN);
    EXPECT_EQ(TakeAll(), 1u);
  }
  // Until it tries a server once more.
  void AwaitSession() {
    for (int i = 0; i < 1'000 && !transport_->is_open(); ++i) {
      scheduler_.Advance(absl::Milliseconds(10));
    }
    ASSERT_TRUE(transport_->is_open());
  }
  State StateOf(const std::string& id) { return states_[id].state; }

  FakeScheduler scheduler_;
  base::SeededRng rng_{7};
  std::unique_ptr<FakeLeaseTransport> transport_;
  std::unique_ptr<Registrar> registrar_;
  std::map<std::string, Registrar::State> states_;
  uint64_t handle_ = 40;
};

TEST_F(RegistrarTest, ManyShareOneSessionAndHeartbeatsThatAreDueGoTogether) {
  EXPECT_EQ(transport_->sessions(), 0u);
  for (int i = 0; i < 100; ++i) Add(absl::StrCat("i", i));
  EXPECT_EQ(TakeAll(), 100u);
  EXPECT_EQ(transport_->sessions(), 1u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(StateOf(absl::StrCat("i", i)), State::kHeld);
  // For ten minutes each is renewed once in 8 to 10 seconds.
  size_t beats = 0;
  for (int i = 0; i < 6'000; ++i) {
    scheduler_.Advance(absl::Milliseconds(100));
    beats += Beat(Outcome::RENEWED);
  }
  EXPECT_GT(beats, 100u * 600 / 10);
  EXPECT_LT(beats, 100u * 600 / 8);
  EXPECT_EQ(transport_->sessions(), 1u);
  scheduler_.Advance(absl::Seconds(20));
  const absl::Duration unconfirmed = scheduler_.Now() - *states_["i0"].confirmed;
  EXPECT_GE(unconfirmed, absl::Seconds(20)) << "nobody answered";
}

TEST_F(RegistrarTest, LeasesThatAreDueTogetherGoInOneMessage) {
  for (int i = 0; i < 50; ++i) Add(absl::StrCat("i", i));
  TakeAll();
  Session().End(absl::UnavailableError("gone"));
  scheduler_.Run();
  AwaitSession();
  scheduler_.Advance(absl::Milliseconds(250));
  size_t leases = 0;
  for (const auto& beat : Session().beats) leases += beat.lease_handles_size();
  EXPECT_EQ(leases, 50u);
}

TEST_F(RegistrarTest, AServerThatIsAwayIsAskedUntilItIsThere) {
  Add("a");
  for (int i = 0; i < 20; ++i) {
    AwaitSession();
    Session().End(absl::UnavailableError("can't connect"));
    scheduler_.Run();
  }
  EXPECT_EQ(StateOf("a"), State::kPending);
  EXPECT_EQ(states_["a"].why.message(), "server-0: can't connect");
  AwaitSession();
  scheduler_.Advance(absl::Milliseconds(200));
  EXPECT_EQ(TakeAll(), 1u) << "within the first pause of a retry, however often it failed";
  EXPECT_EQ(StateOf("a"), State::kHeld);
}

TEST_F(RegistrarTest, AServerThatDoesNotAnswerIsGivenUpForTheNext) {
  Make(2);
  Add("a");
  const size_t first = Session().server;
  Refuse(absl::DeadlineExceededError("too long"));
  EXPECT_FALSE(transport_->is_open());
  AwaitSession();
  EXPECT_NE(Session().server, first);
  scheduler_.Advance(absl::Milliseconds(200));
  EXPECT_EQ(TakeAll(), 1u);
  // It hangs: after the answer's time the other one is told of the lease.
  const base::SteadyTime held = scheduler_.Now();
  while (Session().beats.empty()) scheduler_.Advance(absl::Milliseconds(10));
  EXPECT_LE(scheduler_.Now() - held, absl::Seconds(10) + absl::Milliseconds(10));
  const size_t sessions = transport_->sessions();
  scheduler_.Advance(absl::Milliseconds(4'900));
  EXPECT_EQ(transport_->sessions(), sessions);
  scheduler_.Advance(absl::Seconds(1));
  EXPECT_EQ(transport_->sessions(), sessions + 1);
  EXPECT_EQ(StateOf("a"), State::kLost);
  EXPECT_TRUE(absl::IsDeadlineExceeded(states_["a"].why)) << states_["a"].why;
  EXPECT_EQ(Session().server, first);
  EXPECT_EQ(Beat(Outcome::RENEWED), 1u);
  EXPECT_EQ(StateOf("a"), State::kHeld);
}

TEST_F(RegistrarTest, AShortLeaseIsNotEatenByAServerThatHangs) {
  Add("a");
  auto response = Taken(Session().registers.front().request, 41);
  response.mutable_heartbeat_interval()->set_seconds(0);
  response.mutable_heartbeat_interval()->set_nanos(333'000'000);
  Session().registers.front().done(response);
  scheduler_.Run();
  while (Session().beats.empty()) scheduler_.Advance(absl::Milliseconds(10));
  scheduler_.Advance(absl::Milliseconds(340));
  EXPECT_EQ(StateOf("a"), State::kLost);
}

TEST_F(RegistrarTest, ARegistryThatForgotIsToldAgainSpread) {
  std::vector<int> arrivals(100);  // by 100 ms
  for (int i = 0; i < 1'000; ++i) Add(absl::StrCat("i", i));
  TakeAll();
  Session().End(absl::UnavailableError("gone"));
  scheduler_.Run();
  AwaitSession();
  const base::SteadyTime back = scheduler_.Now();
  size_t taken = 0;
  absl::Duration last;
  while (taken < 1'000 && scheduler_.Now() - back < absl::Seconds(20)) {
    scheduler_.Advance(absl::Milliseconds(10));
    Beat(Outcome::UNKNOWN);
    if (const size_t now = TakeAll()) {
      last = scheduler_.Now() - back;
      arrivals.at(static_cast<size_t>(last / absl::Milliseconds(100))) += static_cast<int>(now);
      taken += now;
    }
  }
  EXPECT_EQ(taken, 1'000u);
  EXPECT_LT(last, absl::Seconds(10));
  EXPECT_GT(last, absl::Seconds(4));
  const double mean = 1'000 / (last / absl::Milliseconds(100));
  EXPECT_LE(*std::max_element(arrivals.begin(), arrivals.end()), 3 * mean);
}

TEST_F(RegistrarTest, WhatTheServerRefusesIsToldAndTheSessionStays) {
  Add("a");
  Add("b");
  Refuse(absl::PermissionDeniedError("no right"));
  EXPECT_EQ(StateOf("a"), State::kPending);
  EXPECT_EQ(states_["a"].why.message(), "server-0: no right");
  EXPECT_EQ(TakeAll(), 1u);
  scheduler_.Advance(absl::Seconds(7));
  EXPECT_EQ(StateOf("b"), State::kHeld);
  // A server that says why it is unavailable can be heard.
  const auto frozen = WithReason(absl::UnavailableError("no space"), "READ_ONLY");
  Add("c");
  Refuse(frozen);
  EXPECT_EQ(StateOf("b"), State::kHeld);
  EXPECT_EQ(transport_->sessions(), 1u);
  scheduler_.Advance(absl::Milliseconds(300));
  EXPECT_EQ(TakeAll(), 1u);
  EXPECT_EQ(StateOf("c"), State::kHeld);
}

TEST_F(RegistrarTest, WhatIsWrongForEverIsNotTriedAgain) {
  Add("a");
  Refuse(absl::InvalidArgumentError("17 KiB"));
  EXPECT_EQ(StateOf("a"), State::kInvalid);
  scheduler_.Advance(absl::Hours(1));
  EXPECT_TRUE(Session().registers.empty());
}

TEST_F(RegistrarTest, ANewerLifeEndsIt) {
  Add("a");
  Add("b");
  TakeAll();
  while (Session().beats.empty()) scheduler_.Advance(absl::Milliseconds(10));
  EXPECT_EQ(Beat(Outcome::STALE), 1u);
  const bool first = StateOf("a") == State::kSuperseded;
  EXPECT_EQ(StateOf(first ? "b" : "a"), State::kHeld);
  // The other one hears of it when it registers again.
  while (Session().beats.empty()) scheduler_.Advance(absl::Milliseconds(10));
  Beat(Outcome::UNKNOWN);
  Refuse(WithReason(absl::FailedPreconditionError("replaced"), "SUPERSEDED"));
  EXPECT_EQ(StateOf(first ? "b" : "a"), State::kSuperseded);
  scheduler_.Advance(absl::Hours(1));
  EXPECT_TRUE(Session().beats.empty());
  EXPECT_TRUE(Session().registers.empty());
}

TEST_F(RegistrarTest, LeavingDeregistersThisLifeAndEndsTheSession) {
  const auto id = Add("a");
  TakeAll();
  std::vector<absl::Status> left;
  const auto note = [&](const absl::Status& status) { left.push_back(status); };
  registrar_->Leave(id, absl::Seconds(1), note);
  registrar_->Leave(id, absl::Seconds(1), note);
  ASSERT_EQ(Session().deregisters.size(), 1u);
  EXPECT_EQ(Session().deregisters.front().request.incarnation(), 41u);
  EXPECT_EQ(Session().deregisters.front().request.key().id(), "a");
  Session().deregisters.front().done(v1::DeregisterResponse());
  scheduler_.Run();
  EXPECT_EQ(left, std::vector<absl::Status>(2, absl::OkStatus()));
  EXPECT_EQ(StateOf("a"), State::kEnded);
  EXPECT_FALSE(transport_->is_open());
  EXPECT_EQ(registrar_->size(), 0u);
  registrar_->Leave(id, absl::Seconds(1), note);
  EXPECT_EQ(left.size(), 3u);
  scheduler_.Advance(absl::Minutes(1));
  EXPECT_EQ(transport_->sessions(), 1u);
}

TEST_F(RegistrarTest, LeavingIsTriedAgainAsLongAsThereIsTime) {
  const auto id = Add("a");
  TakeAll();
  std::vector<absl::Status> left;
  registrar_->Leave(id, absl::Seconds(2),
                    [&](const absl::Status& status) { left.push_back(status); });
  Session().End(absl::UnavailableError("gone"));
  scheduler_.Run();
  AwaitSession();
  ASSERT_EQ(Session().deregisters.size(), 1u);
  Session().deregisters.front().done(WithReason(absl::UnavailableError("loading"), "LOADING"));
  scheduler_.Advance(absl::Milliseconds(200));
  ASSERT_EQ(Session().deregisters.size(), 2u);
  Session().End(absl::UnavailableError("gone for good"));
  scheduler_.Advance(absl::Seconds(2));
  ASSERT_EQ(left.size(), 1u);
  EXPECT_TRUE(absl::IsDeadlineExceeded(left[0])) << left[0];
  EXPECT_TRUE(absl::StrContains(std::string(left[0].message()), "gone for good")) << left[0];
  EXPECT_EQ(StateOf("a"), State::kEnded);
  // It isn't renewed any more, and may be told once more.
  const size_t sessions = transport_->sessions();
  scheduler_.Advance(absl::Minutes(1));
  EXPECT_EQ(transport_->sessions(), sessions);
  registrar_->Leave(id, absl::Seconds(2),
                    [&](const absl::Status& status) { left.push_back(status); });
  ASSERT_TRUE(transport_->is_open());
  ASSERT_EQ(Session().deregisters.size(), 1u);
  Session().deregisters.front().done(v1::DeregisterResponse());
  scheduler_.Run();
  EXPECT_TRUE(left.back().ok());
  EXPECT_EQ(registrar_->size(), 0u);
  EXPECT_FALSE(transport_->is_open());
}

TEST_F(RegistrarTest, LeavingWhileItIsBeingRegisteredWaitsForThat) {
  const auto id = Add("a");
  std::vector<absl::Status> left;
  const auto note = [&](const absl::Status& status) { left.push_back(status); };
  registrar_->Leave(id, absl::Seconds(1), note);
  EXPECT_TRUE(Session().deregisters.empty());
  TakeAll();
  ASSERT_EQ(Session().deregisters.size(), 1u);
  Session().deregisters.front().done(absl::NotFoundError("gone"));
  scheduler_.Run();
  EXPECT_EQ(left, std::vector<absl::Status>{absl::OkStatus()});
  // Of one whose registration was lost with its server it isn't known whether it was made.
  const auto other = Add("b");
  Refuse(absl::DeadlineExceededError("too long"));
  registrar_->Leave(other, absl::Seconds(2), note);
  AwaitSession();
  scheduler_.Advance(absl::Milliseconds(200));
  EXPECT_EQ(TakeAll(), 1u);
  EXPECT_EQ(Session().deregisters.size(), 1u);
}

// The answer comes when nobody waits for it any more, and the session goes on for another.
TEST_F(RegistrarTest, AnAnswerToLeavingThatComesTooLateHarmsNothing) {
  Add("stays");
  for (const bool ok : {true, false}) {
    const auto id = Add("a");
    TakeAll();
    std::vector<absl::Status> left;
    registrar_->Leave(id, absl::Seconds(1),
                      [&](const absl::Status& status) { left.push_back(status); });
    ASSERT_EQ(Session().deregisters.size(), 1u);
    scheduler_.Advance(absl::Seconds(2));
    ASSERT_EQ(left.size(), 1u);
    EXPECT_TRUE(absl::IsDeadlineExceeded(left[0])) << left[0];
    // What has ended is neither drained nor reported.
    std::vector<absl::Status> drained;
    registrar_->Drain(id, absl::Seconds(1), [&](const absl::StatusOr<v1::DrainResponse>& response) {
      drained.push_back(response.status());
    });
    ASSERT_EQ(drained.size(), 1u);
    EXPECT_TRUE(absl::IsFailedPrecondition(drained[0]));
    registrar_->Report(id, "disk", {}, absl::Seconds(30));
    EXPECT_TRUE(Session().reports.empty());
    const auto call = Session().deregisters.front();
    Session().deregisters.pop_front();
    if (ok) {
      call.done(v1::DeregisterResponse());
    } else {
      call.done(absl::PermissionDeniedError("no right"));
    }
    scheduler_.Run();
    EXPECT_EQ(left.size(), 1u);
    EXPECT_EQ(StateOf("stays"), State::kHeld);
    EXPECT_EQ(registrar_->size(), ok ? 1u : 2u);
    registrar_->Forget(id);
  }
  // Without any that is needed there is no session to drain on.
  Make(1);
  const auto id = Add("b");
  TakeAll();
  registrar_->Leave(id, absl::ZeroDuration(), [](const absl::Status&) {});
  scheduler_.Advance(absl::Seconds(1));
  EXPECT_FALSE(transport_->is_open());
  bool refused = false;
  registrar_->Drain(id, absl::Seconds(1), [&](const absl::StatusOr<v1::DrainResponse>& response) {
    refused = absl::IsFailedPrecondition(response.status());
  });
  EXPECT_TRUE(refused);
}

// Another incarnation than the one that is known may have been made.
TEST_F(RegistrarTest, LeavingAfterARegistrationThatWasLostMakesItAgainFirst) {
  const auto id = Add("a");
  TakeAll();
  while (Session().beats.empty()) scheduler_.Advance(absl::Milliseconds(10));
  Beat(Outcome::UNKNOWN);
  ASSERT_EQ(Session().registers.size(), 1u);
  Session().End(absl::UnavailableError("Socket closed"));
  scheduler_.Run();
  std::vector<absl::Status> left;
  registrar_->Leave(id, absl::Seconds(5),
                    [&](const absl::Status& status) { left.push_back(status); });
  AwaitSession();
  EXPECT_TRUE(Session().deregisters.empty());
  Refuse(WithReason(absl::UnavailableError("loading"), "LOADING"));
  scheduler_.Advance(absl::Milliseconds(200));
  EXPECT_EQ(TakeAll(), 1u);
  ASSERT_EQ(Session().deregisters.size(), 1u);
  EXPECT_EQ(Session().deregisters.front().request.incarnation(), 42u);
  EXPECT_TRUE(left.empty());
  // So it is after an outcome that the server itself doesn't know.
  Add("keeps the session");
  const auto other = Add("b");
  while (!Session().registers.empty() &&
         Session().registers.front().request.instance().id() != "b") {
    Session().registers.pop_front();
  }
  Refuse(WithReason(absl::UnavailableError("?"), "OUTCOME_UNKNOWN"));
  registrar_->Leave(other, absl::Seconds(5),
                    [&](const absl::Status& status) { left.push_back(status); });
  EXPECT_TRUE(left.empty());
  EXPECT_EQ(Session().registers.size(), 1u);
}

TEST_F(RegistrarTest, AServerThatCantServeIsLeftWhenThereIsAnother) {
  Make(2);
  Add("a");
  const size_t first = Session().server;
  Refuse(WithReason(absl::UnavailableError("no space"), "STORAGE_FULL"));
  AwaitSession();
  EXPECT_NE(Session().server, first);
}

TEST_F(RegistrarTest, WhatWasNeverRegisteredLeavesAtOnce) {
  const auto id = Add("a");
  Session().End(absl::UnavailableError("can't connect"));
  scheduler_.Run();
  std::vector<absl::Status> left;
  registrar_->Leave(id, absl::Seconds(10),
                    [&](const absl::Status& status) { left.push_back(status); });
  EXPECT_EQ(left, std::vector<absl::Status>{absl::OkStatus()});
}

TEST_F(RegistrarTest, ReportsAreSentWhenItIsHeldAndAgainWhenItWasLost) {
  const auto id = Add("a");
  const auto report = [&](Endpoint::Health health, const std::string& output) {
    registrar_->Report(id, "disk", {health, output}, absl::Seconds(30));
  };
  report(Endpoint::Health::kPassing, "early");
  EXPECT_TRUE(Session().reports.empty());
  TakeAll();
  ASSERT_EQ(Session().reports.size(), 1u);
  EXPECT_EQ(Session().reports.back().request.incarnation(), 41u);
  EXPECT_EQ(Session().reports.back().request.check_id(), "disk");
  EXPECT_EQ(Session().reports.back().request.status(), v1::PASSING);
  EXPECT_EQ(Session().reports.back().request.output(), "early");
  report(Endpoint::Health::kWarning, "nearly full");
  report(Endpoint::Health::kCritical, "full");
  ASSERT_EQ(Session().reports.size(), 1u) << "one after the other";
  Session().reports.front().done(v1::ReportHealthResponse());
  scheduler_.Run();
  ASSERT_EQ(Session().reports.size(), 2u) << "the latest one";
  EXPECT_EQ(Session().reports.back().request.output(), "full");
  EXPECT_EQ(Session().reports.back().request.status(), v1::CRITICAL);
  Session().reports.back().done(v1::ReportHealthResponse());
  scheduler_.Run();
  Session().End(absl::UnavailableError("gone"));
  scheduler_.Run();
  AwaitSession();
  scheduler_.Advance(absl::Milliseconds(200));
  EXPECT_TRUE(Session().reports.empty()) << "not before the lease is confirmed";
  Beat(Outcome::RENEWED);
  ASSERT_EQ(Session().reports.size(), 1u);
  EXPECT_EQ(Session().reports.back().request.output(), "full");
  // What is too old to be true is not sent.
  Session().End(absl::UnavailableError("gone"));
  scheduler_.Advance(absl::Minutes(1));
  AwaitSession();
  scheduler_.Advance(absl::Milliseconds(200));
  Beat(Outcome::RENEWED);
  EXPECT_TRUE(Session().reports.empty());
}

TEST_F(RegistrarTest, ADrainThatIsUnderWayEndsWithItsSession) {
  const auto id = Add("a");
  std::vector<absl::Status> drained;
  const auto note = [&](absl::StatusOr<v1::DrainResponse> response) {
    drained.push_back(response.status());
  };
  registrar_->Drain(id, absl::Seconds(10), note);
  ASSERT_EQ(drained.size(), 1u);
  EXPECT_TRUE(absl::IsFailedPrecondition(drained[0]));
  TakeAll();
  registrar_->Drain(id, absl::Milliseconds(10'500), note);
  ASSERT_EQ(Session().drains.size(), 1u);
  EXPECT_EQ(Session().drains.back().request.deadline().seconds(), 10);
  EXPECT_EQ(Session().drains.back().request.deadline().nanos(), 500'000'000);
  Session().drains.back().done(v1::DrainResponse());
  scheduler_.Run();
  ASSERT_EQ(drained.size(), 2u);
  EXPECT_TRUE(drained[1].ok());
  registrar_->Drain(id, absl::Seconds(10), note);
  Session().End(absl::UnavailableError("gone"));
  scheduler_.Run();
  ASSERT_EQ(drained.size(), 3u);
  EXPECT_TRUE(absl::IsUnavailable(drained[2]));
}

TEST_F(RegistrarTest, ADrainAsksForNoMoreThanTheServerGives) {
  const auto id = Add("a");
  TakeAll();
  registrar_->Drain(id, absl::Hours(1), [](const auto&) {});
  ASSERT_EQ(Session().drains.size(), 1u);
  EXPECT_EQ(Session().drains.back().request.deadline().seconds(), 600);
  EXPECT_EQ(Session().drains.back().within, absl::Minutes(10) + absl::Seconds(5));
}

TEST_F(RegistrarTest, WhatDrainsDrainsAgainWhenTheRegistryHasLostIt) {
  const auto id = Add("a");
  TakeAll();
  registrar_->Drain(id, absl::Seconds(10), [](const auto&) {});
  AnswerDrain(v1::DrainResponse());
  Forget();
  ASSERT_EQ(Session().drains.size(), 1u);
  EXPECT_EQ(Session().drains.front().request.incarnation(), 42u);
  EXPECT_TRUE(Session().drains.front().request.has_deadline());
  EXPECT_EQ(Session().drains.front().request.deadline().seconds(), 0);
  AnswerDrain(absl::InternalError("not now"));
  EXPECT_TRUE(Session().drains.empty());
  scheduler_.Advance(absl::Seconds(10));
  Beat(Outcome::RENEWED);
  EXPECT_EQ(Session().drains.size(), 1u) << "with the next confirmation";
  AnswerDrain(v1::DrainResponse());
  scheduler_.Advance(absl::Seconds(10));
  Beat(Outcome::RENEWED);
  EXPECT_TRUE(Session().drains.empty());
  registrar_->Leave(id, absl::Seconds(1), [](const absl::Status&) {});
  Session().deregisters.front().done(v1::DeregisterResponse());
  scheduler_.Run();
  Add("a");
  TakeAll();
  EXPECT_TRUE(Session().drains.empty()) << "another registration is active";
}

TEST_F(RegistrarTest, ADrainIsMadeAgainWithTheNextSessionUnlessItWasRefused) {
  const auto id = Add("a");
  TakeAll();
  registrar_->Drain(id, absl::Seconds(10), [](const auto&) {});
  AnswerDrain(v1::DrainResponse());
  Session().End(absl::UnavailableError("gone"));
  scheduler_.Run();
  AwaitSession();
  scheduler_.Advance(absl::Seconds(1));
  Beat(Outcome::RENEWED);
  ASSERT_EQ(Session().drains.size(), 1u) << "another server may not have heard of it";
  AnswerDrain(absl::UnimplementedError("no such call"));
  Forget();
  EXPECT_TRUE(Session().drains.empty());
}

// Whoever asked may have thought better of it.
TEST_F(RegistrarTest, ADrainThatFailedIsNotMadeAgain) {
  const auto id = Add("a");
  TakeAll();
  absl::Status drained;
  registrar_->Drain(id, absl::Seconds(10), [&](absl::StatusOr<v1::DrainResponse> response) {
    drained = response.status();
  });
  Session().End(absl::UnavailableError("gone"));
  scheduler_.Run();
  EXPECT_FALSE(drained.ok());
  AwaitSession();
  scheduler_.Advance(absl::Seconds(1));
  Beat(Outcome::RENEWED);
  EXPECT_TRUE(Session().drains.empty());
}

TEST_F(RegistrarTest, ADrainThatIsUnderWayEndsWhenItIsDeregistered) {
  const auto id = Add("a");
  TakeAll();
  absl::Status drained;
  registrar_->Drain(id, absl::Seconds(10), [&](absl::StatusOr<v1::DrainResponse> response) {
    drained = response.status();
  });
  registrar_->Leave(id, absl::Seconds(1), [](const absl::Status&) {});
  Session().deregisters.front().done(v1::DeregisterResponse());
  scheduler_.Run();
  EXPECT_TRUE(absl::IsCancelled(drained)) << drained;
}

}  // namespace
}  // namespace muster::client
