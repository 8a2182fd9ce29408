#include "server/rpc/watch_session.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/fake_clock.h"
#include "tests/support/core_stack.h"

namespace muster::rpc {
namespace {

class NobodyListens : public core::ViewListener {
 public:
  void OnServiceChanged(std::string_view) override {}
  void OnNamesChanged() override {}
};

class WatchSessionTest : public testing::Test {
 protected:
  static v1::WatchRequest Subscribe(uint64_t sub_id, const std::string& service) {
    v1::WatchRequest request;
    request.mutable_subscribe()->set_sub_id(sub_id);
    request.mutable_subscribe()->set_service(service);
    return request;
  }
  static v1::WatchResponse Parse(grpc::ByteBuffer bytes) {
    grpc::Slice all;
    EXPECT_TRUE(bytes.DumpToSingleSlice(&all).ok());
    v1::WatchResponse event;
    EXPECT_TRUE(event.ParseFromArray(all.begin(), static_cast<int>(all.size())));
    return event;
  }
  void Register(const std::string& service, const std::string& id) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service(service);
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    request.set_permanent(true);
    EXPECT_TRUE(core_.Register(request).ok());
  }
  void MarkAll(const std::string& service) {
    const auto it =
        shared_.services.find(std::string_view(storage::EncodeServiceKey("default", service)));
    ASSERT_NE(it, shared_.services.end());
    for (Subscription* s : (*it)->subscriptions) s->session->MarkReady(*s);
  }

  base::FakeClock clock_;
  std::shared_ptr<storage::MemoryStore> store_ = std::make_shared<storage::MemoryStore>();
  core::CoreStack core_{clock_, store_};
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

TEST_F(WatchSessionTest, ChangesThatComeMeanwhileAreMerged) {
  WatchSession session(shared_, nullptr);
  ASSERT_TRUE(session.Handle(Subscribe(1, "api")).ok());
  EXPECT_TRUE(Parse(*session.Next()).snapshot().complete());
  EXPECT_EQ(session.Next(), std::nullopt);
  // The client does not read; the service lives on.
  for (int i = 0; i < 100; ++i) {
    Register("api", absl::StrCat(i % 5));
    core_
        .Deregister([&] {
          v1::DeregisterRequest request;
          request.mutable_key()->set_service("api");
          request.mutable_key()->set_id(absl::StrCat(i % 5));
          return request;
        }())
        .IgnoreError();
    MarkAll("api");
  }
  Register("api", "last");
  MarkAll("api");
  const v1::WatchResponse event = Parse(*session.Next());
  EXPECT_EQ(event.change().upserted_size(), 1);
  EXPECT_LE(event.change().removed_size(), 5);
  EXPECT_EQ(session.Next(), std::nullopt) << "one change for all";
}

// Subscriptions of a service whose endpoints fall due while the store takes no writes.
class WatchHeldTest : public WatchSessionTest {
 protected:
  static constexpr absl::Duration kTtl = absl::Seconds(3);

