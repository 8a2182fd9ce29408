#include "server/rpc/drains.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/fake_clock.h"
#include "server/rpc/watch_session.h"
#include "tests/support/core_stack.h"

namespace muster::rpc {
namespace {

class NobodyListens : public core::ViewListener {
 public:
  void OnServiceChanged(std::string_view) override {}
  void OnNamesChanged() override {}
};

// Sessions without streams: what is sent is what Next gives, and a client that doesn't read isn't
// asked for it.
class DrainsTest : public testing::Test {
 protected:
  using Answer = std::optional<absl::StatusOr<v1::DrainResponse>>;

  struct Watcher {
    explicit Watcher(WatchShared& shared) : session(shared, nullptr) {}
    WatchSession session;
  };

  void Register(const std::string& id, const std::string& tag = "v1") {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service("api");
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    request.mutable_instance()->add_tags(tag);
    request.set_permanent(true);
    ASSERT_TRUE(core_.Register(request).ok());
    MarkAll();
  }
  void MarkAll() {
    const auto it = shared_.services.find(std::string_view(Key()));
    if (it == shared_.services.end()) return;
    for (Subscription* s : (*it)->subscriptions) s->session->MarkReady(*s);
  }
  static std::string Key() { return storage::EncodeServiceKey("default", "api"); }

  static v1::WatchRequest Subscribe(bool acks, const v1::Selector& selector = {}) {
    v1::WatchRequest request;
    request.mutable_subscribe()->set_sub_id(1);
    request.mutable_subscribe()->set_service("api");
    request.mutable_subscribe()->set_acks(acks);
    *request.mutable_subscribe()->mutable_selector() = selector;
    return request;
  }
  static v1::Selector Tagged(const std::string& tag) {
    v1::Selector selector;
    selector.add_all_tags(tag);
    return selector;
  }
  // One that has read all there is.
  std::unique_ptr<Watcher> Watch(bool acks, const v1::Selector& selector = {}) {
    auto watcher = std::make_unique<Watcher>(shared_);
    EXPECT_TRUE(watcher->session.Handle(Subscribe(acks, selector)).ok());
    while (watcher->session.Next()) {
    }
    return watcher;
  }
  static v1::WatchResponse Parse(grpc::ByteBuffer bytes) {
    grpc::Slice all;
    EXPECT_TRUE(bytes.DumpToSingleSlice(&all).ok());
    v1::WatchResponse event;
    EXPECT_TRUE(event.ParseFromArray(all.begin(), static_cast<int>(all.size())));
    return event;
  }
  // The next event, which has to be a change.
  static v1::Change NextChange(Watcher& watcher) {
    auto bytes = watcher.session.Next();
    if (!bytes) {
      ADD_FAILURE() << "nothing came";
      return {};
    }
    const v1::WatchResponse event = Parse(*std::move(bytes));
    EXPECT_TRUE(event.has_change()) << event.ShortDebugString();
    return event.change();
  }
  static void Ack(Watcher& watcher, uint64_t seq) {
    v1::WatchRequest request;
    request.mutable_ack()->set_sub_id(1);
    request.mutable_ack()->set_seq(seq);
    EXPECT_TRUE(watcher.session.Handle(request).ok());
  }
  // Reads the next change and confirms it, as it has to be asked to.
  static void ReadAndAck(Watcher& watcher) {
    const v1::Change change = NextChange(watcher);
    EXPECT_TRUE(change.ack_requested());
    Ack(watcher, change.to_seq());
  }

