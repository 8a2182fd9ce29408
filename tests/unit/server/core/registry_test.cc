#include "server/core/registry.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "server/core/delta.h"
#include "tests/support/core_stack.h"

namespace muster::core {
namespace {

using base::Reason;
using base::ReasonOf;
using R = v1::HeartbeatResponse;

v1::RegisterRequest Request(const std::string& id, char life = 'a') {
  v1::RegisterRequest request;
  v1::Instance* instance = request.mutable_instance();
  instance->set_service("Api");
  instance->set_id(id);
  instance->set_address("10.0.0.1");
  instance->set_port(80);
  if (life != 0) request.set_life_id(std::string(16, life));
  request.mutable_ttl()->set_seconds(3);
  return request;
}

v1::InstanceKey Key(const std::string& id) {
  v1::InstanceKey key;
  key.set_service("api");
  key.set_id(id);
  return key;
}

std::string InstanceKeyOf(const std::string& id) {
  return storage::EncodeInstanceKey("default", "api", "", id);
}

class RegistryTest : public testing::Test {
 protected:
  uint64_t Commits() { return core_.engine.Stats().commits; }

  base::FakeClock clock_;
  std::shared_ptr<storage::MemoryStore> store_ = std::make_shared<storage::MemoryStore>();
  CoreStack core_{clock_, store_};
};

TEST_F(RegistryTest, RegistersAndGrants) {
  const auto response = core_.Register(Request("a"));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_TRUE(response->changed);
  EXPECT_GT(response->incarnation, 0u);
  EXPECT_EQ(response->ttl, absl::Seconds(3));
  EXPECT_EQ(response->key.service, "Api");
  EXPECT_EQ(core_.View("api")->size(), 1u);
  EXPECT_EQ(core_.catalog.Get("default", "api")->identity->display, "Api");
  EXPECT_EQ(core_.catalog.revision().seq, response->revision.seq);
}

TEST_F(RegistryTest, TheSameContentAndLifeIsNeverAChange) {
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  const uint64_t commits = Commits();
  const auto view = core_.View("api");
  for (int i = 0; i < 100'000; ++i) {
    const auto again = core_.Register(Request("a"));
    ASSERT_TRUE(again.ok() && !again->changed);
  }
  EXPECT_EQ(Commits(), commits);
  EXPECT_EQ(core_.View("api"), view);
}

TEST_F(RegistryTest, ANewLifeIsFencedFromTheOldOne) {
  const auto old = core_.Register(Request("a", 'a'));
  const auto now = core_.Register(Request("a", 'b'));
  ASSERT_TRUE(now.ok());
  EXPECT_GT(now->incarnation, old->incarnation);
  const uint64_t visible = core_.View("api")->seq();
  EXPECT_EQ(core_.Beat(old->incarnation), R::STALE);
  EXPECT_EQ(core_.Beat(now->incarnation), R::RENEWED);

  v1::DeregisterRequest late;
  *late.mutable_key() = Key("a");
  late.set_incarnation(old->incarnation);
  EXPECT_EQ(ReasonOf(core_.Deregister(late).status()), Reason::kStaleIncarnation);
  v1::ReportHealthRequest report;
  *report.mutable_key() = Key("a");
  report.set_incarnation(old->incarnation);
  report.set_status(v1::CRITICAL);
  EXPECT_EQ(ReasonOf(core_.Report(report).status()), Reason::kStaleIncarnation);
  EXPECT_EQ(core_.View("api")->seq(), visible);
  EXPECT_EQ(ReasonOf(core_.Register(Request("a", 'a')).status()), Reason::kSuperseded)
      << "two living processes don't take the key from each other in turn";
}

TEST_F(RegistryTest, ANewLifeWithTheSameContentWakesNobody) {
  ASSERT_TRUE(core_.Register(Request("a", 'a')).ok());
  const uint64_t visible = core_.View("api")->seq();
  const auto again = core_.Register(Request("a", 'b'));
  EXPECT_TRUE(again->changed);
  EXPECT_EQ(core_.View("api")->seq(), visible);
}

TEST_F(RegistryTest, FencingSurvivesARestart) {
  const auto old = core_.Register(Request("a", 'a'));
  const auto now = core_.Register(Request("a", 'b'));
  core_.engine.Close();
  CoreStack restarted(clock_, store_);
  EXPECT_EQ(restarted.Beat(old->incarnation), R::STALE);
  EXPECT_EQ(restarted.Beat(now->incarnation), R::RENEWED);
  EXPECT_EQ(ReasonOf(restarted.Register(Request("a", 'a')).status()), Reason::kSuperseded);
}

TEST_F(RegistryTest, NoLifeJoinsThePresentOne) {
  const auto first = core_.Register(Request("a", 'a'));
  auto request = Request("a", 0);
  request.mutable_instance()->set_port(81);
  const auto joined = core_.Register(request);
  ASSERT_TRUE(joined.ok());
  EXPECT_EQ(joined->incarnation, first->incarnation);
  EXPECT_EQ(core_.Beat(first->incarnation), R::RENEWED);
}

TEST_F(RegistryTest, ExpiresAtTheTtlAndNotBefore) {
  const auto response = core_.Register(Request("a"));
  core_.Advance(absl::Milliseconds(2900));
  EXPECT_EQ(core_.View("api")->size(), 1u);
  core_.Advance(absl::Milliseconds(400));
  EXPECT_EQ(core_.View("api")->size(), 0u);
  EXPECT_EQ(core_.View("api")->tombstone_count(), 1u);
  EXPECT_EQ(core_.Beat(response->incarnation), R::UNKNOWN);
}

TEST_F(RegistryTest, HeartbeatsKeepItWithoutAWrite) {
  const auto response = core_.Register(Request("a"));
  const uint64_t commits = Commits();
  for (int i = 0; i < 30; ++i) {
    core_.Advance(absl::Seconds(1));
    ASSERT_EQ(core_.Beat(response->incarnation), R::RENEWED);
  }
  EXPECT_EQ(Commits(), commits);
}

// Milliseconds of more than 49 days do not fit into 32 bits.
TEST_F(RegistryTest, ALongLeaseKeepsItsLength) {
  constexpr absl::Duration kYear = absl::Hours(8784);
  base::FakeClock clock;
  CoreStack core(clock, std::make_shared<storage::MemoryStore>(), {.max_ttl = kYear});
  auto request = Request("a");
  request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(kYear));
  const auto response = core.Register(request);
  ASSERT_TRUE(response.ok()) << response.status();
  const auto lease = core.leases.Find(storage::EncodeInstanceKey({"default", "api", "", "a"}));
  ASSERT_NE(lease, nullptr);
  EXPECT_EQ(core.leases.Remaining(*lease), kYear);
  v1::HeartbeatRequest beat;
  beat.add_lease_handles(response->incarnation);
  EXPECT_EQ(core.registry.Heartbeat(beat)->remaining_ms(0), 0xFFFFFFFF) << "as much as fits";
}

TEST_F(RegistryTest, AStoppedProcessExpiresNobody) {
  const auto response = core_.Register(Request("a"));
  clock_.Advance(absl::Seconds(9));
  core_.Advance(absl::Seconds(1));
  EXPECT_EQ(core_.Beat(response->incarnation), R::RENEWED);
}

TEST_F(RegistryTest, DeregisterBehindARegisterInTheQueueIsSeen) {
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  bool removed = false;
  v1::DeregisterRequest remove;
  *remove.mutable_key() = Key("a");
  core_.registry.Deregister(remove, [&](auto result) { removed = result.ok(); });
  // The same content and life: a no-op by the applied state, but not by the queue.
  absl::StatusOr<Registered> again = absl::UnknownError("");
  core_.registry.Register(Request("a"), {}, [&](auto result) { again = std::move(result); });
  core_.Run();
  EXPECT_TRUE(removed);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->changed);
  EXPECT_EQ(core_.View("api")->size(), 1u);
}

