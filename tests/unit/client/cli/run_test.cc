// run: the checks that the server is to run for a program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "fake_server.h"

namespace muster::cli {
namespace {

using testing::FakeServer;
using ::testing::HasSubstr;
using testing::Ok;
using testing::Ran;
using testing::Recorder;
using testing::RunAt;
using testing::RunWords;

TEST(RunTest, ProbesAreRegisteredBesideItsOwnCheck) {
  const std::string registered = ::testing::TempDir() + "/run_test_registered";
  std::filesystem::remove(registered);
  FakeServer server;
  Recorder<v1::RegisterRequest> requests;
  server.registry.register_ = [&](const auto& request, auto* response) {
    requests.Add(request);
    *response->mutable_key() = v1::InstanceKey();
    response->mutable_key()->set_id("web-1");
    response->set_incarnation(7);
    std::ofstream(registered) << "now";
    return Ok();
  };
  server.registry.deregister = [](const auto&, auto*) { return Ok(); };
  // Until it is registered.
  const std::string program = "while [ ! -e '" + registered + "' ]; do sleep 0.02; done; exit 3";
  const Ran ran = RunAt(
      server, {"run", "--service", "web", "--port", "0", "--probe",
               "http:http://10.0.0.7:80/health,id=health,interval=5s,initial=passing", "--probe",
               "grpc:10.0.0.7:50051,service=a\\,b,tls", "--", "sh", "-c", program});
  std::filesystem::remove(registered);
  EXPECT_EQ(ran.code, 3) << ran.err;
  ASSERT_EQ(requests.All().size(), 1u);
  const v1::Instance instance = requests.All()[0].instance();
  ASSERT_EQ(instance.checks_size(), 3);
  EXPECT_EQ(instance.checks(0).id(), "process");
  EXPECT_EQ(instance.checks(1).http().url(), "http://10.0.0.7:80/health");
  EXPECT_EQ(instance.checks(1).interval().seconds(), 5);
  EXPECT_EQ(instance.checks(1).initial_status(), v1::PASSING);
  EXPECT_EQ(instance.checks(2).grpc().service(), "a,b");
  EXPECT_TRUE(instance.checks(2).grpc().tls());
}

TEST(RunTest, WhatTheServerWouldRefuseStartsNoProgram) {
  const std::string started = ::testing::TempDir() + "/run_test_started";
  std::filesystem::remove(started);
  const auto error = [&](const std::string& spec) {
    const Ran ran = RunWords(
        {"run", "--service", "web", "--port", "0", "--probe", spec, "--", "touch", started});
    EXPECT_EQ(ran.code, 2);
    EXPECT_FALSE(std::filesystem::exists(started));
    return ran.err;
  };
  EXPECT_EQ(error("ttl:30s"),
            "muster: check \"ttl:30s\": no server runs a ttl check; allowed: http, tcp, grpc, and "
            "--check COMMAND, which is run here; see muster run --help\n");
  EXPECT_THAT(error("tcp,id=process"), HasSubstr("checks: \"process\" is there twice"));
  EXPECT_THAT(error("tcp,interval=1ms"), HasSubstr("interval: 1ms; allowed: 1s to 24h"));
}

}  // namespace
}  // namespace muster::cli
