// Resumes over random histories against a real server: registrations, deletions, health, tags,
// wipes, restarts. Whatever a client held, it ends with what a fresh snapshot holds.
#include <gtest/gtest.h>

#include <deque>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using client::EndpointSet;
using Event = v1::WatchResponse;

constexpr int kResumes = 1200;
constexpr int kSelectors = 20;
constexpr int kServices = 3;
constexpr int kInstances = 25;
constexpr size_t kKept = 60;

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int Below(int n) { return static_cast<int>(engine_() % static_cast<uint32_t>(n)); }
  bool OneIn(int n) { return Below(n) == 0; }

 private:
  std::mt19937 engine_;
};

std::string ServiceName(int service) { return absl::StrCat("svc-", service); }
std::string Tag(int i) { return absl::StrCat("t", i); }

v1::Selector RandomSelector(Random& random) {
  v1::Selector selector;
  if (random.OneIn(2)) selector.add_all_tags(Tag(random.Below(3)));
  if (random.OneIn(3)) (*selector.mutable_metadata())["m"] = absl::StrCat(random.Below(2));
  if (random.OneIn(3)) selector.set_version(absl::StrCat("v", random.Below(2)));
  selector.set_min_health(static_cast<v1::Selector::MinHealth>(random.Below(4)));
  selector.set_include_draining(random.OneIn(2));
  return selector;
}

// What one client held at one time: a set for each selector.
struct Held {
  int service = 0;
  std::vector<EndpointSet> sets;
};