TEST_F(RegistryTest, BatchTellsPerItem) {
  v1::BatchRegisterRequest batch;
  for (int i = 0; i < 500; ++i) *batch.add_requests() = Request(absl::StrCat("i", i));
  batch.mutable_requests(7)->mutable_instance()->set_port(70000);
  std::vector<absl::StatusOr<Registered>> results;
  core_.registry.BatchRegister(batch, {}, [&](auto r) { results = std::move(r); });
  core_.Run();
  ASSERT_EQ(results.size(), 500u);
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(results[static_cast<size_t>(i)].ok(), i != 7) << i;
  }
  EXPECT_EQ(base::FieldOf(results[7].status()), "instance.port");
  EXPECT_EQ(core_.View("api")->size(), 499u);
}

TEST_F(RegistryTest, Preconditions) {
  auto fresh = Request("a", 'a');
  fresh.mutable_precondition()->set_must_be_new(true);
  const auto first = core_.Register(fresh);
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(core_.Register(fresh).ok()) << "its own answer may have been lost";
  auto other = Request("a", 'b');
  other.mutable_precondition()->set_must_be_new(true);
  EXPECT_EQ(ReasonOf(core_.Register(other).status()), Reason::kAlreadyExists);
  other.mutable_precondition()->set_must_replace_incarnation(first->incarnation + 5);
  EXPECT_EQ(ReasonOf(core_.Register(other).status()), Reason::kPreconditionFailed);
  other.mutable_precondition()->set_must_replace_incarnation(first->incarnation);
  EXPECT_TRUE(core_.Register(other).ok());
}

