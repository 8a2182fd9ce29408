// Results of checks, and changes of the list of checks, through the registry.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "server/core/check_change.h"
#include "tests/support/core_stack.h"

namespace muster::core {
namespace {

using base::Reason;
using base::ReasonOf;
using testing::ElementsAre;
using testing::HasSubstr;

class RegistryChecksTest : public testing::Test {
 protected:
  v1::RegisterRequest Request(const std::vector<std::string>& checks) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service("api");
    request.mutable_instance()->set_id("a");
    request.mutable_instance()->set_address("10.0.0.1");
    request.mutable_instance()->set_port(80);
    request.set_permanent(true);
    for (const std::string& id : checks) *request.mutable_instance()->add_checks() = Http(id);
    return request;
  }
  static v1::Check Http(const std::string& id) {
    v1::Check check;
    check.set_id(id);
    check.mutable_http()->set_url("/");
    return check;
  }
  static v1::InstanceKey Key() {
    v1::InstanceKey key;
    key.set_service("api");
    key.set_id("a");
    return key;
  }
  StoredInstance Stored() {
    return *DecodeStored(*core_.engine.Get(storage::Family::kInstances, key_));
  }
  absl::Status Set(const std::string& id, v1::Health status, const std::string& output = "",
                   uint64_t definition_seq = 0) {
    if (definition_seq == 0) definition_seq = Stored().words.definition_seq;
    absl::Status out = absl::InternalError("no answer");
    core_.registry.SetOutcome({key_, id, definition_seq, status, output},
                              [&](absl::Status status) { out = std::move(status); });
    core_.Run();
    return out;
  }
  absl::Status Add(const v1::Check& check, uint64_t incarnation = 0) {
    v1::AddCheckRequest request;
    *request.mutable_key() = Key();
    request.set_incarnation(incarnation);
    *request.mutable_check() = check;
    absl::Status out = absl::InternalError("no answer");
    core_.registry.AddCheck(request, [&](const auto& result) { out = result.status(); });
    core_.Run();
    return out;
  }
  absl::Status Remove(const std::string& id) {
    v1::RemoveCheckRequest request;
    *request.mutable_key() = Key();
    request.set_check_id(id);
    absl::Status out = absl::InternalError("no answer");
    core_.registry.RemoveCheck(request, [&](const auto& result) { out = result.status(); });
    core_.Run();
    return out;
  }
  // Of family `checks` or `transitions`.
  std::vector<storage::v1::CheckRecord> Records(storage::Family family) {
    std::vector<storage::v1::CheckRecord> out;
    const auto snapshot = core_.engine.GetSnapshot();
    EXPECT_TRUE((*snapshot)
                    ->Scan(family, "",
                           [&](std::string_view, std::string_view value) {
                             const auto decoded = storage::DecodeValue(value);
                             out.emplace_back().ParseFromArray(
                                 decoded->payload.data(),
                                 static_cast<int>(decoded->payload.size()));
                             return true;
                           })
                    .ok());
    return out;
  }
  std::vector<v1::Health> Transitions() {
    std::vector<v1::Health> out;
    for (const auto& one : Records(storage::Family::kTransitions)) out.push_back(one.status());
    return out;
  }
  uint64_t Commits() { return core_.engine.Stats().commits; }
  v1::Health Health() {
    const auto at = core_.View("api")->Find("", "a");
    return at->entry->health;
  }

