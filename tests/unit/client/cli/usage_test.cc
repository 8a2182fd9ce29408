// The command line itself: wrong words, help, exit codes, global flags.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "fake_server.h"

namespace muster::cli {
namespace {

using testing::DeadAddress;
using ::testing::EndsWith;
using testing::FakeServer;
using ::testing::HasSubstr;
using testing::HungServer;
using testing::Ok;
using testing::Ran;
using testing::RunAt;
using testing::RunWords;
using ::testing::StartsWith;

TEST(UsageTest, UnknownWordsAreNamed) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"discvoer"}, "no command 'discvoer'; did you mean 'discover'?"},
      {{"frobnicate"}, "no command 'frobnicate'; see muster --help"},
      {{"--adr", "x", "discover", "web"}, "no flag '--adr'; did you mean '--addr'?"},
      {{"discover", "web", "--limt=3"}, "no flag '--limt'; did you mean '--limit'?"},
      {{"discover", "web", "api"}, "discover: unexpected 'api'; see muster discover --help"},
      {{"discover"}, "discover: missing name; see muster discover --help"},
      {{"watch"}, "watch: missing names; see muster watch --help"},
      {{"watch", "--bogus"}, "no flag '--bogus'; see muster watch --help"},
      {{"watch", "--versoin", "2"}, "no flag '--versoin'; did you mean '--version'?"},
      {{"register", "web", "10.0.0.1:80", "--bogus", "x"},
       "no flag '--bogus'; see muster register --help"},
      {{"maintenance", "on", "web", "w1", "--raeson", "x"},
       "no flag '--raeson'; did you mean '--reason'?"},
      {{"register", "web", "10.0.0.1:80", "x"},
       "register: instance: At Most 2 required but received 3; see muster register --help"},
      {{"wellness", "--help"}, "no command 'wellness'; see muster --help"},
      {{"--help", "regster"}, "no command 'regster'; did you mean 'register'?"},
      {{"help", "wellness"}, "no command 'wellness'; see muster --help"},
      {{"hlp"}, "no command 'hlp'; did you mean 'help'?"},
      {{}, "a command is needed; see muster --help"},
  };
  for (const auto& [words, message] : cases) {
    const Ran ran = RunWords(words);
    EXPECT_EQ(ran.code, 2) << message;
    EXPECT_EQ(ran.err, "muster: " + message + "\n");
    EXPECT_EQ(ran.out, "");
  }
}

TEST(UsageTest, WrongValuesAreWrongUsage) {
  const std::vector<std::vector<std::string>> cases = {
      {"-o", "xml", "status"},
      {"--addr", "nowhere", "status"},
      {"--timeout", "soon", "status"},
      {"--timeout", "0s", "status"},
      {"wait", "web", "--for", "0s"},
      {"report", "web", "web-1", "main", "good"},
      {"report", "web", "web-1", "main"},
      {"--cert", "/dev/null", "--key", "/dev/null", "--token", "a\nb", "status"},
      {"register", "web", "--permanent", "--ttl", "3s"},
      {"register", "web", "--permanent", "--keepalive"},
      {"discover", "web", "--min-health", "good"},
      {"discover", "web", "--min-revision", "12"},
      {"discover", "web", "--meta", "k"},
      {"watch", "web", "--meta", "k"},
      {"wait", "web", "--for", "soon"},
      {"wait", "web", "--min", "0"},
      {"deregister", "web"},
      {"deregister"},
      {"deregister", "--service", "web", "--incarnation", "3"},
      {"deregister", "web", "web-1", "--incarnation", "x"},
      {"drain", "web"},
      {"drain", "web", "web-1", "--deadline", "soon"},
      {"drain", "web", "web-1", "--min-acked", "1.1"},
      {"drain", "web", "web-1", "--min-acked", "nan"},
      {"drain", "web", "web-1", "--incarnation", "0"},
      {"maintenance", "web", "web-1"},
      {"maintenance", "on"},
      {"maintenance", "on", "web"},
      {"maintenance", "on", "web", "web-1", "web-2"},
      {"settings"},
      {"settings", "web", "--panic", "maybe"},
      {"settings", "web", "--brake-share", "half"},
      {"settings", "web", "--default-ttl", "soon"},
      {"heartbeat", "web"},
      {"heartbeat", "web", "web-1", "--incarnation", "-1"},
      {"log-level", "loud"},
      {"register", "web:70000"},
      {"restore", "file"},
      {"salvage"},
      {"check"},
      {"check", "add", "web", "web-1"},
      {"check", "ad", "web", "web-1", "tcp,id=a"},
      {"check", "add", "web", "web-1", "tcp"},
      {"check", "add", "web", "web-1", "tcp,id=a,intervall=3s"},
      {"check", "remove", "web", "web-1", "a", "--incarnation", "x"},
      {"health"},
      {"register", "web", "--probe", "http"},
      {"register", "web", "--probe", "ttl:30s"},
      {"run", "--service", "web", "--port", "0", "--probe", "ttl:30s", "--", "false"},
      {"run", "--service", "web", "--port", "0", "--probe", "tcp,id=process", "--", "false"},
      {"run", "--service", "web", "--port", "0", "--probe", "tcp,interval=1ms", "--", "false"},
  };
  for (const auto& words : cases) {
    const Ran ran = RunWords(words);
    EXPECT_EQ(ran.code, 2) << ::testing::PrintToString(words) << ran.err;
    EXPECT_THAT(ran.err, StartsWith("muster: "));
    EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
  }
}