TEST_F(RegistryTest, ReportedHealthIsSeenAndKeptAcrossRegistrations) {
  auto request = Request("a");
  v1::Check* check = request.mutable_instance()->add_checks();
  check->set_id("self");
  check->mutable_ttl()->mutable_ttl()->set_seconds(10);
  const auto first = core_.Register(request);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(core_.View("api")->count(v1::CRITICAL), 1u) << "until the first report";
  v1::ReportHealthRequest report;
  *report.mutable_key() = Key("a");
  report.set_incarnation(first->incarnation);
  report.set_status(v1::PASSING);
  ASSERT_TRUE(core_.Report(report).ok());
  EXPECT_EQ(core_.View("api")->count(v1::PASSING), 1u);
  const uint64_t commits = Commits();
  EXPECT_FALSE(core_.Report(report)->changed());
  EXPECT_EQ(Commits(), commits);
  request.mutable_instance()->set_port(81);
  ASSERT_TRUE(core_.Register(request).ok());
  EXPECT_EQ(core_.View("api")->count(v1::PASSING), 1u) << "the check's definition is the same";
  report.set_check_id("other");
  EXPECT_EQ(ReasonOf(core_.Report(report).status()), Reason::kCheckNotFound);
}

TEST_F(RegistryTest, WhatIsNotThereIsNamedWithItsNode) {
  v1::DeregisterRequest remove;
  *remove.mutable_key() = Key("a");
  EXPECT_EQ(core_.Deregister(remove).status().message(),
            "service \"api\" has no instance \"a\" without a node");
  remove.mutable_key()->set_node("n1");
  EXPECT_EQ(core_.Deregister(remove).status().message(),
            "service \"api\" has no instance \"a\" on node \"n1\"");
}

TEST_F(RegistryTest, AReportIsNoSignOfLife) {
  auto request = Request("a");
  request.mutable_instance()->add_checks()->mutable_ttl()->mutable_ttl()->set_seconds(10);
  ASSERT_TRUE(core_.Register(request).ok());
  v1::ReportHealthRequest report;
  *report.mutable_key() = Key("a");
  for (int i = 0; i < 4; ++i) {
    core_.Advance(absl::Seconds(1));
    report.set_status(i % 2 == 0 ? v1::PASSING : v1::CRITICAL);
    (void)core_.Report(report);
  }
  EXPECT_EQ(core_.View("api")->size(), 0u);
}