  core::Drained Write(const std::string& id) {
    v1::DrainRequest request;
    request.mutable_key()->set_service("api");
    request.mutable_key()->set_id(id);
    std::optional<absl::StatusOr<core::Drained>> out;
    core_.registry.Drain(request, [&](auto result) { out = std::move(result); });
    core_.Run();
    EXPECT_TRUE(out && out->ok());
    return **out;
  }
  Drains::Id Wait(const core::Drained& drained, Answer* answer, DrainTerms terms) {
    const auto it = shared_.services.find(std::string_view(Key()));
    std::vector<Subscription*> asked;
    const Drains::Id id = shared_.drains.Begin(
        {.service_key = Key(),
         .seq = drained.seq,
         .revision = drained.revision,
         .endpoint = drained.endpoint,
         .terms = terms,
         .done = [answer](auto response) { *answer = std::move(response); }},
        it == shared_.services.end() ? std::vector<Subscription*>{} : (*it)->subscriptions,
        clock_.Steady(), &asked);
    for (Subscription* s : asked) s->session->MarkReady(*s);
    return id;
  }
  // As a call does it: expected, written, and waited for.
  Drains::Id Begin(const std::string& id, Answer* answer,
                   DrainTerms terms = {.deadline = absl::Minutes(1)}) {
    shared_.drains.Expect(Key());
    const core::Drained drained = Write(id);
    MarkAll();
    shared_.drains.Expected(Key());
    return Wait(drained, answer, terms);
  }
  void Advance(absl::Duration by) {
    clock_.Advance(by);
    shared_.drains.Tick(clock_.Steady());
  }
  static void ExpectAnswer(const Answer& answer, uint64_t eligible, uint64_t acked,
                           uint64_t not_acking) {
    ASSERT_TRUE(answer.has_value());
    ASSERT_TRUE(answer->ok()) << answer->status();
    EXPECT_EQ((*answer)->eligible(), eligible);
    EXPECT_EQ((*answer)->acked(), acked);
    if (not_acking == 0) {
      EXPECT_EQ((*answer)->not_acking_size(), 0);
      return;
    }
    ASSERT_EQ((*answer)->not_acking_size(), 1);
    EXPECT_EQ((*answer)->not_acking(0).face(), "grpc");
    EXPECT_EQ((*answer)->not_acking(0).count(), not_acking);
  }