  uint64_t RegisterLeased(const std::string& id, const std::string& zone) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service("api");
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    request.mutable_instance()->mutable_locality()->set_zone(zone);
    request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(kTtl));
    const auto response = core_.Register(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response->incarnation;
  }
  void Freeze() { store_->FailWrites(absl::ResourceExhaustedError("no space left")); }
  // The next event's zone and ids, e.g. "z1: a b"; "" when there is none; other events by name.
  std::string Told(WatchSession& session) {
    auto bytes = session.Next();
    if (!bytes) return "";
    const v1::WatchResponse event = Parse(*std::move(bytes));
    if (!event.has_held())
      return event.GetDescriptor()->FindFieldByNumber(event.event_case())->name();
    std::string out = event.held().zone() + ":";
    for (const auto& key : event.held().keys()) absl::StrAppend(&out, " ", key.id());
    return out;
  }
};

TEST_F(WatchHeldTest, HoldingAndLettingGoIsTold) {
  const uint64_t a = RegisterLeased("a", "z1");
  RegisterLeased("b", "z2");
  WatchSession session(shared_, nullptr);
  ASSERT_TRUE(session.Handle(Subscribe(7, "api")).ok());
  EXPECT_EQ(Told(session), "snapshot");
  EXPECT_EQ(Told(session), "");
  Freeze();
  core_.Advance(kTtl + absl::Seconds(1));
  MarkAll("api");
  const v1::WatchResponse event = Parse(*session.Next());
  EXPECT_EQ(event.sub_id(), 7u);
  EXPECT_EQ(event.held().zone(), "z1");
  EXPECT_EQ(event.held().keys(0).id(), "a");
  EXPECT_GT(event.held().since().seconds(), 0);
  EXPECT_EQ(Told(session), "z2: b");
  EXPECT_EQ(Told(session), "");
  MarkAll("api");
  EXPECT_EQ(Told(session), "") << "nothing new";
  EXPECT_EQ(core_.Beat(a), v1::HeartbeatResponse::RENEWED);
  core_.Advance(absl::Milliseconds(100));
  MarkAll("api");
  EXPECT_EQ(Told(session), "z1:") << "let go";
  EXPECT_EQ(Told(session), "");
}

TEST_F(WatchHeldTest, WhoBeginsOrResumesIsToldTheRestToo) {
  RegisterLeased("a", "z1");
  Freeze();
  core_.Advance(kTtl + absl::Seconds(1));
  WatchSession session(shared_, nullptr);
  ASSERT_TRUE(session.Handle(Subscribe(1, "api")).ok());
  const v1::WatchResponse snapshot = Parse(*session.Next());
  EXPECT_TRUE(snapshot.snapshot().complete());
  EXPECT_EQ(Told(session), "z1: a");
  EXPECT_EQ(Told(session), "");
  v1::WatchRequest again = Subscribe(2, "api");
  *again.mutable_subscribe()->mutable_resume()->mutable_revision() = snapshot.snapshot().revision();
  again.mutable_subscribe()->mutable_resume()->set_checksum(snapshot.snapshot().checksum());
  ASSERT_TRUE(session.Handle(again).ok());
  EXPECT_EQ(Told(session), "change");
  EXPECT_EQ(Told(session), "z1: a");
  EXPECT_EQ(Told(session), "");
  ASSERT_TRUE(session.Handle(Subscribe(3, "other")).ok());
  EXPECT_EQ(Told(session), "snapshot");
  EXPECT_EQ(Told(session), "") << "of another service";
}

TEST_F(WatchHeldTest, ASlowClientIsToldTheLatestOnly) {
  const uint64_t a = RegisterLeased("a", "z");
  const uint64_t b = RegisterLeased("b", "z");
  WatchSession session(shared_, nullptr);
  ASSERT_TRUE(session.Handle(Subscribe(1, "api")).ok());
  EXPECT_EQ(Told(session), "snapshot");
  EXPECT_EQ(Told(session), "");
  Freeze();
  for (const uint64_t handle : {a, b, a}) {
    core_.Advance(kTtl + absl::Seconds(1));
    MarkAll("api");
    EXPECT_EQ(core_.Beat(handle), v1::HeartbeatResponse::RENEWED);
    core_.Advance(absl::Milliseconds(100));
    MarkAll("api");
  }
  EXPECT_EQ(Told(session), "z: b");
  EXPECT_EQ(Told(session), "");
}

TEST_F(WatchHeldTest, AChangeComesBeforeWhatIsHeld) {
  RegisterLeased("a", "z");
  WatchSession session(shared_, nullptr);
  ASSERT_TRUE(session.Handle(Subscribe(1, "api")).ok());
  EXPECT_EQ(Told(session), "snapshot");
  EXPECT_EQ(Told(session), "");
  Register("api", "late");
  Freeze();
  core_.Advance(kTtl + absl::Seconds(1));
  MarkAll("api");
  EXPECT_EQ(Told(session), "change");
  EXPECT_EQ(Told(session), "z: a");
  EXPECT_EQ(Told(session), "");
}

TEST_F(WatchSessionTest, EqualChangesAreMadeOnce) {
  WatchSession first(shared_, nullptr), second(shared_, nullptr);
  for (WatchSession* session : {&first, &second}) {
    ASSERT_TRUE(session->Handle(Subscribe(1, "api")).ok());
    while (session->Next()) {
    }
  }
  Register("api", "a");
  MarkAll("api");
  EXPECT_TRUE(first.Next() && second.Next());
  const auto& cache = (*shared_.services.begin())->cache;
  EXPECT_EQ(cache.size(), 1u);
}

// A client that checks for gaps compares from_seq with the seq that it was told last.
TEST_F(WatchSessionTest, FromSeqIsWhatTheClientWasToldLast) {
  const auto put = [&](const std::string& id, const std::string& version) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service("api");
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    request.mutable_instance()->set_version(version);
    request.set_permanent(true);
    EXPECT_TRUE(core_.Register(request).ok());
    MarkAll("api");
  };
  v1::WatchRequest request = Subscribe(1, "api");
  request.mutable_subscribe()->mutable_selector()->set_version("1");
  WatchSession early(shared_, nullptr), late(shared_, nullptr);
  ASSERT_TRUE(early.Handle(request).ok());
  uint64_t told = Parse(*early.Next()).snapshot().revision().seq();
  put("a", "1");
  v1::Change change = Parse(*early.Next()).change();
  EXPECT_EQ(change.from_seq(), told);
  told = change.to_seq();
  put("b", "2");
  EXPECT_EQ(early.Next(), std::nullopt) << "not for this selector";
  ASSERT_TRUE(late.Handle(request).ok());
  const uint64_t late_told = Parse(*late.Next()).snapshot().revision().seq();
  EXPECT_GT(late_told, told);
  put("c", "1");
  change = Parse(*early.Next()).change();
  EXPECT_EQ(change.from_seq(), told);
  EXPECT_EQ(change.upserted_size(), 1);
  const v1::Change other = Parse(*late.Next()).change();
  EXPECT_EQ(other.from_seq(), late_told);
  EXPECT_EQ(other.to_seq(), change.to_seq());
  EXPECT_EQ((*shared_.services.begin())->cache.size(), 1u) << "the rest is made once";
}

