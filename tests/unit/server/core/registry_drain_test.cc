#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "base/errors.h"
#include "muster/storage/v1/storage.pb.h"
#include "server/core/delta.h"
#include "server/core/instance_change.h"
#include "storage/schema.h"
#include "tests/support/core_stack.h"

namespace muster::core {
namespace {

class DrainTest : public testing::Test {
 protected:
  static v1::RegisterRequest Request(char life) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service("api");
    request.mutable_instance()->set_id("a");
    request.mutable_instance()->set_address("10.0.0.1");
    v1::Check* check = request.mutable_instance()->add_checks();
    check->set_id("self");
    check->mutable_ttl()->mutable_ttl()->set_seconds(10);
    check->set_initial_status(v1::PASSING);
    request.mutable_ttl()->set_seconds(2);
    if (life != 0) request.set_life_id(std::string(16, life));
    return request;
  }
  uint64_t Register(char life) {
    const auto registered = core_->Register(Request(life));
    EXPECT_TRUE(registered.ok()) << registered.status();
    return registered.ok() ? registered->incarnation : 0;
  }
  absl::StatusOr<Drained> Drain(uint64_t incarnation = 0, const std::string& id = "a") {
    v1::DrainRequest request;
    request.mutable_key()->set_service("api");
    request.mutable_key()->set_id(id);
    request.set_incarnation(incarnation);
    std::optional<absl::StatusOr<Drained>> out;
    core_->registry.Drain(request, [&](auto result) { out = std::move(result); });
    core_->Run();
    return out ? *out : absl::InternalError("no answer");
  }
  storage::v1::InstanceRecord Record() const {
    const auto value = core_->engine.Get(storage::Family::kInstances, Key());
    EXPECT_TRUE(value.ok());
    auto stored = DecodeStored(*value);
    EXPECT_TRUE(stored.ok());
    return stored->record;
  }
  // As an operator's word would leave it.
  void PutState(v1::State state) {
    const auto value = core_->engine.Get(storage::Family::kInstances, Key());
    auto stored = DecodeStored(*value);
    stored->record.set_state(state);
    stored->words.visible_seq = 0;
    storage::Unit unit;
    unit.ops.push_back(storage::Put(
        storage::Family::kInstances, Key(),
        storage::EncodeInstanceValue(stored->words, stored->record.SerializeAsString())));
    core_->engine.Propose({{unit}}, storage::WriteClass::kUser, [](const auto&) {});
    core_->Run();
  }
  static std::string Key() { return storage::EncodeInstanceKey({"default", "api", "", "a"}); }
  size_t Selected() const { return Select(core_->View("api").get(), *Selector::Default()).size; }
  uint64_t ViewSeq() const { return core_->View("api")->seq(); }

