// muster run and muster resolve as scripts use them: real processes, signals and exit codes.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

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
    // A snapshot of an earlier server at the same address would be believed.
    std::vector<std::string> argv = {"/usr/bin/env", "XDG_CACHE_HOME=" + dir_.path("cache"),
                                     BinDir() + "/muster", "--addr", server_->address()};
    argv.insert(argv.end(), words.begin(), words.end());
    return std::make_unique<Process>(argv, dir_.path("stderr"));
  }
  // `script`: of sh, which is the service.
  std::unique_ptr<Process> Run(const std::string& script, std::vector<std::string> flags = {}) {
    // Somebody listens there.
    return RunAt(server_->port(), script, std::move(flags));
  }
  std::unique_ptr<Process> RunAt(int port, const std::string& script,
                                 std::vector<std::string> flags = {}) {
    std::vector<std::string> words = {"run",    "--service",       "web", "--address", "127.0.0.1",
                                      "--port", absl::StrCat(port)};
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
  // One that can't confirm anything.
  const Watcher watcher(server_->address(), "web");
  const auto run = Run(kUntilTerm, {"--drain", "500ms"});
  EXPECT_EQ(run->ReadLine(), "up");
  EXPECT_TRUE(Eventually([&] { return watcher.ids().size() == 1; }, absl::Seconds(10)));
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

TEST_F(RunScenario, ASignalIsPassedOnAsSoonAsThoseWhoWatchHaveConfirmed) {
  const auto watch = Muster({"watch", "web"});
  const auto run = Run(kUntilTerm, {"--drain", "1m"});
  EXPECT_EQ(run->ReadLine(), "up");
  EXPECT_TRUE(Eventually([&] { return Count() == 1; }, absl::Seconds(10)));
  run->Signal(SIGTERM);
  EXPECT_EQ(run->ReadLine(), "ended by TERM") << "well within the minute";
  EXPECT_EQ(run->Wait(), 7);
}

// A port of loopback that refuses connections until Listen.
class Port {
 public:
  Port() {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&at), size), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size), 0);
    number_ = ntohs(at.sin_port);
  }
  ~Port() { close(fd_); }
  Port(const Port&) = delete;
  int number() const { return number_; }
  void Listen() const { EXPECT_EQ(listen(fd_, 8), 0); }

 private:
  const int fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int number_ = 0;
};

TEST_F(RunScenario, AProgramIsRegisteredOnceItListens) {
  const Port port;
  const auto run = RunAt(port.number(), kUntilTerm);
  EXPECT_EQ(run->ReadLine(), "up");
  run->Signal(SIGHUP);
  EXPECT_EQ(run->ReadLine(), "hup") << "is passed on meanwhile";
  Pause(absl::Milliseconds(500));
  EXPECT_EQ(Count(), 0) << "calls would fail";
  port.Listen();
  EXPECT_TRUE(Eventually([&] { return Count() == 1; }, absl::Seconds(5)));
  run->Signal(SIGTERM);
  EXPECT_EQ(run->ReadLine(), "ended by TERM");
  EXPECT_EQ(run->Wait(), 7);
}

TEST_F(RunScenario, AProgramThatEndsBeforeItListensIsNeverRegistered) {
  const Port port;
  EXPECT_EQ(RunAt(port.number(), "sleep 0.3; exit 3")->Wait(), 3);
  const auto run = RunAt(port.number(),
                         "trap 'echo told' TERM; echo up; n=0; while [ $n -lt 20 ]; do sleep 0.05; "
                         "n=$((n + 1)); done; exit 7");
  EXPECT_EQ(run->ReadLine(), "up");
  run->Signal(SIGTERM);
  EXPECT_EQ(run->ReadLine(), "told");
  port.Listen();
  EXPECT_EQ(run->Wait(), 7);
  EXPECT_FALSE(absl::StrContains(ReadText(dir_.path("stderr")), "registered"));
}

