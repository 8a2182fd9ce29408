#include "client/registry_connection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "client/loop.h"
#include "fake_lease_transport.h"
#include "fake_scheduler.h"
#include "fake_transport.h"
#include "muster/client/client.h"

namespace muster::client {
namespace {

using testing::At;
using testing::FakeLeaseTransport;
using testing::FakeScheduler;
using testing::FakeTransport;
using testing::OneEndpoint;
using testing::Snapshot;
using Source = Resolution::Source;
using Empty = Resolution::Empty;

// On a thread of the test's: nothing waits, and time is moved by hand.
class RegistryConnectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto transport = std::make_unique<FakeTransport>(1);
    transport_ = transport.get();
    connection_ = RegistryConnection::Create(
        Options{}, {.clock = base::RealClock(),
                    .rng = std::make_unique<base::SeededRng>(7),
                    .new_scheduler = [this](const std::string&) { return scheduler_->Share(); },
                    .watches = std::move(transport),
                    .leases = std::make_unique<FakeLeaseTransport>(1)});
  }
  absl::StatusOr<Resolution> Resolve(const std::string& name) {
    auto answer = connection_->Resolve(At(name));
    scheduler_->Run();
    return answer;
  }
  void Answer(const std::string& service, const std::vector<v1::Endpoint>& endpoints, uint64_t seq,
              v1::EmptyReason reason = v1::NO_INSTANCES) {
    FakeTransport::Call& call = transport_->last();
    ASSERT_NE(call.SubIdOf(service), 0u) << service;
    call.Answer(Snapshot(call.SubIdOf(service), endpoints, seq, reason));
    scheduler_->Run();
  }
  // The registry is there meanwhile.
  void Pass(absl::Duration duration) {
    v1::WatchResponse progress;
    progress.mutable_progress()->mutable_revision()->set_epoch(7);
    for (; duration > absl::ZeroDuration(); duration -= absl::Seconds(30)) {
      transport_->last().Answer(progress);
      scheduler_->Advance(std::min(duration, absl::Seconds(30)));
    }
  }
  // Until it tries the server once more.
  void AwaitTry() {
    while (!transport_->last().open) scheduler_->Advance(absl::Milliseconds(10));
  }

  const std::unique_ptr<FakeScheduler> scheduler_ = std::make_unique<FakeScheduler>();
  FakeTransport* transport_ = nullptr;
  std::shared_ptr<RegistryConnection> connection_;
};

