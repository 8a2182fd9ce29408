// muster run and muster resolve as scripts use them: real processes, signals and exit codes.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/scenario/certificates.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

class RunScenario : public ::testing::Test {
 protected:
  RunScenario() : server_(std::make_unique<Musterd>(dir_.path("data"))) {}

  std::unique_ptr<Process> Muster(std::vector<std::string> words) {
    std::vector<std::string> argv = {BinDir() + "/muster", "--addr", server_->address()};
    argv.insert(argv.end(), words.begin(), words.end());
    return std::make_unique<Process>(argv, dir_.path("stderr"));
  }
  // `script`: of sh, which is the service.
  std::unique_ptr<Process> Run(const std::string& script, std::vector<std::string> flags = {}) {
    std::vector<std::string> words = {"run",  "--service", "web",     "--port",
                                      "9999", "--address", "10.0.0.1"};
    words.insert(words.end(), flags.begin(), flags.end());
    words.insert(words.end(), {"--", "sh", "-c", script});
    return Muster(words);
  }
  // What it prints, and its exit code.
  std::pair<std::string, int> Output(std::vector<std::string> words) {
    const auto process = Muster(std::move(words));
    std::string all;
    while (const auto line = process->ReadLine()) absl::StrAppend(&all, *line, "\n");
    return {all, process->Wait().value_or(-1)};
  }
  int Count() { return Remote(server_->address()).Discover("web").endpoints_size(); }

  const TempDir dir_;
  std::unique_ptr<Musterd> server_;
};

constexpr char kUntilTerm[] =
    "trap 'echo ended by TERM; exit 7' TERM; trap 'echo hup' HUP; echo up; while :; do sleep 0.05; "
    "done";

TEST_F(RunScenario, AProgramIsRegisteredWhileItRunsAndLeavesBeforeItHearsOfItsEnd) {
  const auto run = Run(kUntilTerm, {"--drain", "500ms"});
  EXPECT_EQ(run->ReadLine(), "up");
  EXPECT_TRUE(Eventually([&] { return Count() == 1; }, absl::Seconds(10)));
  run->Signal(SIGHUP);
  EXPECT_EQ(run->ReadLine(), "hup") << "is passed on at once";
  EXPECT_EQ(Count(), 1);
  const absl::Time begin = Now();
  run->Signal(SIGTERM);
  EXPECT_TRUE(Eventually([&] { return Count() == 0; }, absl::Seconds(5)));
  const absl::Duration left = Now() - begin;
  EXPECT_EQ(run->ReadLine(), "ended by TERM");
  EXPECT_GE(Now() - begin, left + absl::Milliseconds(200)) << "those who knew it had time";
  EXPECT_EQ(run->Wait(), 7);
}

TEST_F(RunScenario, TheExitCodeIsTheProgramsAndItLeavesWhenThatEnds) {
  const auto run = Run("sleep 1; exit 3");
  EXPECT_TRUE(Eventually([&] { return Count() == 1; }, absl::Seconds(10)));
  EXPECT_EQ(run->Wait(), 3);
  EXPECT_EQ(Count(), 0);
  EXPECT_EQ(Run("kill -9 $$")->Wait(), 128 + SIGKILL);
  const auto code = [&](std::vector<std::string> words) {
    std::vector<std::string> all = {"run", "--service", "web", "--port", "1", "--"};
    all.insert(all.end(), words.begin(), words.end());
    return Muster(all)->Wait();
  };
  EXPECT_EQ(code({"/no/such/program"}), 127);
  EXPECT_EQ(code({"/etc/passwd"}), 126);
  EXPECT_EQ(code({"sh", "-c", "test \"$0 $1\" = '--addr --help'", "--addr", "--help"}), 0)
      << "all words behind -- are the program's";
}

TEST_F(RunScenario, AProgramRunsWithoutARegistryAndWhatIsWrongIsSaidBeforeItStarts) {
  server_->Kill();
  const auto run = Run("echo ran; exit 0");
  EXPECT_EQ(run->ReadLine(), "ran");
  EXPECT_EQ(run->Wait(), 0);
  for (const std::vector<std::string>& wrong :
       {std::vector<std::string>{"--service", "a b", "--port", "1"},
        {"--service", "web", "--port", "70000"},
        {"--service", "web", "--port", "1", "--ttl", "1ms"},
        {"--service", "web", "--port", "1", "--address", "0.0.0.0"},
        {"--service", "web", "--port", "1", "--check", "true", "--check-interval", "1ms"},
        {"--service", "web", "--port", "1", "--drain", "soon"}}) {
    std::vector<std::string> words = {"run"};
    words.insert(words.end(), wrong.begin(), wrong.end());
    words.insert(words.end(), {"--", "echo", "started"});
    const auto [printed, code] = Output(words);
    EXPECT_EQ(code, 2) << wrong.back();
    EXPECT_EQ(printed, "");
  }
}

