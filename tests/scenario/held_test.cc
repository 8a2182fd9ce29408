// A server whose disk takes nothing more: it answers and watches on, writes are refused, and who
// falls due meanwhile is held and marked, until a restart with space settles it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using grpc::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr absl::Duration kTtl = absl::Seconds(2);
constexpr char kService[] = "web";

v1::RegisterRequest Request(const std::string& id) {
  v1::RegisterRequest request;
  request.mutable_instance()->set_service(kService);
  request.mutable_instance()->set_id(id);
  request.mutable_instance()->set_address("10.0.0.1");
  request.mutable_instance()->mutable_locality()->set_zone("z1");
  request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(kTtl));
  return request;
}

v1::InstanceKey Key(const std::string& id) {
  v1::InstanceKey key;
  key.set_service(kService);
  key.set_id(id);
  return key;
}

std::vector<std::string> HeldIn(const v1::DiscoverResponse& answer) {
  std::vector<std::string> ids;
  for (const auto& held : answer.held()) {
    for (const auto& key : held.keys()) ids.push_back(key.id());
  }
  return ids;
}

// Everything that a program printed.
std::string Output(const std::vector<std::string>& argv) {
  Process process(argv);
  std::string out;
  while (const auto line = process.ReadLine()) absl::StrAppend(&out, *line, "\n");
  EXPECT_EQ(process.Wait(), 0);
  return out;
}