  const std::string key_ = storage::EncodeInstanceKey("default", "api", "", "a");
  base::FakeClock clock_;
  std::shared_ptr<storage::MemoryStore> store_ = std::make_shared<storage::MemoryStore>();
  CoreStack core_{clock_, store_};
};

TEST_F(RegistryChecksTest, AStatusIsSeenAndItsChangesAreKept) {
  ASSERT_TRUE(core_.Register(Request({"up"})).ok());
  EXPECT_EQ(Health(), v1::CRITICAL) << "until the first result";
  ASSERT_TRUE(Set("up", v1::PASSING, "HTTP 200").ok());
  EXPECT_EQ(Health(), v1::PASSING);
  ASSERT_TRUE(Set("up", v1::WARNING, "HTTP 429").ok());
  EXPECT_EQ(Health(), v1::WARNING);
  EXPECT_THAT(Transitions(), ElementsAre(v1::PASSING, v1::WARNING));
  const auto latest = Records(storage::Family::kChecks);
  ASSERT_EQ(latest.size(), 1u);
  EXPECT_EQ(latest[0].output(), "HTTP 429");
  EXPECT_EQ(latest[0].transitions(), 2u);
}

TEST_F(RegistryChecksTest, AFirstResultIsKeptEvenIfItIsTheInitialStatus) {
  ASSERT_TRUE(core_.Register(Request({"up"})).ok());
  const uint64_t visible = Stored().words.visible_seq;
  ASSERT_TRUE(Set("up", v1::CRITICAL, "refused").ok());
  EXPECT_THAT(Transitions(), ElementsAre(v1::CRITICAL));
  EXPECT_EQ(Stored().words.visible_seq, visible) << "nobody who discovers it sees a difference";
}

TEST_F(RegistryChecksTest, TenTransitionsAreKept) {
  ASSERT_TRUE(core_.Register(Request({"up"})).ok());
  for (int i = 0; i < 25; ++i) {
    ASSERT_TRUE(Set("up", i % 2 == 0 ? v1::PASSING : v1::CRITICAL, absl::StrCat("run ", i)).ok());
  }
  const auto kept = Records(storage::Family::kTransitions);
  ASSERT_EQ(kept.size(), 10u);
  EXPECT_EQ(kept.front().output(), "run 15");
  EXPECT_EQ(kept.back().output(), "run 24");
}

TEST_F(RegistryChecksTest, OutputIsCutBetweenCharacters) {
  ASSERT_TRUE(core_.Register(Request({"up"})).ok());
  std::string output;
  while (output.size() < 5000) output += "ä";
  ASSERT_TRUE(Set("up", v1::PASSING, "x" + output).ok());
  EXPECT_EQ(Records(storage::Family::kChecks)[0].output().size(), 4095u);
  EXPECT_EQ(Records(storage::Family::kTransitions)[0].output().size(), 511u);
}

TEST_F(RegistryChecksTest, ANewOutputOfAReportIsWrittenOnceAMinute) {
  auto request = Request({});
  request.mutable_instance()->add_checks()->mutable_ttl()->mutable_ttl()->set_seconds(10);
  ASSERT_TRUE(core_.Register(request).ok());
  v1::ReportHealthRequest report;
  *report.mutable_key() = Key();
  report.set_status(v1::PASSING);
  const auto say = [&](const std::string& output) {
    report.set_output(output);
    return core_.Report(report).ok();
  };
  ASSERT_TRUE(say("1 ms"));
  const uint64_t commits = Commits();
  clock_.Advance(absl::Seconds(59));
  ASSERT_TRUE(say("2 ms"));
  EXPECT_EQ(Commits(), commits);
  clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(say("3 ms"));
  EXPECT_EQ(Commits(), commits + 1);
  EXPECT_EQ(Records(storage::Family::kChecks)[0].output(), "3 ms");
}

TEST_F(RegistryChecksTest, ANewOutputAloneIsNoChange) {
  ASSERT_TRUE(core_.Register(Request({"up"})).ok());
  ASSERT_TRUE(Set("up", v1::PASSING, "1 ms").ok());
  const uint64_t commits = Commits();
  const uint64_t visible = Stored().words.visible_seq;
  ASSERT_TRUE(Set("up", v1::PASSING, "1 ms").ok());
  EXPECT_EQ(Commits(), commits);
  ASSERT_TRUE(Set("up", v1::PASSING, "3 ms").ok());
  EXPECT_EQ(Commits(), commits + 1);
  EXPECT_EQ(Records(storage::Family::kChecks)[0].output(), "3 ms");
  EXPECT_EQ(Records(storage::Family::kTransitions)[0].output(), "1 ms");
  EXPECT_EQ(Stored().words.visible_seq, visible);
}

TEST_F(RegistryChecksTest, TheWorstCheckCounts) {
  ASSERT_TRUE(core_.Register(Request({"up", "db"})).ok());
  ASSERT_TRUE(Set("up", v1::PASSING).ok());
  EXPECT_EQ(Health(), v1::CRITICAL);
  ASSERT_TRUE(Set("db", v1::WARNING).ok());
  EXPECT_EQ(Health(), v1::WARNING);
}

TEST_F(RegistryChecksTest, AResultOfAnotherDefinitionCountsForNothing) {
  auto request = Request({"up"});
  ASSERT_TRUE(core_.Register(request).ok());
  const uint64_t old = Stored().words.definition_seq;
  request.mutable_instance()->set_port(81);
  ASSERT_TRUE(core_.Register(request).ok());
  EXPECT_EQ(ReasonOf(Set("up", v1::PASSING, "", old)), Reason::kCheckNotFound);
  EXPECT_EQ(Health(), v1::CRITICAL);
  EXPECT_EQ(ReasonOf(Set("other", v1::PASSING)), Reason::kCheckNotFound);
}

TEST_F(RegistryChecksTest, ReportsAreForTtlChecks) {
  ASSERT_TRUE(core_.Register(Request({"up"})).ok());
  v1::ReportHealthRequest report;
  *report.mutable_key() = Key();
  report.set_status(v1::PASSING);
  const absl::Status status = core_.Report(report).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("check_id is \"up\", which the server runs itself"));
  EXPECT_TRUE(Records(storage::Family::kChecks).empty());
}

