#include "base/executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace muster::base {
namespace {

// Opens once; whoever waits goes on.
class Gate {
 public:
  void Open() {
    MutexLock lock(mu_);
    open_ = true;
    cv_.NotifyAll();
  }
  void Pass() {
    MutexLock lock(mu_);
    while (!open_) cv_.Wait(mu_);
  }

 private:
  Mutex mu_;
  CondVar cv_;
  bool open_ MUSTER_GUARDED_BY(mu_) = false;
};

TEST(SerialExecutorTest, RunsInOrderOnOneOtherThread) {
  std::vector<int> seen;
  std::vector<std::thread::id> threads;
  SerialExecutor executor("order");
  for (int i = 0; i < 1000; ++i) {
    executor.Post([&, i] {
      seen.push_back(i);
      threads.push_back(std::this_thread::get_id());
    });
  }
  executor.Stop();
  ASSERT_EQ(seen.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen[i], i);
  EXPECT_NE(threads.front(), std::this_thread::get_id());
  EXPECT_EQ(std::count(threads.begin(), threads.end(), threads.front()), 1000);
}

TEST(SerialExecutorTest, StopRunsWhatWasPostedAndRefusesTheRest) {
  Gate gate;
  int ran = 0;
  SerialExecutor executor("stop");
  executor.Post([&] { gate.Pass(); });
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(executor.Post([&] { ++ran; }));
  gate.Open();
  executor.Stop();
  EXPECT_EQ(ran, 10);
  EXPECT_FALSE(executor.Post([&] { ++ran; }));
  executor.Stop();
  EXPECT_EQ(ran, 10);
}

TEST(SerialExecutorTest, EveryConcurrentStopWaitsForTheTasks) {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> ran{0};
    SerialExecutor executor("stops");
    for (int i = 0; i < 100; ++i) executor.Post([&] { ++ran; });
    std::vector<NamedThread> stoppers;
    for (int i = 0; i < 4; ++i) {
      stoppers.emplace_back("stopper", [&] {
        executor.Stop();
        EXPECT_EQ(ran, 100);
      });
    }
  }
}

TEST(SerialExecutorTest, SizeCountsTheRunningTask) {
  Gate begun, gate, done;
  SerialExecutor executor("size");
  EXPECT_EQ(executor.size(), 0u);
  executor.Post([&] {
    begun.Open();
    gate.Pass();
  });
  begun.Pass();
  executor.Post([] {});
  EXPECT_EQ(executor.size(), 2u);
  gate.Open();
  executor.Stop();
  EXPECT_EQ(executor.size(), 0u);
}

TEST(SerialExecutorTest, ATaskMayPostAnother) {
  Gate done;
  SerialExecutor executor("nested");
  executor.Post([&] { EXPECT_TRUE(executor.Post([&] { done.Open(); })); });
  done.Pass();
}

TEST(SerialExecutorTest, CapturesEndWithTheirTask) {
  auto held = std::make_shared<int>(1);
  std::optional<long> uses;
  Gate gate;
  SerialExecutor executor("captures");
  executor.Post([&] { gate.Pass(); });
  executor.Post([held] {});
  executor.Post([&] { uses = held.use_count(); });
  gate.Open();
  executor.Stop();
  EXPECT_EQ(uses, 1);
}

TEST(SerialExecutorTest, TakesPostsFromManyThreads) {
  int ran = 0;
  SerialExecutor executor("many");
  {
    std::vector<NamedThread> posters;
    for (int t = 0; t < 4; ++t) {
      posters.emplace_back("poster", [&] {
        for (int i = 0; i < 500; ++i) executor.Post([&] { ++ran; });
      });
    }
  }
  executor.Stop();
  EXPECT_EQ(ran, 2000);
}

TEST(SerialExecutorTest, WhatATaskLeavesForItsEndRunsBeforeTheNext) {
  std::vector<std::string> seen;
  SerialExecutor executor("after");
  const auto task = [&seen](const std::string& name) {
    EXPECT_TRUE(SerialExecutor::RunsATask());
    SerialExecutor::AfterTask([&seen, name] {
      seen.push_back(name + " left first");
      SerialExecutor::AfterTask([&seen, name] { seen.push_back(name + " left by what was left"); });
    });
    SerialExecutor::AfterTask([&seen, name] { seen.push_back(name + " left second"); });
    seen.push_back(name);
  };
  EXPECT_FALSE(SerialExecutor::RunsATask());
  executor.Post([&] { task("a"); });
  executor.Post([&] { task("b"); });
  executor.Post([&] { seen.emplace_back("c"); });
  executor.Stop();
  EXPECT_EQ(seen, (std::vector<std::string>{
                      "a", "a left first", "a left second", "a left by what was left",  //
                      "b", "b left first", "b left second", "b left by what was left", "c"}));
}

}  // namespace
}  // namespace muster::base