TEST_F(WatchSessionTest, AStalledSnapshotLetsGoOfAnOldViewAndBeginsAnew) {
  shared_.limits.snapshot_part = 2;
  for (int i = 0; i < 5; ++i) Register("api", absl::StrCat(i));
  WatchSession session(shared_, nullptr);
  ASSERT_TRUE(session.Handle(Subscribe(1, "api")).ok());
  EXPECT_FALSE(Parse(*session.Next()).snapshot().complete());
  session.DropStalledSnapshots(clock_.Steady());
  EXPECT_FALSE(Parse(*session.Next()).snapshot().complete()) << "the view is still current";
  Register("api", "9");
  session.DropStalledSnapshots(clock_.Steady());
  EXPECT_EQ(Parse(*session.Next()).reset().reason(), v1::Reset::TOO_OLD);
  int endpoints = 0;
  v1::WatchResponse event;
  do {
    event = Parse(*session.Next());
    endpoints += event.snapshot().endpoints_size();
  } while (!event.snapshot().complete());
  EXPECT_EQ(endpoints, 6);
}

TEST_F(WatchSessionTest, AChangeTooBigForOneMessageBecomesASnapshot) {
  WatchSession session(shared_, nullptr);
  ASSERT_TRUE(session.Handle(Subscribe(1, "api")).ok());
  while (session.Next()) {
  }
  for (int i = 0; i < 300; ++i) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service("api");
    request.mutable_instance()->set_id(absl::StrCat(i));
    request.mutable_instance()->set_address("10.0.0.1");
    for (int j = 0; j < 25; ++j) {
      (*request.mutable_instance()->mutable_metadata())[absl::StrCat(j)] = std::string(500, 'x');
    }
    request.set_permanent(true);
    ASSERT_TRUE(core_.Register(request).ok());
  }
  MarkAll("api");
  EXPECT_EQ(Parse(*session.Next()).reset().reason(), v1::Reset::TOO_OLD);
  int endpoints = 0;
  v1::WatchResponse event;
  do {
    auto bytes = session.Next();
    ASSERT_TRUE(bytes);
    EXPECT_LT(bytes->Length(), 2u * 1024 * 1024);
    event = Parse(*std::move(bytes));
    endpoints += event.snapshot().endpoints_size();
  } while (!event.snapshot().complete());
  EXPECT_EQ(endpoints, 300);
}

TEST_F(WatchSessionTest, TheWholeServerHasALimitToo) {
  shared_.limits.subscriptions = 1;
  WatchSession first(shared_, nullptr), second(shared_, nullptr);
  ASSERT_TRUE(first.Handle(Subscribe(1, "api")).ok());
  ASSERT_TRUE(second.Handle(Subscribe(1, "api")).ok());
  EXPECT_TRUE(Parse(*second.Next()).has_error());
  first.Clear();
  ASSERT_TRUE(second.Handle(Subscribe(2, "api")).ok());
  EXPECT_TRUE(Parse(*second.Next()).has_snapshot());
}

