#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "fake_server.h"

namespace muster::cli {
namespace {

using testing::Addition;
using testing::EndpointHash;
using testing::FakeServer;
using ::testing::HasSubstr;
using testing::MakeEndpoint;
using testing::Ok;
using testing::Ran;
using testing::ReadSubscribe;
using testing::Refused;
using testing::RunAt;
using testing::RunWords;
using testing::SendInterrupt;
using ::testing::StartsWith;
using testing::WatchStream;
using testing::WholeSnapshot;

void ReadToEnd(WatchStream& stream) {
  v1::WatchRequest request;
  while (stream.Read(&request)) continue;
}

v1::WatchResponse Empty(uint64_t sub_id, v1::EmptyReason reason) {
  v1::WatchResponse event = WholeSnapshot(sub_id, {}, 1);
  event.mutable_snapshot()->set_empty_reason(reason);
  return event;
}

// "db" has one from the start, "web" gets its second by and by.
grpc::Status ComesUp(WatchStream& stream) {
  const v1::Subscribe db = ReadSubscribe(stream);
  const v1::Subscribe web = ReadSubscribe(stream);
  EXPECT_EQ(db.selector().min_health(), v1::Selector::PASSING);
  const v1::Endpoint first = MakeEndpoint("web-1", 5);
  stream.Write(WholeSnapshot(db.sub_id(), {MakeEndpoint("d1", 1), MakeEndpoint("d2", 1)}, 5));
  stream.Write(Empty(web.sub_id(), v1::UNKNOWN_SERVICE));
  stream.Write(Addition(web.sub_id(), first, 0));
  stream.Write(Addition(web.sub_id(), MakeEndpoint("web-2", 6), EndpointHash(first)));
  ReadToEnd(stream);
  return Ok();
}

TEST(WaitTest, EndsWhenAllAreThere) {
  FakeServer server;
  server.discovery.watch = ComesUp;
  const Ran ran = RunAt(server, {"wait", "db", "web", "--min", "2"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out,
            "SERVICE  PASSING\n"
            "db       2\n"
            "web      2\n");
  const Ran json = RunAt(server, {"-o", "json", "wait", "db", "web", "--min", "2"});
  EXPECT_EQ(json.out,
            "{\"services\":[{\"namespace\":\"default\",\"service\":\"db\",\"passing\":2},"
            "{\"namespace\":\"default\",\"service\":\"web\",\"passing\":2}]}\n");
}

TEST(WaitTest, SaysWhoIsMissingAndWhy) {
  FakeServer server;
  server.discovery.watch = [](WatchStream& stream) {
    const v1::Subscribe db = ReadSubscribe(stream);
    const v1::Subscribe web = ReadSubscribe(stream);
    const v1::Subscribe api = ReadSubscribe(stream);
    stream.Write(WholeSnapshot(db.sub_id(), {MakeEndpoint("d1", 1)}, 5));
    stream.Write(Empty(web.sub_id(), v1::ALL_UNHEALTHY));
    stream.Write(WholeSnapshot(api.sub_id(), {MakeEndpoint("a", 1), MakeEndpoint("b", 1)}, 1));
    ReadToEnd(stream);
    return Ok();
  };
  const Ran ran = RunAt(server, {"wait", "db", "web", "api", "--for", "300ms", "--min", "2"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err,
            "muster: after 300ms still missing: db: 1 of 2 passing; "
            "web: there are instances, but none is healthy and active enough\n");
}

TEST(WaitTest, WaitsForTheServerToo) {
  auto first = std::make_unique<FakeServer>();
  const int port = first->port();
  const std::string address = first->address();
  first.reset();
  std::unique_ptr<FakeServer> server;
  const auto start = [&] {
    server = std::make_unique<FakeServer>(port);
    server->discovery.watch = ComesUp;
  };
  const Ran ran = RunWords({"--addr", address, "wait", "db", "web", "--for", "20s"},
                           {.on_first_error_line = start});
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.err, StartsWith("muster: " + address + ": UNAVAILABLE: "));
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
}

TEST(WaitTest, AServerThatNeverComesIsNamed) {
  const std::string address = testing::DeadAddress();
  const Ran ran = RunWords({"--addr", address, "wait", "web", "--timeout", "300ms"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("after 300ms still missing: web: no answer (" + address));
}

TEST(WaitTest, RefusalsAndSignalsAreFailures) {
  FakeServer server;
  server.discovery.watch = [](WatchStream&) {
    return Refused(grpc::StatusCode::PERMISSION_DENIED, "RIGHT_MISSING", "needs read");
  };
  const Ran refused = RunAt(server, {"wait", "web"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("PERMISSION_DENIED (RIGHT_MISSING): needs read"));

  FakeServer one;
  one.discovery.watch = [](WatchStream& stream) {
    v1::WatchResponse event;
    event.set_sub_id(ReadSubscribe(stream).sub_id());
    event.mutable_error()->set_code(grpc::StatusCode::INVALID_ARGUMENT);
    event.mutable_error()->set_message("bad name");
    stream.Write(event);
    ReadToEnd(stream);
    return Ok();
  };
  const Ran ended = RunAt(one, {"wait", "a b"});
  EXPECT_EQ(ended.code, 1);
  EXPECT_EQ(ended.err, "muster: a b: INVALID_ARGUMENT: bad name\n");

  FakeServer silent;
  silent.discovery.watch = [](WatchStream& stream) {
    SendInterrupt();
    ReadToEnd(stream);
    return Ok();
  };
  const Ran interrupted = RunAt(silent, {"wait", "web"});
  EXPECT_EQ(interrupted.code, 1);
  EXPECT_EQ(interrupted.err, "muster: interrupted; web: no answer\n");
}

}  // namespace
}  // namespace muster::cli