TEST_F(RegistryConnectionTest, AThousandServicesShareOneStreamAndAnswerFromMemory) {
  for (int i = 0; i < 1'000; ++i) {
    EXPECT_TRUE(absl::IsUnavailable(Resolve(absl::StrCat("s", i)).status()));
  }
  ASSERT_EQ(transport_->calls(), 1u);
  EXPECT_EQ(transport_->last().requests.size(), 1'000u);
  for (int i = 0; i < 1'000; ++i) Answer(absl::StrCat("s", i), {OneEndpoint("a", 5)}, 5);
  for (int i = 0; i < 1'000; ++i) {
    const auto answer = Resolve(absl::StrCat("s", i));
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->endpoints->size(), 1u);
    EXPECT_EQ(answer->source, Source::kRegistry);
  }
  EXPECT_EQ(transport_->last().requests.size(), 1'000u) << "nothing was asked";
  EXPECT_EQ(connection_->followed(), 1'000u);
}

TEST_F(RegistryConnectionTest, OneServiceUnderOtherConditionsIsAnother) {
  for (const std::string name :
       {"web", "muster:///web?tag=a", "muster:///web?tag=a&tag=b", "muster:///web?tag=ab",
        "muster:///web?zone=a", "muster:///web?region=a", "muster:///web?version=a",
        "muster:///web?port=a", "muster:///web?meta.a=b", "muster:///web?health=any",
        "muster:///web?health=warning", "muster:///web?draining=true",
        "muster:///web?namespace=other"}) {
    Resolve(name).status().IgnoreError();
  }
  EXPECT_EQ(connection_->followed(), 13u);
  Resolve("http://web:80/a?b").status().IgnoreError();
  Resolve("web.service.consul").status().IgnoreError();
  EXPECT_EQ(connection_->followed(), 13u);
}

TEST_F(RegistryConnectionTest, WhatWasKnownStaysAndSaysHowOldItIs) {
  Resolve("web").status().IgnoreError();
  Answer("web", {OneEndpoint("a", 5)}, 5);
  scheduler_->Advance(absl::Seconds(10));
  transport_->last().End(absl::UnavailableError("gone"));
  scheduler_->Run();
  auto answer = Resolve("web");
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->source, Source::kLastKnown);
  EXPECT_EQ(answer->age, absl::Seconds(10)) << "nothing had come for so long";
  scheduler_->Advance(absl::Hours(1));
  answer = Resolve("web");
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->endpoints->size(), 1u);
  EXPECT_EQ(answer->age, absl::Hours(1) + absl::Seconds(10));
  // The registry is back, without its store.
  AwaitTry();
  Answer("web", {}, 1, v1::UNKNOWN_SERVICE);
  EXPECT_EQ(Resolve("web")->endpoints->size(), 1u);
  scheduler_->Advance(absl::Seconds(31));
  answer = Resolve("web");
  EXPECT_EQ(answer->endpoints->size(), 0u);
  EXPECT_EQ(answer->empty, Empty::kUnknownService);
  EXPECT_EQ(answer->WhyEmpty("web"), "no service \"web\" is known");
}

TEST_F(RegistryConnectionTest, AnErrorSaysWhyThereIsNoAnswer) {
  Resolve("web").status().IgnoreError();
  transport_->last().End(absl::UnavailableError("connection refused"));
  scheduler_->Run();
  const absl::Status away = Resolve("web").status();
  EXPECT_EQ(away.message(),
            "the registry has told nothing of \"web\" yet: server-0: connection refused");
  scheduler_->Advance(absl::Seconds(1));
  v1::WatchResponse refusal;
  refusal.set_sub_id(transport_->last().SubIdOf("web"));
  refusal.mutable_error()->set_code(7);
  refusal.mutable_error()->set_message("no right");
  transport_->last().Answer(refusal);
  scheduler_->Run();
  const absl::Status refused = Resolve("web").status();
  EXPECT_TRUE(absl::IsPermissionDenied(refused));
  EXPECT_EQ(refused.message(), "the registry doesn't tell of \"web\": no right");
}

TEST_F(RegistryConnectionTest, StaticNamesAskNobody) {
  const auto answer = Resolve("static:///10.0.0.1:80,10.0.0.2:81");
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->source, Source::kStatic);
  ASSERT_EQ(answer->endpoints->size(), 2u);
  EXPECT_EQ((*answer->endpoints)[1]->address, (Address{"10.0.0.2", 81}));
  EXPECT_EQ(transport_->calls(), 0u);
}

TEST_F(RegistryConnectionTest, ListenersHearEachAnswerUntilTheyEnd) {
  std::vector<size_t> heard;
  auto first = connection_->Watch(At("web"), [&](const Resolution& resolution) {
    heard.push_back(resolution.endpoints->size());
  });
  ASSERT_TRUE(first.ok());
  scheduler_->Run();
  EXPECT_TRUE(heard.empty());
  Answer("web", {OneEndpoint("a", 5)}, 5);
  EXPECT_EQ(heard, std::vector<size_t>{1});
  // One that comes later hears the present answer first.
  std::vector<Source> sources;
  auto second = connection_->Watch(
      At("web"), [&](const Resolution& resolution) { sources.push_back(resolution.source); });
  scheduler_->Run();
  Answer("web", {OneEndpoint("a", 5), OneEndpoint("b", 6)}, 6);
  transport_->last().End(absl::UnavailableError("gone"));
  scheduler_->Run();
  EXPECT_EQ(heard, (std::vector<size_t>{1, 2, 2}));
  EXPECT_EQ(sources,
            (std::vector<Source>{Source::kRegistry, Source::kRegistry, Source::kLastKnown}));
  *first = nullptr;
  scheduler_->Advance(absl::Seconds(1));
  Answer("web", {}, 7);
  scheduler_->Advance(absl::Seconds(31));
  EXPECT_EQ(heard.size(), 3u);
  EXPECT_EQ(sources.back(), Source::kRegistry);
  std::vector<size_t> fixed;
  auto third = connection_->Watch(At("static:///10.0.0.1:80"), [&](const Resolution& resolution) {
    fixed.push_back(resolution.endpoints->size());
  });
  scheduler_->Run();
  EXPECT_EQ(fixed, std::vector<size_t>{1});
}