TEST_F(WatchSessionTest, SelectorsOfAStreamAndOfAllHaveALimit) {
  shared_.limits.subscriptions_per_stream = 4;
  shared_.limits.subscriptions = 6;
  shared_.limits.selector_bytes_each = 100;
  const auto subscribe = [](uint64_t sub_id, size_t size) {
    v1::WatchRequest request = Subscribe(sub_id, "api");
    request.mutable_subscribe()->mutable_selector()->add_all_tags(
        std::string(size, static_cast<char>('a' + sub_id)));
    return request;
  };
  const auto answer = [&](WatchSession& session, const v1::WatchRequest& request) {
    EXPECT_TRUE(session.Handle(request).ok());
    return Parse(*session.Next());
  };
  {
    WatchSession first(shared_, nullptr), second(shared_, nullptr);
    EXPECT_TRUE(answer(first, subscribe(1, 1000)).has_snapshot()) << "the first one may be large";
    v1::WatchResponse refused = answer(first, subscribe(2, 10));
    EXPECT_EQ(refused.error().code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
    EXPECT_NE(refused.error().message().find("at most 400"), std::string::npos)
        << refused.error().message();
    EXPECT_TRUE(answer(first, Subscribe(3, "api")).has_snapshot()) << "the default costs nothing";
    refused = answer(second, subscribe(1, 10));
    EXPECT_NE(refused.error().message().find("at most 600"), std::string::npos)
        << refused.error().message();
    first.Clear();
    EXPECT_TRUE(answer(second, subscribe(2, 100)).has_snapshot());
    EXPECT_TRUE(answer(second, subscribe(3, 100)).has_snapshot());
  }
  EXPECT_EQ(shared_.selector_bytes, 0u);
}

TEST_F(WatchSessionTest, ASelectorThatNobodyUsesIsLetGo) {
  Register("api", "a");
  WatchSession session(shared_, nullptr);
  ASSERT_TRUE(session.Handle(Subscribe(1, "api")).ok());
  for (uint64_t i = 2; i < 50; ++i) {
    v1::WatchRequest request = Subscribe(i, "api");
    request.mutable_subscribe()->mutable_selector()->set_version(absl::StrCat(i));
    ASSERT_TRUE(session.Handle(request).ok());
    while (session.Next()) {
    }
    v1::WatchRequest end;
    end.mutable_unsubscribe()->set_sub_id(i);
    ASSERT_TRUE(session.Handle(end).ok());
  }
  for (const auto& [canonical, selector] : shared_.selectors) EXPECT_TRUE(selector.expired());
  EXPECT_EQ(shared_.selectors.size(), 48u);
}

TEST_F(WatchSessionTest, NothingIsLeftBehind) {
  {
    WatchSession session(shared_, nullptr);
    for (uint64_t i = 0; i < 100; ++i) {
      ASSERT_TRUE(session.Handle(Subscribe(i, absl::StrCat("svc-", i / 2))).ok());
    }
    EXPECT_EQ(shared_.subscriptions, 100u);
    EXPECT_EQ(shared_.services.size(), 50u);
  }
  EXPECT_EQ(shared_.subscriptions, 0u);
  EXPECT_TRUE(shared_.services.empty());
}

// The heap of sanitizers is another one.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(WatchSessionTest, ASubscriptionCostsAtMost512Bytes) {
  constexpr uint64_t kSubscriptions = 50'000;
  shared_.limits.subscriptions_per_stream = kSubscriptions;
  for (const bool one_service : {true, false}) {
    WatchSession session(shared_, nullptr);
    const size_t before = mallinfo2().uordblks;
    for (uint64_t i = 0; i < kSubscriptions; ++i) {
      ASSERT_TRUE(session.Handle(Subscribe(i, one_service ? "api" : absl::StrCat("s", i))).ok());
      while (session.Next()) {
      }
    }
    const size_t each = (mallinfo2().uordblks - before) / kSubscriptions;
    RecordProperty(one_service ? "of_one_service" : "of_a_service_each", static_cast<int>(each));
    EXPECT_LE(each, 512u) << (one_service ? "of one service" : "of a service each");
    std::cout << each << " bytes" << std::endl;
  }
}
#endif

}  // namespace
}  // namespace muster::rpc