TEST_F(RegistryTest, ARestartKeepsViewsRevisionsAndTombstones) {
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(core_.Register(Request(absl::StrCat("i", i))).ok());
  v1::DeregisterRequest remove;
  *remove.mutable_key() = Key("i3");
  ASSERT_TRUE(core_.Deregister(remove).ok());
  const auto before = core_.View("api");
  const auto revision = core_.catalog.revision();
  core_.engine.Close();
  CoreStack restarted(clock_, store_);
  const auto after = restarted.View("api");
  ASSERT_NE(after, nullptr);
  EXPECT_EQ(after->default_checksum(), before->default_checksum());
  EXPECT_EQ(after->seq(), before->seq());
  EXPECT_EQ(after->floor(), before->floor());
  EXPECT_EQ(after->tombstone_count(), 1u);
  EXPECT_EQ(restarted.catalog.revision(), revision);
}

TEST_F(RegistryTest, BadRequestsNameTheField) {
  auto request = Request("a");
  request.set_life_id("short");
  EXPECT_EQ(base::FieldOf(core_.Register(request).status()), "life_id");
  request.set_life_id(std::string(16, '\0'));
  EXPECT_EQ(base::FieldOf(core_.Register(request).status()), "life_id");
  request = Request("a");
  request.mutable_ttl()->set_seconds(5);
  request.mutable_ttl()->set_nanos(-1);
  EXPECT_EQ(base::FieldOf(core_.Register(request).status()), "ttl");
  request.mutable_ttl()->set_nanos(0);
  request.mutable_ttl()->set_seconds(0);
  EXPECT_EQ(base::FieldOf(core_.Register(request).status()), "ttl");
  request.mutable_ttl()->set_seconds(3);
  request.set_permanent(true);
  EXPECT_EQ(base::FieldOf(core_.Register(request).status()), "ttl");
  v1::DeregisterRequest nobody;
  *nobody.mutable_key() = Key("nobody");
  EXPECT_EQ(ReasonOf(core_.Deregister(nobody).status()), Reason::kInstanceNotFound);
}

// They are stored by key and served by seq.
TEST_F(RegistryTest, DeletionsAreInTheirOrderAfterARestart) {
  for (const char* id : {"a", "b", "c"}) ASSERT_TRUE(core_.Register(Request(id)).ok());
  auto elsewhere = Request("a");
  elsewhere.mutable_instance()->set_service("zeta");
  ASSERT_TRUE(core_.Register(elsewhere).ok());
  uint64_t first = 0;
  for (const char* id : {"b", "a"}) {
    v1::DeregisterRequest removal;
    *removal.mutable_key() = Key(id);
    ASSERT_TRUE(core_.Deregister(removal).ok());
    if (first == 0) first = core_.catalog.revision().seq;
  }
  core_.engine.Close();
  CoreStack again(clock_, store_);
  const DeltaResult delta = Delta(*again.View("api"), *Selector::Default(), first);
  ASSERT_EQ(delta.removed.size(), 1u) << "who saw the first is told of the second";
  EXPECT_EQ(delta.removed[0].id, "a");
}

// The removal may be durable: who is told "registered, nothing to change" would be gone after the
// next start, though nobody said so.
TEST_F(RegistryTest, NothingCertainIsSaidAfterAnUnknownOutcome) {
  auto forever = Request("a");
  forever.clear_ttl();
  forever.set_permanent(true);
  ASSERT_TRUE(core_.Register(forever).ok());
  ASSERT_TRUE(core_.Register(Request("b")).ok());
  store_->FailWrites(absl::DataLossError("no sync"));
  v1::DeregisterRequest removal;
  *removal.mutable_key() = Key("a");
  EXPECT_EQ(ReasonOf(core_.Deregister(removal).status()), Reason::kOutcomeUnknown);
  const auto again = core_.Register(forever);
  EXPECT_EQ(ReasonOf(again.status()), Reason::kStorageReadOnly) << again.status();
  removal.set_incarnation(1);
  EXPECT_EQ(ReasonOf(core_.Deregister(removal).status()), Reason::kStorageReadOnly);
  // Others are what they were: their leases are renewed by the same registration.
  const auto other = core_.Register(Request("b"));
  EXPECT_TRUE(other.ok() && !other->changed) << other.status();
}

