#include "server/health/probe_descriptors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

namespace muster::health {
namespace {

TEST(OpenSocketTest, ItsNumberIsOneOfThoseThatItMayHave) {
  const ProbeDescriptors two{.first = 700, .end = 702};
  std::vector<int> open;
  for (int i = 0; i < 2; ++i) {
    open.push_back(OpenSocket(two, AF_INET));
    EXPECT_EQ(open.back(), 700 + i);
    EXPECT_EQ(fcntl(open.back(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  }
  const int lowest = dup(0);
  close(lowest);
  EXPECT_EQ(OpenSocket(two, AF_INET), -1);
  EXPECT_EQ(errno, EMFILE);
  const int after = dup(0);
  EXPECT_EQ(after, lowest) << "nothing stays open";
  close(after);
  for (const int fd : open) close(fd);
}

TEST(OpenSocketTest, WithoutLimitsItTakesTheLowest) {
  const int lowest = dup(0);
  close(lowest);
  const int fd = OpenSocket({}, AF_INET6);
  EXPECT_EQ(fd, lowest);
  close(fd);
}

TEST(ChannelRoomTest, AQuarterIsForThoseThatAreNotKept) {
  ChannelRoom room(4);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(room.Open({}));
  EXPECT_FALSE(room.Open({}));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(room.Keep());
  EXPECT_FALSE(room.Keep());
  room.LetGo();
  room.Close({});
  EXPECT_TRUE(room.Keep());
  EXPECT_TRUE(room.Open({}));
  EXPECT_FALSE(room.Open({}));
}

TEST(ChannelRoomTest, OneThatLingersHasItsPlace) {
  ChannelRoom room(1);
  ASSERT_TRUE(room.Open({}));
  room.Close({20'000'000});
  EXPECT_FALSE(room.Open({19'999'999}));
  EXPECT_TRUE(room.Open({20'000'000}));
}

}  // namespace
}  // namespace muster::health
