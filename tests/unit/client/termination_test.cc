#include "client/termination.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>

namespace muster::client {
namespace {

std::atomic<int> waited{0};

OnTermination::Begin Counts() {
  return [] { return [] { ++waited; }; };
}

// The process's own, if it has one.
void ExitWithCount(int) { _exit(100 + waited); }

// Not by pause: under ThreadSanitizer a handler runs when the next call that it knows begins.
void AwaitEnd() {
  for (;;) poll(nullptr, 0, 10);
}

// Each in a process of its own, which starts without threads.
class OnTerminationTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(OnTerminationTest, AllIsFinishedBeforeTheProcessHearsOfTheSignal) {
  EXPECT_EXIT(
      {
        signal(SIGTERM, ExitWithCount);
        const OnTermination one(Counts());
        const OnTermination other(Counts());
        kill(getpid(), SIGTERM);
        AwaitEnd();
      },
      ::testing::ExitedWithCode(102), "");
}

TEST_F(OnTerminationTest, AProcessWithoutAHandlerEndsByTheSignal) {
  EXPECT_EXIT(
      {
        const OnTermination one(Counts());
        kill(getpid(), SIGTERM);
        AwaitEnd();
      },
      ::testing::KilledBySignal(SIGTERM), "");
}

TEST_F(OnTerminationTest, WithoutOneTheFormerHandlerIsBack) {
  EXPECT_EXIT(
      {
        signal(SIGTERM, ExitWithCount);
        { const OnTermination one(Counts()); }
        raise(SIGTERM);
        AwaitEnd();
      },
      ::testing::ExitedWithCode(100), "");
}

TEST_F(OnTerminationTest, AProcessThatIgnoresTheSignalOrTakesItItselfIsLeftAlone) {
  EXPECT_EXIT(
      {
        signal(SIGTERM, SIG_IGN);
        const OnTermination one(Counts());
        raise(SIGTERM);
        _exit(waited);
      },
      ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(
      {
        auto one = std::make_unique<OnTermination>(Counts());
        signal(SIGTERM, ExitWithCount);
        one = nullptr;
        raise(SIGTERM);
        AwaitEnd();
      },
      ::testing::ExitedWithCode(100), "");
}

}  // namespace
}  // namespace muster::client