TEST_F(RegistryTest, WritesOfOneKeyGoInTheirOrder) {
  v1::BatchRegisterRequest batch;
  for (uint32_t port = 1; port <= 500; ++port) {
    *batch.add_requests() = Request("a");
    batch.mutable_requests()->rbegin()->mutable_instance()->set_port(port);
  }
  std::vector<absl::StatusOr<Registered>> results;
  core_.registry.BatchRegister(batch, {}, [&](auto all) { results = std::move(all); });
  // While the batch is on its way.
  absl::StatusOr<v1::DeregisterResponse> removed = absl::UnknownError("no answer");
  v1::DeregisterRequest remove;
  *remove.mutable_key() = Key("a");
  core_.registry.Deregister(remove, [&](auto result) { removed = std::move(result); });
  core_.Run();
  ASSERT_EQ(results.size(), 500u);
  uint64_t last = 0;
  for (const auto& result : results) {
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_GT(result->revision.seq, last);
    last = result->revision.seq;
  }
  EXPECT_TRUE(removed.ok());
  EXPECT_EQ(core_.View("api")->size(), 0u);
}

TEST_F(RegistryTest, ARegistrationThatComesWhileItsLeaseFallsDueStays) {
  const auto first = core_.Register(Request("a"));
  ASSERT_TRUE(first.ok());
  for (int tenth = 0; tenth < 35; ++tenth) {
    clock_.Advance(absl::Milliseconds(100));
    core_.leases.Tick();
  }
  ASSERT_EQ(core_.leases.TakeExpired(10).size(), 1u);  // it is expiring, nothing is proposed yet
  const auto second = core_.Register(Request("a"));
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->incarnation, first->incarnation) << "the same life";
  EXPECT_EQ(core_.leases.Remaining(*core_.leases.Find(InstanceKeyOf("a"))), absl::Seconds(3));
  core_.Advance(absl::Milliseconds(2900));
  EXPECT_EQ(core_.View("api")->size(), 1u) << "a sign of life: its whole TTL begins anew";
  core_.Advance(absl::Milliseconds(300));
  EXPECT_EQ(core_.View("api")->size(), 0u);
}

TEST_F(RegistryTest, AServiceIsShownAsFirstGiven) {
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  auto second = Request("b");
  second.mutable_instance()->set_service("API");
  EXPECT_EQ(core_.Register(second)->key.service, "Api");
}

TEST_F(RegistryTest, TheLimitOfInstancesIsAClearError) {
  RegistryOptions options;
  options.max_instances = 2;
  core_.engine.Close();
  CoreStack core(clock_, store_, options);
  ASSERT_TRUE(core.Register(Request("a")).ok());
  ASSERT_TRUE(core.Register(Request("b")).ok());
  v1::BatchRegisterRequest batch;
  for (const char* id : {"c", "d", "e", "f"}) *batch.add_requests() = Request(id);
  v1::DeregisterRequest remove;
  *remove.mutable_key() = Key("b");
  ASSERT_TRUE(core.Deregister(remove).ok());
  int refused = 0;
  core.registry.BatchRegister(batch, {}, [&](const auto& results) {
    for (const auto& r : results) refused += ReasonOf(r.status()) == Reason::kLimitInstances;
  });
  core.Run();
  EXPECT_EQ(refused, 3) << "those on their way count";
  const auto third = core.Register(Request("z"));
  EXPECT_EQ(ReasonOf(third.status()), Reason::kLimitInstances);
  EXPECT_TRUE(base::RetryAfterOf(third.status()));
}

}  // namespace
}  // namespace muster::core