// What a process has used so far.
absl::Duration CpuOf(pid_t pid) {
  std::ifstream stat(absl::StrCat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(stat, text);
  std::istringstream fields(text.substr(text.rfind(')') + 2));  // from the third on
  std::string skipped;
  for (int i = 3; i < 14; ++i) fields >> skipped;
  int64_t user = 0, system = 0;
  fields >> user >> system;
  return absl::Seconds(1) * (user + system) / sysconf(_SC_CLK_TCK);
}

class FullDisk : public testing::Test {
 protected:
  // Ignored signals stay ignored in the programs that are started: a write beyond the limit fails
  // there, as one to a full disk does, and kills nobody. Works for root as well.
  FullDisk() : before_(signal(SIGXFSZ, SIG_IGN)) {
    server_ = std::make_unique<Musterd>(dir_.path("data"), flags_);
    remote_ = std::make_unique<Remote>(server_->address());
  }
  ~FullDisk() override { signal(SIGXFSZ, before_); }

  void Fill() const {
    const rlimit full{0, RLIM_INFINITY};
    ASSERT_EQ(prlimit(server_->pid(), RLIMIT_FSIZE, &full, nullptr), 0);
  }
  std::unique_ptr<Process> StartService(const std::string& id) {
    auto process = std::make_unique<Process>(
        std::vector<std::string>{BinDir() + "/../tests/bin/service_process", server_->address(),
                                 kService, id, absl::StrCat(absl::ToInt64Seconds(kTtl))});
    EXPECT_TRUE(process->ReadLine().has_value());
    EXPECT_EQ(process->ReadLine(), "found");
    return process;
  }
  std::vector<std::string> Words(std::vector<std::string> words) const {
    words.insert(words.begin(), {BinDir() + "/muster", "--addr", server_->address()});
    return words;
  }
  v1::RegisterResponse Register(const v1::RegisterRequest& request) {
    v1::RegisterResponse response;
    const grpc::Status status = remote_->Register(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  grpc::Status TryRegister(const std::string& id) {
    v1::RegisterResponse response;
    return remote_->Register(Request(id), &response);
  }
  v1::HeartbeatResponse::Outcome Beat(const std::string& id) {
    v1::HeartbeatRequest request;
    *request.add_leases()->mutable_key() = Key(id);
    v1::HeartbeatResponse response;
    EXPECT_TRUE(remote_->Heartbeat(request, &response).ok());
    return response.outcomes_size() == 1 ? response.outcomes(0)
                                         : v1::HeartbeatResponse::OUTCOME_UNSPECIFIED;
  }
  std::vector<std::string> Held() { return HeldIn(remote_->Discover(kService)); }
  void Restart() {
    const int port = server_->port();
    server_->Stop();
    server_ = std::make_unique<Musterd>(dir_.path("data"), flags_, port);
    remote_ = std::make_unique<Remote>(server_->address());
  }

  void (*before_)(int);
  TempDir dir_;
  const std::vector<std::string> flags_ = WithoutBrake(dir_);
  std::unique_ptr<Musterd> server_;
  std::unique_ptr<Remote> remote_;
};

TEST_F(FullDisk, TheOverdueAreHeldAndMarkedUntilThereIsSpaceAgain) {
  auto permanent = Request("permanent");
  permanent.clear_ttl();
  permanent.set_permanent(true);
  Register(permanent);
  const auto lives = StartService("lives");
  const auto dies = StartService("dies");
  Watcher watcher(server_->address(), kService);
  ASSERT_TRUE(Eventually([&] { return watcher.ids().size() == 3; }));
  Process lines(Words({"watch", kService}));
  for (int i = 0; i < 3; ++i) EXPECT_THAT(lines.ReadLine().value_or(""), HasSubstr("+ web"));
  const auto before = remote_->Discover(kService);
  EXPECT_FALSE(before.has_frozen_since());

  Fill();
  EXPECT_EQ(TryRegister("new").error_code(), StatusCode::UNAVAILABLE);
  const grpc::Status refused = TryRegister("newer");
  EXPECT_EQ(refused.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(refused), "STORAGE_READ_ONLY");
  v1::DeregisterResponse deregistered;
  EXPECT_EQ(remote_->Deregister(Key("permanent"), 0, &deregistered).error_code(),
            StatusCode::UNAVAILABLE);
  ASSERT_TRUE(Eventually([&] { return remote_->Discover(kService).has_frozen_since(); }));

  dies->Kill();
  const absl::Time died = Now();
  ASSERT_TRUE(Eventually([&] { return !Held().empty(); }, kTtl + absl::Seconds(3)));
  EXPECT_GE(Now() - died, kTtl / 2) << "not before its lease was over";
  ASSERT_TRUE(Eventually([&] { return watcher.held() == std::vector<std::string>{"dies"}; }));
  EXPECT_THAT(lines.ReadLine().value_or(""), AllOf(HasSubstr("web: 1 overdue endpoint is held"),
                                                   HasSubstr("the store takes no writes: dies")));
  const auto answer = remote_->Discover(kService);
  EXPECT_THAT(HeldIn(answer), ElementsAre("dies"));
  EXPECT_THAT(answer.held(0).reasons(), ElementsAre(v1::Held::STORAGE_READ_ONLY));
  EXPECT_EQ(answer.checksum(), before.checksum());
  EXPECT_EQ(answer.endpoints_size(), 3);
  EXPECT_THAT(Output(Words({"discover", kService})), HasSubstr("active, held"));
  const auto status = remote_->Status();
  EXPECT_TRUE(status.has_frozen_since());
  ASSERT_EQ(status.held_size(), 1);
  EXPECT_EQ(status.held(0).service(), kService);

  // It was only slow. A heartbeat that meets a try to remove it has to come again.
  ASSERT_TRUE(Eventually([&] { return Beat("dies") == v1::HeartbeatResponse::RENEWED; }));
  ASSERT_TRUE(Eventually([&] { return Held().empty() && watcher.held().empty(); }, kTtl));
  EXPECT_THAT(lines.ReadLine().value_or(""), HasSubstr("no overdue endpoint is held"));
  ASSERT_TRUE(Eventually([&] { return watcher.held().size() == 1; }, kTtl + absl::Seconds(3)));

  Restart();
  const absl::Time restarted = Now();
  EXPECT_EQ(remote_->Discover(kService).endpoints_size(), 3) << "all that was acknowledged";
  EXPECT_THAT(Held(), IsEmpty());
  ASSERT_TRUE(Eventually([&] { return remote_->Discover(kService).endpoints_size() == 2; },
                         kTtl * 1.5 + absl::Seconds(3)));
  EXPECT_GE(Now() - restarted, kTtl / 2) << "its lease began anew";
  ASSERT_TRUE(Eventually([&] { return watcher.ids().size() == 2; }));
  EXPECT_THAT(watcher.ids(), ElementsAre("lives", "permanent"));
  EXPECT_THAT(watcher.held(), IsEmpty());
  EXPECT_EQ(watcher.seen().problem, "");
  EXPECT_EQ(Beat("lives"), v1::HeartbeatResponse::RENEWED);
  EXPECT_TRUE(TryRegister("new").ok());
  EXPECT_THAT(Output(Words({"verify"})), HasSubstr("ok"));
}

TEST_F(FullDisk, FiftyThousandThatAreHeldCostLittle) {
  constexpr int kBatches = 50, kEach = 1000;
#if defined(__SANITIZE_ADDRESS__)
  constexpr double kShare = 0.4;  // of a processor: everything costs several times as much
#else
  constexpr double kShare = 0.1;
#endif
  for (int batch = 0; batch < kBatches; ++batch) {
    v1::BatchRegisterRequest request;
    for (int i = 0; i < kEach; ++i) {
      v1::RegisterRequest* one = request.add_requests();
      *one = Request(absl::StrCat(batch, "-", i));
      one->mutable_ttl()->set_seconds(5);
    }
    v1::BatchRegisterResponse response;
    grpc::ClientContext context;
    Remote::Prepare(context);
    const grpc::Status status = remote_->registry->BatchRegister(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  Fill();
  EXPECT_EQ(TryRegister("new").error_code(), StatusCode::UNAVAILABLE);
  const absl::Duration before = CpuOf(server_->pid());
  ASSERT_TRUE(Eventually([&] {
    const auto status = remote_->Status();
    return status.held_size() == 1 && status.held(0).count() == uint64_t{kBatches} * kEach;
  }));
  const absl::Duration held = CpuOf(server_->pid());
  const absl::Duration kWatched = absl::Seconds(6);
  Pause(kWatched);
  const absl::Duration after = CpuOf(server_->pid());
  std::cout << "holding took " << held - before << " of CPU, keeping them " << after - held
            << " in " << kWatched << std::endl;
  EXPECT_LT(after - held, kWatched * kShare);
}

}  // namespace
}  // namespace muster::test