  base::FakeClock clock_;
  std::shared_ptr<storage::MemoryStore> store_ = std::make_shared<storage::MemoryStore>();
  std::unique_ptr<CoreStack> core_ = std::make_unique<CoreStack>(clock_, store_);
};

TEST_F(DrainTest, TakesAnInstanceOutOfTheAnswersAndKeepsItAndItsLease) {
  const uint64_t incarnation = Register('x');
  EXPECT_EQ(Selected(), 1u);
  const auto drained = Drain(incarnation);
  ASSERT_TRUE(drained.ok()) << drained.status();
  EXPECT_EQ(Selected(), 0u);
  EXPECT_EQ(Record().state(), v1::DRAINING);
  EXPECT_TRUE(Record().draining());
  EXPECT_EQ(drained->seq, ViewSeq()) << "whoever has this view knows";
  EXPECT_EQ(drained->revision.seq, ViewSeq());
  EXPECT_EQ(drained->revision.epoch, core_->catalog.revision().epoch);
  v1::Endpoint endpoint;
  ASSERT_TRUE(endpoint.ParseFromString(drained->endpoint));
  EXPECT_EQ(endpoint.id(), "a");
  EXPECT_EQ(core_->Beat(incarnation), v1::HeartbeatResponse::RENEWED);
  // Like any other it leaves when it falls silent.
  core_->Advance(absl::Seconds(3));
  EXPECT_EQ(core_->View("api")->size(), 0u);
}

TEST_F(DrainTest, ASecondOneChangesNothing) {
  Register('x');
  const auto first = Drain();
  ASSERT_TRUE(first.ok());
  const uint64_t seq = core_->catalog.revision().seq;
  const auto second = Drain();
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(core_->catalog.revision().seq, seq);
  EXPECT_EQ(second->seq, first->seq);
  EXPECT_EQ(second->revision.seq, first->revision.seq);
  EXPECT_EQ(second->endpoint, first->endpoint);
}

TEST_F(DrainTest, EndsWithTheLifeAndNotBefore) {
  const uint64_t incarnation = Register('x');
  ASSERT_TRUE(Drain().ok());
  EXPECT_EQ(Register('x'), incarnation);
  EXPECT_EQ(Register(0), incarnation) << "none given joins the present one";
  v1::RegisterRequest changed = Request('x');
  changed.mutable_instance()->set_version("2");
  ASSERT_TRUE(core_->Register(changed).ok());
  EXPECT_EQ(Record().state(), v1::DRAINING);
  EXPECT_TRUE(Record().draining());
  EXPECT_EQ(Selected(), 0u);
  Register('y');
  EXPECT_EQ(Record().state(), v1::ACTIVE);
  EXPECT_FALSE(Record().draining());
  EXPECT_EQ(Selected(), 1u);
}

TEST_F(DrainTest, SurvivesARestartOfTheServer) {
  Register('x');
  const auto first = Drain();
  core_ = nullptr;
  core_ = std::make_unique<CoreStack>(clock_, store_);
  EXPECT_EQ(Selected(), 0u);
  EXPECT_EQ(Drain()->seq, first->seq);
}

TEST_F(DrainTest, AReportOfHealthKeepsIt) {
  Register('x');
  ASSERT_TRUE(Drain().ok());
  v1::ReportHealthRequest report;
  report.mutable_key()->set_service("api");
  report.mutable_key()->set_id("a");
  report.set_status(v1::CRITICAL);
  ASSERT_TRUE(core_->Report(report).ok());
  EXPECT_EQ(Record().state(), v1::DRAINING);
  EXPECT_TRUE(Record().draining());
  EXPECT_EQ(Drain()->seq, ViewSeq()) << "the last that watchers were told of it";
}

TEST_F(DrainTest, InMaintenanceItStaysSoAndNothingIsToBeSeen) {
  Register('x');
  PutState(v1::MAINTENANCE);
  const uint64_t seen = ViewSeq();
  const auto drained = Drain();
  ASSERT_TRUE(drained.ok());
  EXPECT_EQ(Record().state(), v1::MAINTENANCE);
  EXPECT_TRUE(Record().draining());
  EXPECT_EQ(ViewSeq(), seen);
  EXPECT_EQ(drained->seq, seen);
  EXPECT_GT(drained->revision.seq, seen) << "it was written";
}

TEST_F(DrainTest, TheWrongLifeIsRefused) {
  const uint64_t old = Register('x');
  const uint64_t present = Register('y');
  EXPECT_TRUE(absl::IsFailedPrecondition(Drain(old).status()));
  EXPECT_EQ(base::ReasonOf(Drain(old).status()), base::Reason::kStaleIncarnation);
  EXPECT_TRUE(absl::IsNotFound(Drain(present + 1).status()));
  EXPECT_EQ(base::ReasonOf(Drain(0, "b").status()), base::Reason::kInstanceNotFound);
  EXPECT_TRUE(absl::IsInvalidArgument(Drain(0, "").status()));
  EXPECT_EQ(Selected(), 1u);
  EXPECT_TRUE(Drain(present).ok());
}

// Both wait for their turn: the second is decided on what the first left.
TEST_F(DrainTest, ComesBehindWhatWasAskedForBefore) {
  Register('x');
  v1::DrainRequest drain;
  drain.mutable_key()->set_service("api");
  drain.mutable_key()->set_id("a");
  std::optional<absl::StatusOr<Drained>> first, second;
  std::optional<absl::StatusOr<v1::DeregisterResponse>> gone;
  core_->registry.Drain(drain, [&](auto result) { first = std::move(result); });
  core_->registry.Drain(drain, [&](auto result) { second = std::move(result); });
  v1::DeregisterRequest remove;
  *remove.mutable_key() = drain.key();
  core_->registry.Deregister(remove, [&](auto result) { gone = std::move(result); });
  core_->Run();
  ASSERT_TRUE(first && first->ok());
  ASSERT_TRUE(second && second->ok());
  EXPECT_EQ((*second)->revision.seq, (*first)->revision.seq);
  ASSERT_TRUE(gone && gone->ok());
  EXPECT_EQ(core_->View("api")->size(), 0u);
}

}  // namespace
}  // namespace muster::core