TEST_F(RegistryChecksTest, WhoListensIsToldOfEachReport) {
  auto request = Request({});
  request.mutable_instance()->add_checks()->mutable_ttl()->mutable_ttl()->set_seconds(10);
  ASSERT_TRUE(core_.Register(request).ok());
  int told = 0;
  core_.registry.SetReportListener([&](std::string_view key, std::string_view) {
    EXPECT_EQ(key, key_);
    ++told;
  });
  v1::ReportHealthRequest report;
  *report.mutable_key() = Key();
  report.set_status(v1::PASSING);
  bool answered = false;
  core_.registry.ReportHealth(report, [&](const auto&) { answered = true; });
  EXPECT_EQ(told, 1) << "the disk may take its time";
  EXPECT_FALSE(answered);
  core_.registry.ReportHealth(report, [](const auto&) {});
  EXPECT_EQ(told, 2) << "though it waits behind the other";
  core_.Run();
  EXPECT_TRUE(answered);
  ASSERT_FALSE(core_.Report(report)->changed());
  EXPECT_EQ(told, 3);
  report.set_status(v1::HEALTH_UNSPECIFIED);
  ASSERT_FALSE(core_.Report(report).ok());
  report.set_status(v1::PASSING);
  report.set_incarnation(1);
  ASSERT_FALSE(core_.Report(report).ok());
  EXPECT_EQ(told, 3) << "a life that is over";
}

TEST_F(RegistryChecksTest, AChecksHistoryGoesWithIt) {
  auto request = Request({"up", "db"});
  ASSERT_TRUE(core_.Register(request).ok());
  for (const v1::Health status : {v1::PASSING, v1::CRITICAL, v1::PASSING}) {
    ASSERT_TRUE(Set("up", status).ok());
    ASSERT_TRUE(Set("db", status).ok());
  }
  request.mutable_instance()->mutable_checks()->RemoveLast();
  ASSERT_TRUE(core_.Register(request).ok());
  EXPECT_EQ(Records(storage::Family::kChecks).size(), 1u);
  EXPECT_EQ(Transitions().size(), 3u);
  v1::DeregisterRequest remove;
  *remove.mutable_key() = Key();
  ASSERT_TRUE(core_.Deregister(remove).ok());
  EXPECT_TRUE(Records(storage::Family::kChecks).empty());
  EXPECT_TRUE(Transitions().empty());
}

