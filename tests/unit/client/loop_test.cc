#include "client/loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace muster::client {
namespace {

// Waits for a number of tasks.
class Countdown {
 public:
  explicit Countdown(int count) : count_(count) {}
  void Down() {
    base::MutexLock lock(mu_);
    if (--count_ == 0) done_.NotifyAll();
  }
  bool Wait() {
    base::MutexLock lock(mu_);
    while (count_ > 0) {
      if (!done_.WaitFor(mu_, absl::Seconds(20))) return false;
    }
    return true;
  }

 private:
  base::Mutex mu_;
  base::CondVar done_;
  int count_ MUSTER_GUARDED_BY(mu_);
};

TEST(LoopTest, RunsWhatIsPostedInOrderAndTimersByTime) {
  Loop loop("test", base::RealClock());
  Countdown all(5);
  std::vector<int> order;
  const auto add = [&](int i) {
    return [&order, &all, i] {
      order.push_back(i);
      all.Down();
    };
  };
  const base::SteadyTime now = loop.Now();
  loop.At(now + absl::Milliseconds(60), add(5));
  loop.At(now + absl::Milliseconds(30), add(3));
  loop.At(now + absl::Milliseconds(30), add(4));
  const Scheduler::Timer never = loop.At(now + absl::Milliseconds(40), add(9));
  loop.Cancel(never);
  loop.Cancel(never);
  loop.Cancel(0);
  loop.Post(add(1));
  loop.Post(add(2));
  ASSERT_TRUE(all.Wait());
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 4, 5}));
  EXPECT_GE(loop.Now() - now, absl::Milliseconds(60));
  EXPECT_FALSE(loop.Runs());
}

TEST(LoopTest, StopWaitsForTheRunningTaskAndDropsTheOthers) {
  Loop loop("test", base::RealClock());
  Countdown begun(1);
  std::atomic<bool> may_end{false};
  std::atomic<bool> ended{false};
  std::atomic<int> late{0};
  loop.Post([&] {
    begun.Down();
    while (!may_end) std::this_thread::yield();
    ended = true;
  });
  loop.Post([&] { ++late; });
  loop.At(loop.Now() + absl::Hours(1), [&] { ++late; });
  ASSERT_TRUE(begun.Wait());
  std::thread release([&] {
    // Until it takes no more: it is being stopped. What it took is held until that is over.
    bool is_taken = true;
    while (is_taken) {
      const auto held = std::make_shared<int>();
      loop.Post([&late, held] { ++late; });
      is_taken = held.use_count() > 1;
      std::this_thread::yield();
    }
    may_end = true;
  });
  loop.Stop();
  EXPECT_TRUE(ended);
  EXPECT_EQ(late, 0);
  release.join();
}

TEST(LoopTest, MayBeDestroyedByItsOwnTask) {
  Countdown destroyed(1);
  auto loop =
      std::make_shared<std::unique_ptr<Loop>>(std::make_unique<Loop>("test", base::RealClock()));
  (*loop)->Post([loop, &destroyed] {
    EXPECT_TRUE((*loop)->Runs());
    *loop = nullptr;
    destroyed.Down();
  });
  EXPECT_TRUE(destroyed.Wait());
}

}  // namespace
}  // namespace muster::client