TEST(UsageTest, AnEmptyValueIsWrongUsage) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"--ttl", {"register", "web", "10.0.0.1:80", "--ttl", ""}},
      {"--ttl", {"register", "web", "10.0.0.1:80", "--ttl="}},
      {"--id", {"register", "--id=", "api", "1.2.3.4:5"}},
      {"--addr", {"--addr=", "status"}},
      {"--node", {"deregister", "--node=", "--service", "web", "--yes"}},
      {"--yes", {"deregister", "--yes=", "--service", "web"}},
      {"--tls", {"--tls=", "status"}},
      {"--tag", {"watch", "web", "--tag", ""}},
  };
  for (const auto& [flag, words] : cases) {
    const Ran ran = RunWords(words);
    EXPECT_EQ(ran.code, 2) << ::testing::PrintToString(words);
    EXPECT_THAT(ran.err, HasSubstr(flag + ": the value is empty; see muster "));
  }
}

TEST(UsageTest, BytesThatAreNotUtf8AreWrongUsage) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"discover: name", {"discover", "a\xff"}},
      {"register: --id", {"register", "web", "--id", "\xc3"}},
      {"register: --meta", {"register", "web", "--meta", "k=\xff"}},
      {"--token", {"--token", "\xff", "status"}},
  };
  ::testing::internal::CaptureStderr();
  for (const auto& [what, words] : cases) {
    const Ran ran = RunWords(words);
    EXPECT_EQ(ran.code, 2);
    EXPECT_THAT(ran.err, HasSubstr(what + ": not UTF-8; see muster "));
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "") << "a library's own words";
}

TEST(UsageTest, EveryCommandHasHelpWithAnExample) {
  const Ran all = RunWords({"--help"});
  EXPECT_EQ(all.code, 0);
  for (const char* name :
       {"register", "deregister", "drain",       "heartbeat", "report", "check",   "discover",
        "watch",    "wait",       "services",    "describe",  "health", "status",  "log-level",
        "settings", "verify",     "maintenance", "leases",    "backup", "restore", "salvage"}) {
    EXPECT_THAT(all.out, HasSubstr(std::string("\n  ") + name + " "));
    const Ran one = RunWords({name, "--help"});
    EXPECT_EQ(one.code, 0);
    EXPECT_THAT(one.out, HasSubstr(std::string("Example: muster ") + name));
    EXPECT_EQ(RunWords({"help", name}).out, one.out);
  }
  EXPECT_EQ(RunWords({"help"}).out, all.out);
  EXPECT_THAT(RunWords({"--version"}).out, StartsWith("muster "));
}

TEST(UsageTest, FilesThatCannotBeReadAreFailures) {
  for (const auto& [path, why] :
       {std::pair<std::string, std::string>{"/nonexistent/file", "No such file or directory"},
        {"/", "Is a directory"}}) {
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"register", "-f", path},
          {"--token-file", path, "status"},
          {"restore", path, "--data-dir", "/nonexistent/data"}}) {
      const Ran ran = RunWords(words);
      EXPECT_EQ(ran.code, 1);
      EXPECT_EQ(ran.err, "muster: can't read " + path + ": " + why + "\n");
    }
  }
}