TEST_F(RunScenario, ACheckSaysHowWellItIs) {
  const std::string flag = dir_.path("well");
  WriteText(flag, "");
  const auto run = Run("sleep 60", {"--check", absl::StrCat("test -e ", flag, " && echo fine"),
                                    "--check-interval", "1s"});
  EXPECT_TRUE(Eventually([&] { return Count() == 1; }, absl::Seconds(10)));
  std::filesystem::remove(flag);
  // Exit code 1 of test is a warning, which the usual answers leave out.
  EXPECT_TRUE(Eventually([&] { return Count() == 0; }, absl::Seconds(10)));
  v1::Selector warning;
  warning.set_min_health(v1::Selector::WARNING);
  EXPECT_EQ(Remote(server_->address()).Discover("web", &warning).endpoints_size(), 1);
  run->Signal(SIGTERM);
  EXPECT_EQ(run->Wait(), 128 + SIGTERM);
  // One that hangs is killed, and critical.
  const auto hangs = Run("sleep 60", {"--check", "sleep 100", "--check-interval", "1s"});
  absl::SleepFor(absl::Milliseconds(2'500));
  EXPECT_EQ(Remote(server_->address()).Discover("web", &warning).endpoints_size(), 0);
  hangs->Signal(SIGTERM);
  EXPECT_EQ(hangs->Wait(), 128 + SIGTERM);
}

TEST_F(RunScenario, TheProgramEndsWithWhoeverRanIt) {
  const std::string flag = dir_.path("ended");
  const auto run = Run(absl::StrCat("trap 'touch ", flag,
                                    "; exit' TERM; echo up; while :; do "
                                    "sleep 0.05; done"));
  EXPECT_EQ(run->ReadLine(), "up");
  run->Kill();
  EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(flag); }, absl::Seconds(5)));
}

TEST_F(RunScenario, ResolveGivesScriptsWhatTheyCanCall) {
  EXPECT_EQ(Output({"resolve", "web", "--no-snapshot"}), (std::pair<std::string, int>{"", 1}));
  const auto run = Run("sleep 60");
  EXPECT_TRUE(Eventually([&] { return Count() == 1; }, absl::Seconds(10)));
  const auto resolved = [&](const std::string& name, const std::string& flag = "--no-snapshot") {
    const auto [printed, code] = Output({"resolve", name, flag, "--no-snapshot"});
    EXPECT_EQ(code, 0) << name;
    return printed;
  };
  EXPECT_EQ(resolved("web"), "10.0.0.1:9999\n");
  EXPECT_EQ(resolved("http://web:8002/a?b#c"), "http://10.0.0.1:9999/a?b#c\n");
  EXPECT_EQ(resolved("static:///10.0.0.7:1,10.0.0.8:2", "--all"), "10.0.0.7:1\n10.0.0.8:2\n");
  EXPECT_EQ(Output({"resolve", "a b"}).second, 2);
  EXPECT_EQ(Output({"resolve", "web", "--within", "soon"}).second, 2);
  const std::string json = resolved("http://web/x", "-ojson");
  EXPECT_TRUE(absl::StrContains(json, "\"url\":\"http://10.0.0.1:9999/x\"")) << json;
  EXPECT_TRUE(absl::StrContains(json, "\"source\":\"registry\"")) << json;
  setenv("WEB_URL", "http://10.9.9.9:5", 1);
  EXPECT_EQ(resolved("web"), "10.9.9.9:5\n");
  unsetenv("WEB_URL");
  run->Signal(SIGTERM);
  EXPECT_TRUE(run->Wait().has_value());
}

TEST_F(RunScenario, DoctorSaysWhyANameLeadsToNobody) {
  const auto says = [](const std::pair<std::string, int>& said, const std::string& line) {
    EXPECT_TRUE(absl::StrContains(said.first, line)) << said.first;
  };
  auto said = Output({"doctor", "web"});
  EXPECT_EQ(said.second, 1);
  says(said, absl::StrCat("ok    registry     ", server_->address(), " answers"));
  says(said, "bad   instances    nobody ever registered under this name");
  says(said, "bad   answer       no service \"web\" is known");
  // One that answers, one that doesn't, one that is sick.
  Remote remote(server_->address());
  for (const auto& [id, port] : {std::pair<std::string, int>{"well", server_->port()},
                                 {"gone", 1},
                                 {"sick", server_->port()}}) {
    v1::RegisterRequest request;
    request.set_permanent(true);
    request.mutable_instance()->set_service("web");
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("127.0.0.1");
    request.mutable_instance()->set_port(static_cast<uint32_t>(port));
    if (id == "sick") {
      request.mutable_instance()->add_checks()->mutable_ttl()->mutable_ttl()->set_seconds(60);
    }
    v1::RegisterResponse response;
    ASSERT_TRUE(remote.Register(request, &response).ok());
  }
  said = Output({"doctor", "http://web:1234/x"});
  EXPECT_EQ(said.second, 0);
  says(said, "note  instances    2 of 3 instances are passing and active; sick is critical");
  says(said, "ok    answer       2 endpoints, from registry");
  says(said, absl::StrCat("ok    connect      ", server_->address()));
  says(said, "bad   connect      127.0.0.1:1: Connection refused");
  setenv("WEB_URL", "http://127.0.0.1:2", 1);
  said = Output({"doctor", "web"});
  unsetenv("WEB_URL");
  EXPECT_EQ(said.second, 1);
  says(said, "note  environment  WEB_URL=http://127.0.0.1:2 is set; it beats the registry");
  server_->Kill();
  said = Output({"doctor", "web", "-ojson"});
  says(said, "can't connect: Connection refused");
  EXPECT_EQ(Output({"doctor", "a b"}).second, 2);
}

}  // namespace
}  // namespace muster::test
