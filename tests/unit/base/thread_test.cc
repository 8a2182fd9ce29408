#include "base/thread.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <string>

namespace muster::base {
namespace {

std::string OwnName() {
  char name[16] = {};
  pthread_getname_np(pthread_self(), name, sizeof name);
  return name;
}

TEST(NamedThreadTest, BearsItsName) {
  std::string name;
  NamedThread("muster-strand", [&] { name = OwnName(); }).Join();
  EXPECT_EQ(name, "muster-strand");
}

TEST(NamedThreadTest, ALongNameIsCutNotLost) {
  std::string name;
  NamedThread("a-name-of-more-than-fifteen-bytes", [&] { name = OwnName(); }).Join();
  EXPECT_EQ(name, "a-name-of-more-");
}

TEST(NamedThreadTest, DestructionJoins) {
  std::atomic<bool> ran{false};
  {
    NamedThread thread("t", [&] { ran = true; });
  }
  EXPECT_TRUE(ran);
}

TEST(NamedThreadTest, JoinIsIdempotentAndAnEmptyOneMayBeJoined) {
  NamedThread empty;
  empty.Join();
  EXPECT_FALSE(empty.joinable());
  NamedThread thread("t", [] {});
  EXPECT_TRUE(thread.joinable());
  thread.Join();
  thread.Join();
  EXPECT_FALSE(thread.joinable());
}

TEST(NamedThreadTest, AssignmentJoinsTheOldOne) {
  std::atomic<int> ran{0};
  NamedThread thread("first", [&] { ++ran; });
  thread = NamedThread("second", [&] { ran += 10; });
  EXPECT_GE(ran, 1);
  thread.Join();
  EXPECT_EQ(ran, 11);
}

}  // namespace
}  // namespace muster::base
