#include "base/mutex.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/thread.h"

namespace muster::base {
namespace {

struct Counter {
  Mutex mu;
  CondVar cv;
  int value MUSTER_GUARDED_BY(mu) = 0;
};

TEST(MutexTest, ExcludesOtherThreads) {
  Counter counter;
  {
    std::vector<NamedThread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back("count", [&] {
        for (int i = 0; i < 10'000; ++i) {
          MutexLock lock(counter.mu);
          ++counter.value;
        }
      });
    }
  }
  MutexLock lock(counter.mu);
  EXPECT_EQ(counter.value, 40'000);
}

TEST(MutexTest, WaitLetsOthersInAndHoldsTheMutexAfterwards) {
  Counter counter;
  NamedThread setter("setter", [&] {
    MutexLock lock(counter.mu);
    counter.value = 1;
    counter.cv.NotifyOne();
  });
  MutexLock lock(counter.mu);
  while (counter.value == 0) counter.cv.Wait(counter.mu);
  counter.value = 2;
  EXPECT_EQ(counter.value, 2);
}

TEST(MutexTest, NotifyAllWakesEveryWaiter) {
  Counter counter;
  std::vector<NamedThread> waiters;
  for (int t = 0; t < 4; ++t) {
    waiters.emplace_back("waiter", [&] {
      MutexLock lock(counter.mu);
      while (counter.value == 0) counter.cv.Wait(counter.mu);
    });
  }
  {
    MutexLock lock(counter.mu);
    counter.value = 1;
  }
  counter.cv.NotifyAll();
  for (auto& waiter : waiters) waiter.Join();
}

TEST(MutexTest, WaitForSaysWhenTimeRanOut) {
  Counter counter;
  MutexLock lock(counter.mu);
  while (counter.cv.WaitFor(counter.mu, absl::Milliseconds(1))) {
  }
  EXPECT_FALSE(counter.cv.WaitFor(counter.mu, absl::Seconds(-1)));
}

TEST(MutexTest, AnEndlessWaitIsEndedByANotificationOnly) {
  Counter counter;
  bool timed_out = false;
  NamedThread setter;
  {
    MutexLock lock(counter.mu);
    setter = NamedThread("setter", [&] {
      MutexLock inner(counter.mu);
      counter.value = 1;
      counter.cv.NotifyAll();
    });
    while (counter.value == 0) {
      if (!counter.cv.WaitFor(counter.mu, absl::InfiniteDuration())) timed_out = true;
    }
  }
  EXPECT_FALSE(timed_out);
}

}  // namespace
}  // namespace muster::base