class ResumeTest : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(dir_.path("config.yaml")) << "watch:\n"
                                               "  tombstones_per_service: 6\n"
                                               "  tombstone_age: 1s\n"
                                               "  forget_empty_after: 2s\n";
    for (int i = 0; i < kSelectors; ++i) {
      selectors_.push_back(i == 0 ? v1::Selector() : RandomSelector(random_));
    }
    Start(0);
  }
  void Start(int port) {
    server_ = std::make_unique<Musterd>(
        dir_.path(data_), std::vector<std::string>{"--config", dir_.path("config.yaml")}, port);
    remote_ = std::make_unique<Remote>(server_->address());
    stream_.reset();
  }
  void Restart() {
    const int port = server_->port();
    server_->Kill();
    Start(port);
    ++restarts_;
  }
  // Another store, which knows nothing.
  void Wipe() {
    data_ = absl::StrCat("data-", ++wipes_);
    Restart();
  }

  void RegisterOne(int service, int number) {
    v1::RegisterRequest request;
    v1::Instance* instance = request.mutable_instance();
    instance->set_service(ServiceName(service));
    instance->set_id(absl::StrCat("i", number));
    instance->set_address("10.0.0.1");
    instance->set_version(absl::StrCat("v", random_.Below(2)));
    for (int i = 0; i < 3; ++i) {
      if (random_.OneIn(2)) instance->add_tags(Tag(i));
    }
    (*instance->mutable_metadata())["m"] = absl::StrCat(random_.Below(2));
    if (number % 2 == 0) {
      auto* check = instance->add_checks();
      check->set_id("c");
      check->mutable_ttl()->mutable_ttl()->set_seconds(3600);
      check->set_initial_status(v1::PASSING);
    }
    request.set_permanent(true);
    v1::RegisterResponse response;
    const grpc::Status status = remote_->Register(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
  v1::InstanceKey Key(int service, int number) {
    v1::InstanceKey key;
    key.set_service(ServiceName(service));
    key.set_id(absl::StrCat("i", number));
    return key;
  }
  void RandomChange() {
    const int service = random_.Below(kServices);
    const int number = random_.Below(kInstances);
    v1::DeregisterResponse removed;
    v1::ReportHealthResponse reported;
    switch (random_.Below(8)) {
      case 0:
      case 1:
      case 2:
        (void)remote_->Deregister(Key(service, number), 0, &removed);
        break;
      case 3:
      case 4:
        (void)remote_->Report(Key(service, number), 0, "c",
                              static_cast<v1::Health>(1 + random_.Below(3)), &reported);
        break;
      default:
        RegisterOne(service, number);
    }
    if (!random_.OneIn(150)) return;
    for (int i = 0; i < kInstances; ++i) (void)remote_->Deregister(Key(service, i), 0, &removed);
  }

  void OpenStream() {
    if (stream_ != nullptr) return;
    context_ = std::make_unique<grpc::ClientContext>();
    Remote::Prepare(*context_, absl::Seconds(200));
    stream_ = remote_->discovery->Watch(context_.get());
  }
  void Write(const v1::WatchRequest& request) { ASSERT_TRUE(stream_->Write(request)); }

  // Each set goes on from where it was, and ends as fresh ones are.
  void Resume(Held& held) {
    OpenStream();
    const uint64_t first = next_sub_;
    for (int i = 0; i < kSelectors; ++i) {
      v1::WatchRequest request;
      auto* subscribe = request.mutable_subscribe();
      subscribe->set_sub_id(next_sub_++);
      subscribe->set_service(ServiceName(held.service));
      *subscribe->mutable_selector() = selectors_[i];
      if (const auto resume = held.sets[i].resume()) *subscribe->mutable_resume() = *resume;
      ASSERT_NO_FATAL_FAILURE(Write(request));
    }
    std::vector<bool> complete(kSelectors, false);
    for (int left = kSelectors; left > 0;) {
      Event event;
      ASSERT_TRUE(stream_->Read(&event)) << stream_->Finish().error_message();
      if (event.event_case() == Event::kProgress || event.sub_id() < first) continue;
      const auto i = static_cast<size_t>(event.sub_id() - first);
      ASSERT_FALSE(event.has_error()) << event.error().message();
      const auto applied = held.sets[i].Apply(event);
      ASSERT_EQ(applied.problem, "") << event.ShortDebugString();
      changes_ += event.has_change();
      resets_ += event.has_reset();
      if (!applied.complete || complete[i]) continue;
      complete[i] = true;
      --left;
    }
    for (int i = 0; i < kSelectors; ++i) {
      const auto fresh = remote_->Discover(ServiceName(held.service), &selectors_[i]);
      ASSERT_EQ(held.sets[i].checksum(), fresh.checksum()) << selectors_[i].ShortDebugString();
      ASSERT_EQ(held.sets[i].size(), static_cast<size_t>(fresh.endpoints_size()));
      v1::WatchRequest request;
      request.mutable_unsubscribe()->set_sub_id(first + static_cast<uint64_t>(i));
      ASSERT_NO_FATAL_FAILURE(Write(request));
    }
  }

  TempDir dir_;
  std::string data_ = "data";
  Random random_{20261124};
  std::vector<v1::Selector> selectors_;
  std::unique_ptr<Musterd> server_;
  std::unique_ptr<Remote> remote_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WatchRequest, Event>> stream_;
  uint64_t next_sub_ = 1;
  int restarts_ = 0, wipes_ = 0, changes_ = 0, resets_ = 0;
};

TEST_F(ResumeTest, EveryResumeEndsAsAFreshSnapshot) {
  std::deque<Held> kept;
  for (int round = 0; round < kResumes; ++round) {
    for (int i = random_.Below(6); i > 0; --i) RandomChange();
    if (random_.OneIn(120)) Restart();
    if (random_.OneIn(400)) Wipe();
    // Old and young ones; some hold nothing yet.
    Held held;
    if (!kept.empty() && !random_.OneIn(20)) {
      held = kept[static_cast<size_t>(random_.Below(static_cast<int>(kept.size())))];
    } else {
      held.service = random_.Below(kServices);
      held.sets.resize(kSelectors);
    }
    ASSERT_NO_FATAL_FAILURE(Resume(held)) << "round " << round;
    kept.push_back(std::move(held));
    if (kept.size() > kKept) kept.pop_front();
  }
  RecordProperty("changes", changes_);
  RecordProperty("resets", resets_);
  RecordProperty("restarts", restarts_);
  EXPECT_GT(restarts_, 2);
  EXPECT_GT(wipes_, 0);
  EXPECT_GT(changes_, kResumes * kSelectors / 2);
  EXPECT_GT(resets_, 0);
  std::cout << changes_ << " changes, " << resets_ << " resets, " << restarts_ << " restarts, "
            << wipes_ << " wipes" << std::endl;
}

}  // namespace
}  // namespace muster::test
