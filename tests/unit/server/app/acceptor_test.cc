#include "server/app/acceptor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <limits>
#include <memory>
#include <vector>

#include "base/fake_clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "tests/unit/server/app/sockets.h"

namespace muster::app {
namespace {

constexpr int kReserved = 100;

class AcceptorTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    base::SetLogSink([this](base::LogLevel, std::string_view message, auto) {
      base::MutexLock lock(mu_);
      logged_.emplace_back(message);
      changed_.NotifyAll();
    });
    Start();
  }
  void TearDown() override {
    acceptor_->Stop();
    LimitTo(before_.rlim_cur);
    base::SetLogSink(nullptr);
  }
  void Start(int end = std::numeric_limits<int>::max()) {
    auto sockets = Listen({"127.0.0.1", 0}, absl::Seconds(10));
    ASSERT_TRUE(sockets.ok()) << sockets.status();
    acceptor_ = std::make_unique<Acceptor>(
        *std::move(sockets), Acceptor::Options{.clock = clock_, .reserved = kReserved, .end = end});
    acceptor_->Start([this](int, int fd) {
      base::MutexLock lock(mu_);
      taken_.emplace_back(fd);
      changed_.NotifyAll();
    });
  }
  void LimitTo(rlim_t limit) const {
    rlimit now = before_;
    now.rlim_cur = limit;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &now), 0);
  }
  OwnedFd NewClient() const { return Connect("127.0.0.1", acceptor_->port()); }
  // Within 10 s. The test fails otherwise.
  void AwaitTaken(size_t count) {
    base::MutexLock lock(mu_);
    for (int i = 0; i < 1000 && taken_.size() < count; ++i) {
      changed_.WaitFor(mu_, absl::Milliseconds(10));
    }
    ASSERT_EQ(taken_.size(), count);
  }
  void AwaitLogged(size_t count) {
    base::MutexLock lock(mu_);
    for (int i = 0; i < 1000 && logged_.size() < count; ++i) {
      changed_.WaitFor(mu_, absl::Milliseconds(10));
    }
    ASSERT_EQ(logged_.size(), count);
  }

  rlimit before_{};
  base::FakeClock clock_;
  base::Mutex mu_;
  base::CondVar changed_;
  std::vector<OwnedFd> taken_ MUSTER_GUARDED_BY(mu_);
  std::vector<std::string> logged_ MUSTER_GUARDED_BY(mu_);
  std::unique_ptr<Acceptor> acceptor_;
};

TEST_F(AcceptorTest, HandsOverSocketsAboveTheReservedNumbers) {
  const OwnedFd first = NewClient();
  const OwnedFd second = NewClient();
  AwaitTaken(2);
  EXPECT_EQ(acceptor_->CountOpen(), 2u);
  base::MutexLock lock(mu_);
  for (const OwnedFd& fd : taken_) {
    EXPECT_GE(fd.get(), kReserved);
    EXPECT_EQ(fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    EXPECT_EQ(fcntl(fd.get(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  }
  taken_.pop_back();
  EXPECT_EQ(acceptor_->CountOpen(), 1u);
  EXPECT_EQ(acceptor_->refused(), 0u);
}

TEST_F(AcceptorTest, WithoutADescriptorForItAConnectionIsClosedAtOnce) {
  LimitTo(kReserved + 2);
  std::vector<OwnedFd> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(NewClient());
  AwaitTaken(2);
  for (int i = 2; i < 5; ++i) EXPECT_TRUE(HungUp(clients[i])) << i;
  EXPECT_EQ(acceptor_->CountOpen(), 2u);
  EXPECT_EQ(acceptor_->refused(), 3u);
  EXPECT_EQ(acceptor_->last_refused(), clock_.Steady());
  AwaitLogged(1);  // not three

  clock_.Advance(absl::Seconds(10));
  EXPECT_TRUE(HungUp(NewClient()));
  AwaitLogged(2);
  {
    base::MutexLock lock(mu_);
    taken_.pop_back();
  }
  const OwnedFd late = NewClient();
  AwaitTaken(2);
  EXPECT_EQ(acceptor_->refused(), 4u);
}

TEST_F(AcceptorTest, NumbersFromTheEndOnAreForOthers) {
  acceptor_->Stop();
  Start(kReserved + 2);
  std::vector<OwnedFd> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(NewClient());
  AwaitTaken(2);
  EXPECT_TRUE(HungUp(clients[2]));
  EXPECT_EQ(acceptor_->refused(), 1u);
  {
    base::MutexLock lock(mu_);
    taken_.pop_back();
  }
  const OwnedFd late = NewClient();
  AwaitTaken(2);
}

// Without a single descriptor UndefinedBehaviorSanitizer can't look at memory (it does so through a
// pipe) and takes every object for a broken one.
#ifndef __SANITIZE_ADDRESS__
TEST_F(AcceptorTest, GoesOnWhenDescriptorsAreFreeAgain) {
  OwnedFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in server{};
  server.sin_family = AF_INET;
  server.sin_port = htons(acceptor_->port());
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  LimitTo(3);  // the next free number is above
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&server), sizeof(server)), 0);
  AwaitLogged(1);
  LimitTo(before_.rlim_cur);
  AwaitTaken(1);
  EXPECT_EQ(acceptor_->refused(), 0u);
}

TEST_F(AcceptorTest, StopsWhileNothingCanBeAccepted) {
  const OwnedFd first = NewClient();
  AwaitTaken(1);
  LimitTo(3);
  acceptor_->Stop();
  LimitTo(before_.rlim_cur);
  EXPECT_LT(NewClient().get(), 0) << "refused";
}
#endif

TEST_F(AcceptorTest, RefusesAfterAStop) {
  ASSERT_GE(NewClient().get(), 0);
  acceptor_->Stop();
  EXPECT_LT(NewClient().get(), 0);
  acceptor_->Stop();
}

}  // namespace
}  // namespace muster::app
