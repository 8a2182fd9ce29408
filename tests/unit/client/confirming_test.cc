// What a connection confirms to the registry, and when: once nobody is given any more what is gone.
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "client/balancing.h"
#include "client/registry_connection.h"
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

class ConfirmingTest : public ::testing::Test {
 protected:
  void SetUp() override { Connect(); }
  void Connect() {
    auto transport = std::make_unique<FakeTransport>(1);
    transport_ = transport.get();
    connection_ = RegistryConnection::Create(
        Options{},
        {.clock = base::RealClock(),
         .rng = std::make_unique<base::SeededRng>(7),
         .new_scheduler = [this](const std::string&) { return scheduler_.Share(); },
         .watches = std::move(transport),
         .leases = std::make_unique<FakeLeaseTransport>(1),
         .after_views = [this](Scheduler::Task task) { behind_views_(std::move(task)); }});
  }
  void Follow() { connection_->Resolve(At("web")).status().IgnoreError(), scheduler_.Run(); }
  void Send(const v1::WatchResponse& event) {
    transport_->last().Answer(event);
    scheduler_.Run();
  }
  uint64_t SubId() { return transport_->last().SubIdOf("web"); }
  void Begin(const std::vector<v1::Endpoint>& endpoints, uint64_t seq) {
    Send(Snapshot(SubId(), endpoints, seq));
  }
  // `gone` has left, and these are there now.
  v1::WatchResponse Gone(const std::string& gone, const std::vector<v1::Endpoint>& left,
                         uint64_t seq, bool ack_requested = true) {
    v1::WatchResponse event;
    event.set_sub_id(SubId());
    v1::Change& change = *event.mutable_change();
    if (!gone.empty()) change.add_removed()->set_id(gone);
    uint64_t checksum = 0;
    for (const v1::Endpoint& endpoint : left) {
      *change.add_upserted() = endpoint;
      checksum += EndpointHash(FromWire(endpoint));
    }
    change.set_checksum(checksum);
    change.set_to_seq(seq);
    if (left.empty()) change.set_empty_reason(v1::FILTERED_OUT);
    change.set_ack_requested(ack_requested);
    return event;
  }
  std::vector<std::string> Ids() {
    std::vector<std::string> ids;
    for (const EndpointPtr& one : *connection_->Resolve(At("web"))->endpoints) {
      ids.push_back(one->id);
    }
    return ids;
  }
  // The seqs that were confirmed on the present stream for the present subscription.
  std::vector<uint64_t> Acks() {
    std::vector<uint64_t> acks;
    for (const v1::WatchRequest& request : transport_->last().requests) {
      if (!request.has_ack()) continue;
      EXPECT_EQ(request.ack().sub_id(), SubId());
      acks.push_back(request.ack().seq());
    }
    return acks;
  }
  // Views are made.
  void MakeViews() {
    for (const auto& task : std::exchange(views_, {})) task();
    scheduler_.Run();
  }

  FakeScheduler scheduler_;
  std::deque<Scheduler::Task> views_;
  std::function<void(Scheduler::Task)> behind_views_ = [this](Scheduler::Task task) {
    views_.push_back(std::move(task));
  };
  FakeTransport* transport_ = nullptr;
  std::shared_ptr<RegistryConnection> connection_;
};

TEST_F(ConfirmingTest, SaysThatItCanAndConfirmsWhatIsAskedFor) {
  Follow();
  EXPECT_TRUE(transport_->last().requests.at(0).subscribe().acks());
  Begin({OneEndpoint("a", 5), OneEndpoint("b", 5)}, 5);
  Send(Gone("a", {OneEndpoint("b", 5)}, 6, false));
  MakeViews();
  EXPECT_EQ(Acks(), std::vector<uint64_t>{}) << "nobody asked";
  Send(Gone("", {OneEndpoint("b", 7)}, 7));
  EXPECT_EQ(views_.size(), 1u);
  EXPECT_EQ(Acks(), std::vector<uint64_t>{}) << "views may be of what was";
  MakeViews();
  EXPECT_EQ(Acks(), std::vector<uint64_t>{7});
  // Nothing new in it.
  Send(Gone("", {OneEndpoint("b", 7)}, 9));
  MakeViews();
  EXPECT_EQ(Acks(), (std::vector<uint64_t>{7, 9}));
}