TEST_F(RegistryChecksTest, AddedAndRemoved) {
  ASSERT_TRUE(core_.Register(Request({"up"})).ok());
  ASSERT_TRUE(Set("up", v1::PASSING).ok());
  const uint64_t incarnation = Stored().words.incarnation;
  const uint64_t definition = Stored().words.definition_seq;
  ASSERT_TRUE(Add(Http("db")).ok());
  EXPECT_EQ(Health(), v1::CRITICAL) << "a new check has its initial status";
  EXPECT_GT(Stored().words.definition_seq, definition);
  EXPECT_EQ(Stored().words.incarnation, incarnation);
  ASSERT_TRUE(Set("db", v1::PASSING).ok());
  EXPECT_EQ(Health(), v1::PASSING);

  const uint64_t commits = Commits();
  ASSERT_TRUE(Add(Http("db")).ok());
  EXPECT_EQ(Commits(), commits) << "the same again";
  v1::Check other = Http("db");
  other.mutable_http()->set_url("/db");
  ASSERT_TRUE(Add(other).ok());
  EXPECT_EQ(Health(), v1::CRITICAL) << "another definition begins anew";
  EXPECT_EQ(Records(storage::Family::kChecks).size(), 1u);

  ASSERT_TRUE(Remove("db").ok());
  EXPECT_EQ(Health(), v1::PASSING);
  EXPECT_EQ(ReasonOf(Remove("db")), Reason::kCheckNotFound);
  ASSERT_TRUE(Remove("up").ok());
  EXPECT_EQ(Health(), v1::PASSING) << "none is as good as all passing";
  EXPECT_TRUE(Records(storage::Family::kChecks).empty());
  EXPECT_TRUE(Transitions().empty());
}

TEST_F(RegistryChecksTest, WhatCantBeAddedIsNamed) {
  std::vector<std::string> ids;
  for (int i = 0; i < 32; ++i) ids.push_back(absl::StrCat("c", i));
  ASSERT_TRUE(core_.Register(Request(ids)).ok());
  const auto error = [](const absl::Status& status) { return std::string(status.message()); };
  EXPECT_EQ(error(Add(Http("one more"))),
            "check is one too many: the instance has 32 checks; at most 32");
  EXPECT_THAT(error(Add(v1::Check())), HasSubstr("check.id is empty"));
  v1::Check bad = Http("c0");
  bad.mutable_interval()->set_seconds(-1);
  EXPECT_THAT(error(Add(bad)), HasSubstr("check.interval is -1s; allowed: 1s to 24h"));
  EXPECT_EQ(ReasonOf(Add(Http("c0"), 1)), Reason::kStaleIncarnation);
  v1::Check big = Http("c1");
  big.mutable_http()->set_body(std::string(4096, 'b'));
  absl::Status status;
  for (int i = 1; i < 6 && status.ok(); ++i) {
    big.set_id(absl::StrCat("c", i));
    status = Add(big);
  }
  EXPECT_EQ(ReasonOf(status), Reason::kInstanceTooLarge) << status;
}

TEST_F(RegistryChecksTest, StatusesAreKeptOverARestart) {
  ASSERT_TRUE(core_.Register(Request({"up"})).ok());
  ASSERT_TRUE(Set("up", v1::WARNING, "HTTP 429").ok());
  core_.engine.Close();
  CoreStack again(clock_, store_);
  EXPECT_EQ(again.View("api")->count(v1::WARNING), 1u);
  ASSERT_TRUE(again.Register(Request({"up"})).ok());
  EXPECT_EQ(again.View("api")->count(v1::WARNING), 1u) << "registered again, unchanged";
}

}  // namespace
}  // namespace muster::core