TEST(UsageTest, FilesWithoutCertificatesDoNotSwitchTlsOff) {
  FakeServer server;
  server.admin.status = [](const auto&, auto*) { return Ok(); };
  const Ran nothing = RunAt(server, {"--ca", "/dev/null", "status"});
  EXPECT_EQ(nothing.code, 1);
  EXPECT_EQ(nothing.err, "muster: /dev/null holds no PEM\n");
  EXPECT_EQ(RunAt(server, {"--ca", "", "status"}).code, 2);
}

TEST(UsageTest, FilesForTlsMayComeFromTheEnvironment) {
  for (const auto& [variable, flag] :
       {std::pair{"MUSTER_CA", "--ca"}, {"MUSTER_CERT", "--cert"}, {"MUSTER_KEY", "--key"}}) {
    setenv(variable, "/dev/null", 1);
    EXPECT_EQ(RunWords({"status"}).err, "muster: /dev/null holds no PEM\n") << variable;
    EXPECT_EQ(RunWords({flag, "/dev/zero/x", "status"}).err,
              "muster: can't read /dev/zero/x: Not a directory\n")
        << "a flag wins over " << variable;
    unsetenv(variable);
  }
}

TEST(UsageTest, WhatHasNoMeaningIsWrongUsage) {
  EXPECT_EQ(RunWords({"watch", "api", "--count", "-1"}).code, 2);
  const Ran nameless = RunWords({"backup", ""});
  EXPECT_EQ(nameless.code, 2);
  EXPECT_THAT(nameless.err, StartsWith("muster: backup: the file's name is empty"));
  const Ran endless = RunWords({"register", "-f", "/dev/zero"});
  EXPECT_NE(endless.code, 0);
  EXPECT_THAT(endless.err, HasSubstr("/dev/zero has more than 16777216 bytes"));
}

TEST(UsageTest, NoServerIsOneLineAndOne) {
  const std::string address = DeadAddress();
  const Ran ran = RunWords({"--addr", address, "status"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, StartsWith("muster: " + address + ": UNAVAILABLE: can't connect: "));
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1);
}

TEST(UsageTest, TheNextServerIsAskedWhenOneIsAway) {
  FakeServer server;
  server.admin.status = [](const auto&, auto*) { return Ok(); };
  const Ran ran = RunWords({"--addr", DeadAddress() + "," + server.address(), "status"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr(server.address()));
}

TEST(UsageTest, TheNextServerIsAskedWhenOneHangs) {
  FakeServer server;
  server.admin.status = [](const auto&, auto*) { return Ok(); };
  const HungServer hung;
  const std::vector<std::string> words = {"--timeout", "2s", "status"};
  auto both = words;
  both.insert(both.begin(), {"--addr", hung.address() + "," + server.address()});
  const Ran ran = RunWords(both);
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr(server.address()));
  const Ran none =
      RunWords({"--addr", hung.address() + "," + hung.address(), "--timeout", "100ms", "status"});
  EXPECT_EQ(none.code, 1);
  EXPECT_THAT(none.err, HasSubstr("DEADLINE_EXCEEDED"));
}

TEST(UsageTest, ATokenInTheOpenIsWarnedOf) {
  // Reserved for documentation: nothing answers there.
  const std::vector<std::string> call = {"--token", "t", "--timeout", "1ms", "status"};
  auto far = call;
  far.insert(far.begin(), {"--addr", "127.0.0.1:1,192.0.2.1:8502"});
  EXPECT_THAT(
      RunWords(far).err,
      StartsWith("muster: the token goes to 192.0.2.1:8502 without TLS; use --tls or --ca\n"));
  auto near = call;
  near.insert(near.begin(), {"--addr", "127.0.0.1:1,[::1]:1"});
  EXPECT_THAT(RunWords(near).err, Not(HasSubstr("token")));
  far.insert(far.begin(), "--tls");
  EXPECT_THAT(RunWords(far).err, Not(HasSubstr("the token")));
}

TEST(UsageTest, OutputThatCannotBeWrittenIsAFailure) {
  FakeServer server;
  server.admin.status = [](const auto&, auto*) { return Ok(); };
  ASSERT_EQ(RunAt(server, {"status"}).code, 0);
  const Ran ran = RunAt(server, {"status"}, {.broken_output = true});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "muster: standard output can't be written\n");
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--help"}, {"help", "watch"}, {"--version"}}) {
    const Ran help = RunWords(words, {.broken_output = true});
    EXPECT_EQ(help.code, 1);
    EXPECT_EQ(help.err, ran.err);
  }
}

}  // namespace
}  // namespace muster::cli