TEST_F(ConfirmingTest, ComesBehindTheListeners) {
  std::vector<std::string> seen;
  const auto watching = connection_->Watch(At("web"), [&](const Resolution& answer) {
    seen.push_back(answer.endpoints->empty() ? "" : answer.endpoints->front()->id);
    EXPECT_EQ(Acks(), std::vector<uint64_t>{});
    EXPECT_TRUE(views_.empty());
  });
  ASSERT_TRUE(watching.ok());
  scheduler_.Run();
  Begin({OneEndpoint("a", 5), OneEndpoint("b", 5)}, 5);
  Send(Gone("a", {OneEndpoint("b", 5)}, 6));
  EXPECT_EQ(seen, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(views_.size(), 1u);
  MakeViews();
  EXPECT_EQ(Acks(), std::vector<uint64_t>{6});
}

TEST_F(ConfirmingTest, OfAStreamThatIsLostNothingIsSaidOnTheNext) {
  Follow();
  Begin({OneEndpoint("a", 5), OneEndpoint("b", 5)}, 5);
  Send(Gone("a", {OneEndpoint("b", 5)}, 6));
  transport_->last().End(absl::UnavailableError("gone"));
  scheduler_.Run();
  while (!transport_->last().open) scheduler_.Advance(absl::Milliseconds(10));
  MakeViews();
  EXPECT_EQ(transport_->last().requests.at(0).subscribe().resume().revision().seq(), 6u);
  EXPECT_EQ(Acks(), std::vector<uint64_t>{});
  // It is asked again.
  Send(Gone("", {OneEndpoint("b", 5)}, 6));
  MakeViews();
  EXPECT_EQ(Acks(), std::vector<uint64_t>{6});
}

TEST_F(ConfirmingTest, BehindAResetItIsTheSnapshotThatCounts) {
  Follow();
  Begin({OneEndpoint("a", 5), OneEndpoint("b", 5)}, 5);
  v1::WatchResponse reset;
  reset.set_sub_id(SubId());
  reset.mutable_reset()->set_reason(v1::Reset::TOO_OLD);
  Send(reset);
  EXPECT_EQ(Ids(), (std::vector<std::string>{"a", "b"}));
  Send(Snapshot(SubId(), {OneEndpoint("b", 5)}, 8));
  EXPECT_EQ(Ids(), std::vector<std::string>{"b"});
  MakeViews();
  EXPECT_EQ(Acks(), std::vector<uint64_t>{});
  Send(Gone("", {OneEndpoint("b", 5)}, 8));
  MakeViews();
  EXPECT_EQ(Acks(), std::vector<uint64_t>{8});
}

// An empty answer isn't believed for half a minute, and calls go on to whoever was there.
TEST_F(ConfirmingTest, TheLastOneIsConfirmedWhenItIsNotCalledAnyMore) {
  Follow();
  Begin({OneEndpoint("a", 5)}, 5);
  Send(Gone("a", {}, 6));
  MakeViews();
  EXPECT_EQ(Ids(), std::vector<std::string>{"a"});
  EXPECT_EQ(Acks(), std::vector<uint64_t>{});
  scheduler_.Advance(Options{}.keep_last - absl::Milliseconds(1));
  MakeViews();
  EXPECT_EQ(Acks(), std::vector<uint64_t>{});
  scheduler_.Advance(absl::Milliseconds(1));
  MakeViews();
  EXPECT_EQ(Ids(), std::vector<std::string>{});
  EXPECT_EQ(Acks(), std::vector<uint64_t>{6});
}

TEST_F(ConfirmingTest, OrWhenAnotherOneHasCome) {
  Follow();
  Begin({OneEndpoint("a", 5)}, 5);
  Send(Gone("a", {}, 6));
  Send(Gone("", {OneEndpoint("b", 7)}, 7, false));
  MakeViews();
  EXPECT_EQ(Ids(), std::vector<std::string>{"b"});
  EXPECT_EQ(Acks(), std::vector<uint64_t>{6});
}

TEST_F(ConfirmingTest, WhatIsWrongIsNotConfirmed) {
  Follow();
  Begin({OneEndpoint("a", 5), OneEndpoint("b", 5)}, 5);
  v1::WatchResponse wrong = Gone("a", {OneEndpoint("b", 5)}, 6);
  wrong.mutable_change()->set_checksum(1);
  Send(wrong);
  MakeViews();
  EXPECT_EQ(Acks(), std::vector<uint64_t>{});
}

TEST_F(ConfirmingTest, MayComeWhenTheConnectionIsGone) {
  Follow();
  Begin({OneEndpoint("a", 5), OneEndpoint("b", 5)}, 5);
  Send(Gone("a", {OneEndpoint("b", 5)}, 6));
  connection_ = nullptr;
  ASSERT_EQ(views_.size(), 1u);
  MakeViews();
}

// On the thread that makes the views of this process's balancers, too.
TEST_F(ConfirmingTest, ComesBehindTheViewsOfBalancers) {
  Follow();
  Begin({OneEndpoint("a", 5), OneEndpoint("b", 5)}, 5);
  const Client client(connection_);
  const auto balancer = client.Balance("web");
  ASSERT_TRUE(balancer.ok()) << balancer.status();
  scheduler_.Run();
  // The thread is busy.
  absl::Notification go_on;
  AfterViews([&] { go_on.WaitForNotification(); });
  base::Mutex mu;
  base::CondVar changed;
  Scheduler::Task back;  // mu guards it
  behind_views_ = [&](Scheduler::Task task) {
    AfterViews([&, task = std::move(task)] {
      base::MutexLock lock(mu);
      back = task;
      changed.NotifyAll();
    });
  };
  Send(Gone("a", {OneEndpoint("b", 5)}, 6));
  bool still_there = false;
  for (int i = 0; i < 100; ++i) still_there |= balancer->Next()->id == "a";
  EXPECT_TRUE(still_there) << "the view is the former one";
  {
    base::MutexLock lock(mu);
    EXPECT_EQ(back, nullptr);
    go_on.Notify();
    while (back == nullptr) changed.Wait(mu);
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(balancer->Next()->id, "b");
  EXPECT_EQ(Acks(), std::vector<uint64_t>{});
  back();
  scheduler_.Run();
  EXPECT_EQ(Acks(), std::vector<uint64_t>{6});
}

}  // namespace
}  // namespace muster::client