  base::FakeClock clock_;
  core::CoreStack core_{clock_};
  NobodyListens listener_;
  WatchShared shared_{.catalog = core_.catalog,
                      .held = core_.held,
                      .hub = core_.hub,
                      .listener = &listener_,
                      .clock = clock_,
                      .limits = {},
                      .services = {},
                      .selectors = {}};
};

TEST_F(DrainsTest, IsDoneWhenAllWhoWereSentTheInstanceHaveConfirmed) {
  Register("a");
  const auto first = Watch(true);
  const auto second = Watch(true);
  Answer answer;
  EXPECT_NE(Begin("a", &answer), 0u);
  EXPECT_EQ(shared_.drains.waiting(), 1u);
  const v1::Change change = NextChange(*first);
  EXPECT_TRUE(change.ack_requested());
  EXPECT_EQ(change.removed_size(), 1);
  EXPECT_EQ(first->session.Next(), std::nullopt) << "it is asked once";
  Ack(*first, change.to_seq() - 1);
  Ack(*first, change.to_seq());
  Ack(*first, change.to_seq());
  EXPECT_FALSE(answer.has_value());
  ReadAndAck(*second);
  ExpectAnswer(answer, 2, 2, 0);
  EXPECT_EQ((*answer)->revision().seq(), change.to_seq());
  EXPECT_EQ((*answer)->revision().epoch(), core_.catalog.revision().epoch);
  EXPECT_EQ(shared_.drains.waiting(), 0u);
}

TEST_F(DrainsTest, WithoutWatchersItIsDoneAtOnce) {
  Register("a");
  Answer answer;
  EXPECT_EQ(Begin("a", &answer), 0u);
  ExpectAnswer(answer, 0, 0, 0);
}

TEST_F(DrainsTest, ChangesAskOnlyWhileADrainIsOnItsWay) {
  Answer answer;  // outlives who may bring it
  Register("a");
  const auto watcher = Watch(true);
  const auto plain = Watch(false);
  Register("b");
  EXPECT_FALSE(NextChange(*watcher).ack_requested());
  EXPECT_FALSE(NextChange(*plain).ack_requested());
  Begin("a", &answer);
  ReadAndAck(*watcher);
  EXPECT_FALSE(NextChange(*plain).ack_requested()) << "it never said that it would confirm";
  Register("c");
  EXPECT_FALSE(NextChange(*watcher).ack_requested()) << "it has confirmed the drain that waits";
  EXPECT_FALSE(answer.has_value());
}

// The change went out before anybody knew that a drain waits for it.
TEST_F(DrainsTest, WhoWasToldAlreadyIsAskedByAChangeWithoutContent) {
  Register("a");
  const auto watcher = Watch(true);
  const core::Drained drained = Write("a");
  MarkAll();
  const v1::Change change = NextChange(*watcher);
  EXPECT_FALSE(change.ack_requested());
  Answer answer;
  Wait(drained, &answer, {.deadline = absl::Minutes(1)});
  const v1::Change again = NextChange(*watcher);
  EXPECT_TRUE(again.ack_requested());
  EXPECT_EQ(again.upserted_size() + again.removed_size(), 0);
  EXPECT_EQ(again.from_seq(), change.to_seq());
  EXPECT_EQ(again.to_seq(), change.to_seq());
  EXPECT_EQ(again.checksum(), change.checksum());
  EXPECT_EQ(again.empty_reason(), change.empty_reason());
  Ack(*watcher, again.to_seq());
  ExpectAnswer(answer, 1, 1, 0);
}

TEST_F(DrainsTest, ASlowWatcherIsAskedByTheChangeThatMergesAll) {
  Register("a");
  Register("b");
  const auto watcher = Watch(true);
  Answer a, b;
  Begin("a", &a);
  Register("c");
  Begin("b", &b);
  for (int i = 0; i < 100; ++i) Register(absl::StrCat("later-", i % 3), absl::StrCat("v", i));
  const v1::Change change = NextChange(*watcher);
  EXPECT_TRUE(change.ack_requested());
  EXPECT_EQ(watcher->session.Next(), std::nullopt) << "one change for all";
  EXPECT_FALSE(a || b);
  Ack(*watcher, change.to_seq());
  ExpectAnswer(a, 1, 1, 0);
  ExpectAnswer(b, 1, 1, 0);
}

TEST_F(DrainsTest, OfTwoDrainsEachCountsWhatConfirmsIt) {
  Register("a");
  Register("b");
  const auto watcher = Watch(true);
  Answer a, b;
  Begin("a", &a);
  const v1::Change first = NextChange(*watcher);
  Begin("b", &b);
  const v1::Change second = NextChange(*watcher);
  EXPECT_TRUE(first.ack_requested() && second.ack_requested());
  Ack(*watcher, first.to_seq());
  ExpectAnswer(a, 1, 1, 0);
  EXPECT_FALSE(b.has_value());
  Ack(*watcher, second.to_seq());
  ExpectAnswer(b, 1, 1, 0);
}

TEST_F(DrainsTest, WhatWasNeverSentCannotBeConfirmed) {
  Register("a");
  const auto watcher = Watch(true);
  Answer answer;
  Begin("a", &answer);
  Ack(*watcher, std::numeric_limits<uint64_t>::max());
  EXPECT_FALSE(answer.has_value());
  const auto plain = Watch(false);
  Ack(*plain, std::numeric_limits<uint64_t>::max());
  v1::WatchRequest other;
  other.mutable_ack()->set_sub_id(77);
  EXPECT_TRUE(watcher->session.Handle(other).ok()) << "one that ended: its Ack may be under way";
  EXPECT_FALSE(answer.has_value());
  ReadAndAck(*watcher);
  ExpectAnswer(answer, 1, 1, 0);
}

TEST_F(DrainsTest, WhoEndsCountsNoLonger) {
  Register("a");
  auto first = Watch(true);
  auto second = Watch(true);
  const auto third = Watch(true);
  Answer answer;
  Begin("a", &answer);
  ReadAndAck(*first);
  second = nullptr;
  EXPECT_FALSE(answer.has_value());
  first = nullptr;
  EXPECT_FALSE(answer.has_value()) << "nor what it confirmed";
  v1::WatchRequest end;
  end.mutable_unsubscribe()->set_sub_id(1);
  ASSERT_TRUE(third->session.Handle(end).ok());
  ExpectAnswer(answer, 0, 0, 0);
}

TEST_F(DrainsTest, AShareMayDo) {
  Register("a");
  std::vector<std::unique_ptr<Watcher>> watchers;
  for (int i = 0; i < 10; ++i) watchers.push_back(Watch(true));
  Answer answer;
  Begin("a", &answer, {.deadline = absl::Minutes(1), .min_acked = 0.7});
  for (int i = 0; i < 6; ++i) ReadAndAck(*watchers[i]);
  EXPECT_FALSE(answer.has_value());
  ReadAndAck(*watchers[6]);
  ExpectAnswer(answer, 10, 7, 0);
  Answer none;
  Register("b");
  EXPECT_EQ(Begin("b", &none, {.deadline = absl::Minutes(1), .min_acked = 0}), 0u);
  ExpectAnswer(none, 10, 0, 0);
}

TEST_F(DrainsTest, TheDeadlineAnswersWithWhatIsKnown) {
  Register("a");
  const auto first = Watch(true);
  const auto second = Watch(true);
  Answer answer;
  Begin("a", &answer, {.deadline = absl::Seconds(3)});
  ReadAndAck(*first);
  Advance(absl::Milliseconds(2'999));
  EXPECT_FALSE(answer.has_value());
  Advance(absl::Milliseconds(1));
  ExpectAnswer(answer, 2, 1, 0);
  ReadAndAck(*second);
  Register("b");
  Answer at_once;
  EXPECT_EQ(Begin("b", &at_once, {.deadline = absl::ZeroDuration()}), 0u);
  ExpectAnswer(at_once, 2, 0, 0);
}

TEST_F(DrainsTest, WhoCannotConfirmHoldsItForTenSeconds) {
  Register("a");
  const auto watcher = Watch(true);
  const auto plain = Watch(false);
  Answer answer;
  Begin("a", &answer, {.deadline = absl::Minutes(1)});
  ReadAndAck(*watcher);
  Advance(absl::Milliseconds(9'999));
  EXPECT_FALSE(answer.has_value());
  Advance(absl::Milliseconds(1));
  ExpectAnswer(answer, 1, 1, 1);
}

TEST_F(DrainsTest, WhoCannotConfirmHoldsItNoLongerThanTheDeadlineOrThanItWatches) {
  Register("a");
  Register("b");
  auto plain = Watch(false);
  Answer a, b;
  Begin("a", &a, {.deadline = absl::Seconds(2)});
  Advance(absl::Seconds(2));
  ExpectAnswer(a, 0, 0, 1);
  Begin("b", &b);
  EXPECT_FALSE(b.has_value());
  plain = nullptr;
  ExpectAnswer(b, 0, 0, 0);
}

// After ten seconds it still waits for those who said that they would confirm.
TEST_F(DrainsTest, WhoCannotConfirmDoesNotEndIt) {
  Register("a");
  const auto watcher = Watch(true);
  const auto plain = Watch(false);
  Answer answer;
  Begin("a", &answer, {.deadline = absl::Minutes(1)});
  Advance(absl::Seconds(30));
  EXPECT_FALSE(answer.has_value());
  ReadAndAck(*watcher);
  ExpectAnswer(answer, 1, 1, 1);
}

TEST_F(DrainsTest, WhoseSelectorPicksOthersIsNotAskedAndDoesNotCount) {
  Register("a", "v1");
  Register("b", "v2");
  const auto of_it = Watch(true, Tagged("v1"));
  const auto of_others = Watch(true, Tagged("v2"));
  const auto plain_of_others = Watch(false, Tagged("v2"));
  Answer answer;
  Begin("a", &answer);
  EXPECT_EQ(of_others->session.Next(), std::nullopt);
  ReadAndAck(*of_it);
  ExpectAnswer(answer, 1, 1, 0);
}

// Whoever left it out for its health may not have heard of that yet.
TEST_F(DrainsTest, HealthDoesNotMatterAndThereMayBeNothingToTell) {
  v1::RegisterRequest request;
  request.mutable_instance()->set_service("api");
  request.mutable_instance()->set_id("a");
  request.mutable_instance()->set_address("10.0.0.1");
  v1::Check* check = request.mutable_instance()->add_checks();
  check->mutable_ttl()->mutable_ttl()->set_seconds(10);
  check->set_initial_status(v1::PASSING);
  request.set_permanent(true);
  ASSERT_TRUE(core_.Register(request).ok());
  const auto watcher = Watch(true);
  v1::ReportHealthRequest report;
  report.mutable_key()->set_service("api");
  report.mutable_key()->set_id("a");
  report.set_status(v1::CRITICAL);
  ASSERT_TRUE(core_.Report(report).ok());
  MarkAll();
  EXPECT_EQ(NextChange(*watcher).removed_size(), 1);
  Answer answer;
  Begin("a", &answer);
  EXPECT_FALSE(answer.has_value());
  ReadAndAck(*watcher);
  ExpectAnswer(answer, 1, 1, 0);
}

TEST_F(DrainsTest, WhoSelectsWhatDrainsConfirmsTheChange) {
  Register("a");
  v1::Selector all;
  all.set_include_draining(true);
  const auto watcher = Watch(true, all);
  Answer answer;
  Begin("a", &answer);
  const v1::Change change = NextChange(*watcher);
  ASSERT_EQ(change.upserted_size(), 1);
  EXPECT_EQ(change.upserted(0).state(), v1::DRAINING);
  EXPECT_TRUE(change.ack_requested());
  Ack(*watcher, change.to_seq());
  ExpectAnswer(answer, 1, 1, 0);
}

TEST_F(DrainsTest, WhoComesLaterNeverSawIt) {
  Register("a");
  const auto watcher = Watch(true);
  Answer answer;
  Begin("a", &answer);
  const auto late = Watch(true);
  const auto late_plain = Watch(false);
  ReadAndAck(*watcher);
  ExpectAnswer(answer, 1, 1, 0);
  Answer again;
  EXPECT_EQ(Wait(Write("a"), &again, {.deadline = absl::Minutes(1)}), 0u) << "it has confirmed";
  ExpectAnswer(again, 1, 1, 0);
}

// A snapshot that is under way may have the instance in its first parts.
TEST_F(DrainsTest, WhoIsInTheMiddleOfASnapshotCounts) {
  shared_.limits.snapshot_part = 1;
  Register("a");
  Register("b");
  Watcher watcher(shared_);
  ASSERT_TRUE(watcher.session.Handle(Subscribe(true)).ok());
  EXPECT_FALSE(Parse(*watcher.session.Next()).snapshot().complete());
  Watcher waits(shared_);
  ASSERT_TRUE(waits.session.Handle(Subscribe(true)).ok()) << "its snapshot begins after the drain";
  Answer answer;
  Begin("a", &answer);
  EXPECT_TRUE(Parse(*watcher.session.Next()).snapshot().complete());
  EXPECT_FALSE(answer.has_value());
  ReadAndAck(watcher);
  ExpectAnswer(answer, 1, 1, 0);
}

class ResumingDrainsTest : public DrainsTest {
 protected:
  // Another stream of somebody who held the service at this revision.
  std::unique_ptr<Watcher> Resume(storage::Revision at, bool acks = true, uint64_t checksum = 0) {
    auto watcher = std::make_unique<Watcher>(shared_);
    v1::WatchRequest request = Subscribe(acks);
    v1::Resume& resume = *request.mutable_subscribe()->mutable_resume();
    resume.mutable_revision()->set_epoch(at.epoch);
    resume.mutable_revision()->set_seq(at.seq);
    resume.set_checksum(checksum);
    EXPECT_TRUE(watcher->session.Handle(request).ok());
    return watcher;
  }
  storage::Revision Now() const { return core_.catalog.revision(); }
  uint64_t Checksum() const {
    return core::Select(core_.View("api").get(), *core::Selector::Default()).checksum;
  }
};

TEST_F(ResumingDrainsTest, WhoLostItsStreamCountsAgainWhenItComesBack) {
  Register("a");
  const storage::Revision held = Now();
  const uint64_t checksum = Checksum();
  auto watcher = Watch(true);
  const auto other = Watch(true);
  Answer answer;
  Begin("a", &answer);
  watcher = nullptr;
  watcher = Resume(held, true, checksum);
  ReadAndAck(*other);
  EXPECT_FALSE(answer.has_value());
  ReadAndAck(*watcher);
  ExpectAnswer(answer, 2, 2, 0);
}

TEST_F(ResumingDrainsTest, WhoKnowsAlreadyDoesNot) {
  Register("a");
  const auto watcher = Watch(true);
  Answer answer;
  Begin("a", &answer);
  const auto late = Resume(Now());
  EXPECT_FALSE(NextChange(*late).ack_requested());
  ReadAndAck(*watcher);
  ExpectAnswer(answer, 1, 1, 0);
}

// What it held was of another store, or can't be continued: it has all of it until the snapshot is
// there, and is asked behind that.
TEST_F(ResumingDrainsTest, WhoIsResetIsAskedBehindTheSnapshot) {
  Register("a");
  const storage::Revision held = Now();
  const auto watcher = Watch(true);
  Answer answer;
  Begin("a", &answer);
  Register("b");
  const auto foreign = Resume({held.epoch + 1, held.seq + 1'000}, true, 5);
  const auto wrong = Resume({held.epoch, 1}, true, 5);
  ReadAndAck(*watcher);
  for (Watcher* one : {foreign.get(), wrong.get()}) {
    EXPECT_FALSE(answer.has_value());
    v1::WatchResponse event = Parse(*one->session.Next());
    if (event.has_reset()) event = Parse(*one->session.Next());
    if (event.has_snapshot()) {
      EXPECT_TRUE(event.snapshot().complete());
      Ack(*one, 1);
      EXPECT_FALSE(answer.has_value());
      const v1::Change change = NextChange(*one);
      EXPECT_GE(change.from_seq(), event.snapshot().revision().seq());
      EXPECT_GE(change.to_seq(), change.from_seq()) << "never back";
      EXPECT_TRUE(change.ack_requested());
      Ack(*one, change.to_seq());
    } else {
      EXPECT_TRUE(event.change().ack_requested());
      Ack(*one, event.change().to_seq());
    }
  }
  ExpectAnswer(answer, 3, 3, 0);
}

TEST_F(ResumingDrainsTest, WhoCannotConfirmHoldsItToo) {
  Register("a");
  const storage::Revision held = Now();
  const auto watcher = Watch(true);
  Answer answer;
  Begin("a", &answer);
  const auto plain = Resume(held, false, 0);
  ReadAndAck(*watcher);
  EXPECT_FALSE(answer.has_value());
  Advance(absl::Seconds(10));
  ExpectAnswer(answer, 1, 1, 1);
}

TEST_F(DrainsTest, EndsWithWhoeverWaitsOrTheServer) {
  Register("a");
  Register("b");
  const auto watcher = Watch(true);
  Answer a, b, late;
  const Drains::Id id = Begin("a", &a);
  Begin("b", &b);
  shared_.drains.End(id, absl::CancelledError("gave up"));
  EXPECT_TRUE(a && absl::IsCancelled(a->status()));
  EXPECT_FALSE(b.has_value());
  shared_.drains.End(id, absl::CancelledError("gave up"));
  shared_.drains.EndAll(absl::UnavailableError("stops"));
  EXPECT_TRUE(b && absl::IsUnavailable(b->status()));
  EXPECT_EQ(Wait(Write("b"), &late, {.deadline = absl::Minutes(1)}), 0u);
  EXPECT_TRUE(late && absl::IsUnavailable(late->status()));
}

TEST(DrainTermsTest, AreCheckedAndHaveDefaults) {
  v1::DrainRequest request;
  EXPECT_EQ(ReadTerms(request)->deadline, absl::Seconds(10));
  EXPECT_EQ(ReadTerms(request)->min_acked, 1.0);
  request.mutable_deadline()->set_seconds(600);
  request.set_min_acked(0);
  EXPECT_EQ(ReadTerms(request)->deadline, absl::Minutes(10));
  EXPECT_EQ(ReadTerms(request)->min_acked, 0.0);
  request.mutable_deadline()->set_nanos(1);
  EXPECT_EQ(base::FieldOf(ReadTerms(request).status()), "deadline");
  request.mutable_deadline()->set_seconds(-1);
  EXPECT_TRUE(absl::IsInvalidArgument(ReadTerms(request).status()));
  request.clear_deadline();
  for (const double share : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
    request.set_min_acked(share);
    EXPECT_EQ(base::FieldOf(ReadTerms(request).status()), "min_acked") << share;
  }
  request.set_min_acked(1.5);
  EXPECT_EQ(ReadTerms(request).status().message(), "min_acked is 1.5; allowed: 0 to 1");
}

}  // namespace
}  // namespace muster::rpc