TEST_F(RegistryConnectionTest, AListenerMayEndItselfAndAskForMore) {
  int heard = 0;
  absl::StatusOr<std::unique_ptr<Connection::Subscription>> held;
  held = connection_->Watch(At("web"), [&](const Resolution&) {
    ++heard;
    EXPECT_TRUE(absl::IsUnavailable(connection_->Resolve(At("db")).status())) << "doesn't wait";
    *held = nullptr;
  });
  scheduler_->Run();
  Answer("web", {OneEndpoint("a", 5)}, 5);
  Answer("db", {OneEndpoint("a", 5)}, 5);
  Answer("web", {OneEndpoint("a", 5), OneEndpoint("b", 6)}, 6);
  EXPECT_EQ(heard, 1);
}

TEST_F(RegistryConnectionTest, AListenerThatOwnsItsClientIsLetGoWhenItEnds) {
  std::weak_ptr<RegistryConnection> there = connection_;
  auto held = connection_->Watch(At("web"), [client = Client(connection_)](const Resolution&) {});
  ASSERT_TRUE(held.ok());
  scheduler_->Run();
  FakeTransport::Call& call = transport_->last();
  call.Answer(Snapshot(call.SubIdOf("web"), {OneEndpoint("a", 5)}, 5));
  scheduler_->Run();
  connection_ = nullptr;
  EXPECT_FALSE(there.expired()) << "the subscription keeps it";
  *held = nullptr;
  EXPECT_TRUE(there.expired());
}

TEST_F(RegistryConnectionTest, ASetThatIsKnownToBeWrongIsNotCalledLive) {
  Resolve("web").status().IgnoreError();
  Answer("web", {OneEndpoint("a", 5)}, 5);
  v1::WatchResponse reset;
  reset.set_sub_id(transport_->last().SubIdOf("web"));
  reset.mutable_reset();
  transport_->last().Answer(reset);
  scheduler_->Advance(absl::Seconds(1));
  EXPECT_EQ(Resolve("web")->source, Source::kLastKnown);
  EXPECT_EQ(Resolve("web")->age, absl::Seconds(1));
  Answer("web", {OneEndpoint("a", 6)}, 6);
  EXPECT_EQ(Resolve("web")->source, Source::kRegistry);
  // Twice a wrong checksum: kept, and asked for again after a while.
  for (int i = 0; i < 2; ++i) {
    auto wrong = Snapshot(transport_->last().SubIdOf("web"), {OneEndpoint("b", 7)}, 7);
    wrong.mutable_snapshot()->set_checksum(1);
    transport_->last().Answer(wrong);
    scheduler_->Run();
  }
  EXPECT_EQ(Resolve("web")->endpoints->front()->id, "a");
  EXPECT_EQ(Resolve("web")->source, Source::kLastKnown);
  const size_t asked = transport_->last().requests.size();
  scheduler_->Advance(absl::Seconds(11));
  EXPECT_EQ(transport_->last().requests.size(), asked + 1);
}

TEST_F(RegistryConnectionTest, WhoIsRefusedIsToldSo) {
  Resolve("web").status().IgnoreError();
  transport_->last().End(absl::UnauthenticatedError("token unknown"));
  scheduler_->Run();
  EXPECT_TRUE(absl::IsUnauthenticated(Resolve("web").status())) << Resolve("web").status();
}

TEST_F(RegistryConnectionTest, ServicesThatNobodyAsksForAreLetGo) {
  Resolve("idle").status().IgnoreError();
  Resolve("busy").status().IgnoreError();
  auto watched = connection_->Watch(At("watched"), [](const Resolution&) {});
  scheduler_->Run();
  Answer("idle", {OneEndpoint("a", 5)}, 5);
  for (int i = 0; i < 20; ++i) {
    Pass(absl::Minutes(1));
    Resolve("busy").status().IgnoreError();
  }
  EXPECT_EQ(connection_->followed(), 2u);
  *watched = nullptr;
  Pass(absl::Minutes(20));
  EXPECT_EQ(connection_->followed(), 0u);
  Resolve("idle").status().IgnoreError();
  EXPECT_EQ(connection_->followed(), 1u);
  Answer("idle", {OneEndpoint("a", 5)}, 5);
  transport_->last().End(absl::UnavailableError("gone"));
  Resolve("never-told").status().IgnoreError();
  EXPECT_EQ(connection_->followed(), 2u);
  scheduler_->Advance(absl::Hours(1));
  EXPECT_EQ(connection_->followed(), 1u) << "what can't be asked for again is kept";
}