TEST_F(RunScenario, AProgramThatNeverListensIsRegisteredAllTheSameAndACheckWaitsForNothing) {
  const Port port;
  const auto checked = RunAt(port.number(), kUntilTerm, {"--id", "checked", "--check", "true"});
  EXPECT_TRUE(Eventually([&] { return Count() == 1; }, absl::Seconds(5)));
  const auto run = RunAt(port.number(), kUntilTerm, {"--id", "silent"});
  EXPECT_TRUE(Eventually([&] { return Count() == 2; }, absl::Seconds(20)));
  EXPECT_TRUE(
      absl::StrContains(ReadText(dir_.path("stderr")),
                        absl::StrCat("nothing listens at 127.0.0.1:", port.number(), " yet")));
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
        {"--service", "web", "--port", "1", "--ttl", "25h"},
        {"--service", "web", "--port", "1", "--drain", "soon"}}) {
    std::vector<std::string> words = {"run"};
    words.insert(words.end(), wrong.begin(), wrong.end());
    words.insert(words.end(), {"--", "echo", "started"});
    const auto [printed, code] = Output(words);
    EXPECT_EQ(code, 2) << wrong.back();
    EXPECT_EQ(printed, "");
  }
  EXPECT_TRUE(absl::StrContains(ReadText(dir_.path("stderr")), "--ttl: 25h; allowed: 1s to 24h"));
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
  const std::string& address = server_->address();
  EXPECT_EQ(resolved("web"), address + "\n");
  EXPECT_EQ(resolved("http://web:8002/a?b#c"), absl::StrCat("http://", address, "/a?b#c\n"));
  EXPECT_EQ(resolved("static:///10.0.0.7:1,10.0.0.8:2", "--all"), "10.0.0.7:1\n10.0.0.8:2\n");
  EXPECT_EQ(Output({"resolve", "a b"}).second, 2);
  EXPECT_EQ(Output({"resolve", "web", "--within", "soon"}).second, 2);
  const std::string json = resolved("http://web/x", "-ojson");
  EXPECT_TRUE(absl::StrContains(json, absl::StrCat("\"url\":\"http://", address, "/x\""))) << json;
  EXPECT_TRUE(absl::StrContains(json, "\"source\":\"registry\"")) << json;
  setenv("WEB_URL", "http://10.9.9.9:5", 1);
  EXPECT_EQ(resolved("web"), "10.9.9.9:5\n");
  unsetenv("WEB_URL");
  run->Signal(SIGTERM);
  EXPECT_TRUE(run->Wait().has_value());
}

// What doctor said and its exit code, and a line of that.
void Says(const std::pair<std::string, int>& said, const std::string& line) {
  EXPECT_TRUE(absl::StrContains(said.first, line)) << said.first;
}

TEST_F(RunScenario, DoctorSaysWhichCheckFailsWhenNoInstanceIsWell) {
  ASSERT_EQ(Output({"register", "--permanent", "--id", "a", "--node", "n1", "--check-ttl", "db=60s",
                    "web", "127.0.0.1:1"})
                .second,
            0);
  auto said = Output({"doctor", "web"});
  EXPECT_EQ(said.second, 1);
  Says(said, "bad   instances    0 of 1 instance is passing and active; a is critical");
  Says(said, "bad   checks       of a the check \"db\" is critical: nobody has reported it yet\n");
  ASSERT_EQ(
      Output({"report", "web", "a", "db", "critical", "--node", "n1", "--output", "disk is full"})
          .second,
      0);
  Says(Output({"doctor", "web"}),
       "bad   checks       of a the check \"db\" is critical: disk is full\n");
  ASSERT_EQ(Output({"register", "--permanent", "--id", "b", "--check-ttl", "db=60s", "web",
                    "127.0.0.1:1"})
                .second,
            0);
  Says(Output({"doctor", "web"}), "0 of 2 instances are passing and active; ");
  ASSERT_EQ(Output({"report", "web", "b", "db", "passing"}).second, 0);
  said = Output({"doctor", "web"});
  Says(said, "1 of 2 instances is passing and active; ");
  EXPECT_FALSE(absl::StrContains(said.first, "checks")) << said.first;
}

TEST_F(RunScenario, DoctorSaysWhyANameLeadsToNobody) {
  auto said = Output({"doctor", "web"});
  EXPECT_EQ(said.second, 1);
  Says(said, absl::StrCat("ok    registry     ", server_->address(), " answers"));
  Says(said, "bad   instances    nobody ever registered under this name");
  Says(said, "bad   answer       no service \"web\" is known");
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
  Says(said, "note  instances    2 of 3 instances are passing and active; sick is critical");
  Says(said, "ok    answer       2 endpoints, from registry");
  Says(said, absl::StrCat("ok    connect      ", server_->address()));
  Says(said, "bad   connect      127.0.0.1:1: Connection refused");
  setenv("WEB_URL", "http://127.0.0.1:2", 1);
  said = Output({"doctor", "web"});
  unsetenv("WEB_URL");
  EXPECT_EQ(said.second, 1);
  Says(said, "note  environment  WEB_URL=http://127.0.0.1:2 is set; it beats the registry");
  server_->Kill();
  said = Output({"doctor", "web", "-ojson"});
  Says(said, "can't connect: Connection refused");
  EXPECT_EQ(Output({"doctor", "a b"}).second, 2);
}

}  // namespace
}  // namespace muster::test
