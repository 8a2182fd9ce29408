// watch, over scripted streams.
#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <sstream>

#include "fake_server.h"

namespace muster::cli {
namespace {

using testing::Addition;
using testing::DeadAddress;
using testing::EndpointHash;
using testing::FakeServer;
using ::testing::HasSubstr;
using testing::MakeEndpoint;
using testing::Ok;
using testing::Ran;
using testing::ReadSubscribe;
using testing::Recorder;
using testing::Refused;
using testing::RunAt;
using testing::RunWords;
using testing::SendInterrupt;
using testing::WatchStream;
using testing::WholeSnapshot;

// Until the client is gone.
void ReadToEnd(WatchStream& stream) {
  v1::WatchRequest request;
  while (stream.Read(&request)) continue;
}

v1::WatchResponse Emptied(uint64_t sub_id, const std::string& id, uint64_t seq) {
  v1::WatchResponse event;
  event.set_sub_id(sub_id);
  event.mutable_change()->add_removed()->set_id(id);
  event.mutable_change()->set_to_seq(seq);
  event.mutable_change()->set_empty_reason(v1::NO_INSTANCES);
  return event;
}

v1::WatchResponse Failure(uint64_t sub_id, const std::string& message) {
  v1::WatchResponse event;
  event.set_sub_id(sub_id);
  event.mutable_error()->set_code(grpc::StatusCode::PERMISSION_DENIED);
  event.mutable_error()->set_message(message);
  return event;
}

TEST(WatchTest, DifferencesAreLines) {
  FakeServer server;
  server.discovery.watch = [](WatchStream& stream) {
    const v1::Subscribe web = ReadSubscribe(stream);
    const v1::Subscribe api = ReadSubscribe(stream);
    EXPECT_NE(web.sub_id(), api.sub_id());
    EXPECT_EQ(web.service(), "web");
    EXPECT_EQ(api.service(), "api");
    EXPECT_EQ(api.namespace_(), "shop");
    EXPECT_EQ(api.selector().all_tags(0), "blue");
    EXPECT_FALSE(web.has_resume());
    v1::Endpoint one = MakeEndpoint("web-1", 5);
    stream.Write(WholeSnapshot(web.sub_id(), {one}, 5));
    one.set_health(v1::WARNING);
    one.set_revision(6);
    stream.Write(Addition(web.sub_id(), one, 0));
    stream.Write(Addition(api.sub_id(), MakeEndpoint("x", 1), 0));  // before its snapshot: ignored
    stream.Write(Emptied(web.sub_id(), "web-1", 7));
    ReadToEnd(stream);
    return Ok();
  };
  const Ran ran = RunAt(
      server, {"watch", "web", "api", "--namespace", "shop", "--tag", "blue", "--count", "4"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out,
            "+ web 10.0.0.1:8080 web-1 passing\n"
            "~ web 10.0.0.1:8080 web-1 warning\n"
            "- web 10.0.0.1:8080 web-1\n"
            "web: the service is known and has no instance now\n");
  EXPECT_THAT(ran.err, HasSubstr("api: a change came before a complete snapshot"));
}

TEST(WatchTest, HoldingAndLettingGoAreLines) {
  FakeServer server;
  server.discovery.watch = [](WatchStream& stream) {
    const v1::Subscribe web = ReadSubscribe(stream);
    stream.Write(WholeSnapshot(web.sub_id(), {MakeEndpoint("web-1", 5)}, 5));
    v1::WatchResponse event;
    event.set_sub_id(web.sub_id());
    event.mutable_held()->set_zone("z1");
    event.mutable_held()->set_count(2);
    event.mutable_held()->add_reasons(v1::Held::STORAGE_READ_ONLY);
    event.mutable_held()->add_keys()->set_id("web-1");
    event.mutable_held()->set_more(true);
    stream.Write(event);
    event.mutable_held()->mutable_keys(0)->set_id("web-2");
    event.mutable_held()->clear_more();
    stream.Write(event);
    event.mutable_held()->Clear();
    event.mutable_held()->set_zone("z1");
    stream.Write(event);
    ReadToEnd(stream);
    return Ok();
  };
  const Ran ran = RunAt(server, {"watch", "web", "--count", "3"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out,
            "+ web 10.0.0.1:8080 web-1 passing\n"
            "web: 2 overdue endpoints are held in zone z1 since 1970-01-01T00:00:00Z: the store "
            "takes no writes: web-2, …\n"
            "web: no overdue endpoint is held in zone z1 any more\n");
}

TEST(WatchTest, JsonIsOneEventPerLine) {
  FakeServer server;
  server.discovery.watch = [](WatchStream& stream) {
    const v1::Subscribe web = ReadSubscribe(stream);
    const v1::Subscribe api = ReadSubscribe(stream);
    stream.Write(WholeSnapshot(api.sub_id(), {MakeEndpoint("api-1", 4)}, 5));
    stream.Write(WholeSnapshot(web.sub_id(), {MakeEndpoint("web-1", 5)}, 5));
    ReadToEnd(stream);
    return Ok();
  };
  const Ran ran = RunAt(server, {"-o", "json", "watch", "web", "api", "--count", "2"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  std::istringstream lines(ran.out);
  for (const auto& [position, id] : {std::pair{2u, "api-1"}, {1u, "web-1"}}) {
    std::string line;
    std::getline(lines, line);
    v1::WatchResponse event;
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(line, &event).ok()) << line;
    EXPECT_EQ(event.sub_id(), position);
    EXPECT_EQ(event.snapshot().endpoints(0).id(), id);
  }
}

TEST(WatchTest, EndsWhenNobodyReads) {
  FakeServer server;
  server.discovery.watch = [](WatchStream& stream) {
    const v1::Subscribe web = ReadSubscribe(stream);
    stream.Write(WholeSnapshot(web.sub_id(), {MakeEndpoint("web-1", 5)}, 5));
    v1::Endpoint two = MakeEndpoint("web-2", 6);
    stream.Write(Addition(web.sub_id(), two, EndpointHash(MakeEndpoint("web-1", 5))));
    ReadToEnd(stream);
    return Ok();
  };
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"watch", "web"}, {"-o", "json", "watch", "web"}}) {
    const Ran ran = RunAt(server, words, {.output_room = 20});
    EXPECT_EQ(ran.code, 1);
    EXPECT_EQ(ran.err, "muster: standard output can't be written\n");
  }
}

TEST(WatchTest, AWrongSetIsAskedForAgain) {
  FakeServer server;
  server.discovery.watch = [](WatchStream& stream) {
    const v1::Subscribe first = ReadSubscribe(stream);
    v1::WatchResponse wrong = WholeSnapshot(first.sub_id(), {MakeEndpoint("a", 1)}, 1);
    wrong.mutable_snapshot()->set_checksum(12345);
    stream.Write(wrong);
    v1::WatchRequest request;
    stream.Read(&request);
    EXPECT_EQ(request.unsubscribe().sub_id(), first.sub_id());
    const v1::Subscribe again = ReadSubscribe(stream);
    EXPECT_NE(again.sub_id(), first.sub_id());
    EXPECT_FALSE(again.has_resume());
    // Late, for the subscription that was given up.
    stream.Write(WholeSnapshot(first.sub_id(), {MakeEndpoint("late", 1)}, 1));
    stream.Write(WholeSnapshot(again.sub_id(), {MakeEndpoint("a", 1), MakeEndpoint("b", 2)}, 2));
    ReadToEnd(stream);
    return Ok();
  };
  const Ran ran = RunAt(server, {"watch", "web", "--count", "2"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out,
            "+ web 10.0.0.1:8080 a passing\n"
            "+ web 10.0.0.1:8080 b passing\n");
  EXPECT_THAT(ran.err, HasSubstr("web: the checksum is "));
}

TEST(WatchTest, ALossIsResumedAndSaidOnce) {
  FakeServer server;
  Recorder<v1::Subscribe> subscriptions;
  server.discovery.watch = [&](WatchStream& stream) {
    const v1::Subscribe web = ReadSubscribe(stream);
    const size_t streams = subscriptions.Add(web);
    const v1::Endpoint one = MakeEndpoint("web-1", 5);
    if (streams == 1) stream.Write(WholeSnapshot(web.sub_id(), {one}, 5));
    if (streams <= 3) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going away");
    stream.Write(Addition(web.sub_id(), MakeEndpoint("web-2", 9), EndpointHash(one)));
    ReadToEnd(stream);
    return Ok();
  };
  const Ran ran = RunAt(server, {"watch", "web", "--count", "2"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out,
            "+ web 10.0.0.1:8080 web-1 passing\n"
            "+ web 10.0.0.1:8080 web-2 passing\n");
  EXPECT_EQ(ran.err, "muster: lost " + server.address() + ": UNAVAILABLE: going away; resuming\n");
  const auto all = subscriptions.All();
  ASSERT_EQ(all.size(), 4u);
  EXPECT_FALSE(all[0].has_resume());
  for (size_t i = 1; i < all.size(); ++i) {
    EXPECT_EQ(all[i].resume().revision().epoch(), 7u);
    EXPECT_EQ(all[i].resume().revision().seq(), 5u);
    EXPECT_EQ(all[i].resume().checksum(), EndpointHash(MakeEndpoint("web-1", 5)));
  }
}

TEST(WatchTest, AnEndedStreamIsALossToo) {
  FakeServer server;
  Recorder<int> streams;
  server.discovery.watch = [&](WatchStream& stream) {
    const v1::Subscribe web = ReadSubscribe(stream);
    const size_t count = streams.Add(0);
    stream.Write(
        WholeSnapshot(web.sub_id(), {MakeEndpoint("web-" + std::to_string(count), count)}, count));
    return Ok();
  };
  const Ran ran = RunAt(server, {"watch", "web", "--count", "3"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out,
            "+ web 10.0.0.1:8080 web-1 passing\n"
            "- web 10.0.0.1:8080 web-1\n"
            "+ web 10.0.0.1:8080 web-2 passing\n");
  EXPECT_THAT(ran.err, HasSubstr("the server ended the stream; resuming"));
}

TEST(WatchTest, TheLastSubscriptionThatEndsIsAFailure) {
  FakeServer server;
  server.discovery.watch = [](WatchStream& stream) {
    const v1::Subscribe web = ReadSubscribe(stream);
    const v1::Subscribe api = ReadSubscribe(stream);
    stream.Write(Failure(web.sub_id(), "not for you"));
    stream.Write(WholeSnapshot(api.sub_id(), {MakeEndpoint("api-1", 1)}, 1));
    stream.Write(Failure(api.sub_id(), "nor this"));
    ReadToEnd(stream);
    return Ok();
  };
  const Ran ran = RunAt(server, {"watch", "web", "api"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.out, "+ api 10.0.0.1:8080 api-1 passing\n");
  EXPECT_EQ(ran.err,
            "muster: web: PERMISSION_DENIED: not for you\n"
            "muster: api: PERMISSION_DENIED: nor this\n");
}

TEST(WatchTest, ASignalEndsItWithZero) {
  FakeServer server;
  server.discovery.watch = [](WatchStream& stream) {
    const v1::Subscribe web = ReadSubscribe(stream);
    stream.Write(WholeSnapshot(web.sub_id(), {MakeEndpoint("web-1", 1)}, 1));
    SendInterrupt();
    ReadToEnd(stream);
    return Ok();
  };
  const Ran ran = RunAt(server, {"watch", "web"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.err, "");
}

TEST(WatchTest, WhatTryingAgainWouldNotMendFailsAtOnce) {
  FakeServer server;
  server.discovery.watch = [](WatchStream&) {
    return Refused(grpc::StatusCode::UNAUTHENTICATED, "TOKEN_MISSING", "no token");
  };
  const Ran ran = RunAt(server, {"watch", "web"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err,
            "muster: " + server.address() + ": UNAUTHENTICATED (TOKEN_MISSING): no token\n");
  EXPECT_EQ(RunWords({"--addr", DeadAddress(), "watch", "web"}).code, 1);
}

TEST(WatchTest, TheNextServerIsWatchedWhenOneIsAway) {
  FakeServer server;
  server.discovery.watch = [](WatchStream& stream) {
    const v1::Subscribe web = ReadSubscribe(stream);
    stream.Write(WholeSnapshot(web.sub_id(), {MakeEndpoint("web-1", 1)}, 1));
    ReadToEnd(stream);
    return Ok();
  };
  const Ran ran =
      RunWords({"--addr", DeadAddress() + "," + server.address(), "watch", "web", "--count", "1"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "+ web 10.0.0.1:8080 web-1 passing\n");
}

}  // namespace
}  // namespace muster::cli