// With a thread, as in programs.
class ThreadedTest : public ::testing::Test {
 protected:
  // Answers each subscription from a thread of its own after a moment, until it is told to stop.
  class Server : public FakeTransport {
   public:
    Server() : FakeTransport(1) {}
    std::unique_ptr<WatchStream> Open(size_t, Callbacks callbacks) override {
      return std::make_unique<Answering>(std::move(callbacks));
    }

   private:
    class Answering : public WatchStream {
     public:
      explicit Answering(Callbacks callbacks) : callbacks_(std::move(callbacks)) {}
      ~Answering() override {
        for (std::thread& thread : threads_) thread.join();
      }
      void Write(v1::WatchRequest request) override {
        if (!request.has_subscribe()) return;
        threads_.emplace_back([this, request] {
          base::MutexLock lock(mu_);
          callbacks_.on_event(Snapshot(request.subscribe().sub_id(), {OneEndpoint("a", 5)}, 5));
        });
      }
      void ReadNext() override {}

     private:
      base::Mutex mu_;
      const Callbacks callbacks_;
      std::vector<std::thread> threads_;
    };
  };

  static std::shared_ptr<RegistryConnection> Make(std::unique_ptr<WatchTransport> transport,
                                                  absl::Duration first_answer) {
    return RegistryConnection::Create(Options{.first_answer = first_answer},
                                      {.clock = base::RealClock(),
                                       .rng = std::make_unique<base::SeededRng>(7),
                                       .new_scheduler =
                                           [](const std::string& name) {
                                             return std::make_unique<Loop>(name, base::RealClock());
                                           },
                                       .watches = std::move(transport),
                                       .leases = std::make_unique<FakeLeaseTransport>(1)});
  }
};

TEST_F(ThreadedTest, TheFirstQuestionWaitsForTheAnswer) {
  const auto connection = Make(std::make_unique<Server>(), absl::Seconds(20));
  std::vector<std::thread> threads;
  std::atomic<int> answered{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        if (connection->Resolve(At(absl::StrCat("s", i))).ok()) ++answered;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, 80);
}

TEST_F(ThreadedTest, OnlyTheFirstQuestionsWait) {
  const auto connection = Make(std::make_unique<FakeTransport>(1), absl::Milliseconds(30));
  const base::SteadyTime begin = base::RealClock().Steady();
  EXPECT_FALSE(connection->Resolve(At("web")).ok());
  EXPECT_GE(base::RealClock().Steady() - begin, absl::Milliseconds(30));
  for (int i = 0; i < 1'000; ++i) EXPECT_FALSE(connection->Resolve(At("web")).ok());
  EXPECT_LT(base::RealClock().Steady() - begin, absl::Seconds(15)) << "a thousand didn't wait";
}

TEST_F(ThreadedTest, MayEndWithQuestionsAndListenersUnderWay) {
  for (int i = 0; i < 50; ++i) {
    auto connection = Make(std::make_unique<Server>(), absl::Seconds(20));
    std::atomic<int> heard{0};
    auto held = connection->Watch(At("web"), [&](const Resolution&) { ++heard; });
    ASSERT_TRUE(held.ok());
    std::thread asks(
        [connection, i] { connection->Resolve(At(absl::StrCat("s", i))).status().IgnoreError(); });
    connection = nullptr;
    *held = nullptr;
    asks.join();
  }
}

TEST_F(ThreadedTest, MayBeEndedByItsOwnListener) {
  base::Mutex mu;
  base::CondVar ended;
  bool has_ended = false;
  auto client = std::make_unique<Client>(Make(std::make_unique<Server>(), absl::Seconds(20)));
  Client::Subscription held;
  {
    base::MutexLock lock(mu);
    auto watched = client->Watch("web", [&](const Resolution&) {
      base::MutexLock inner(mu);
      held = nullptr;
      client = nullptr;
      has_ended = true;
      ended.NotifyAll();
    });
    ASSERT_TRUE(watched.ok());
    held = *std::move(watched);
  }
  base::MutexLock lock(mu);
  while (!has_ended) ASSERT_TRUE(ended.WaitFor(mu, absl::Seconds(20)));
}

}  // namespace
}  // namespace muster::client
