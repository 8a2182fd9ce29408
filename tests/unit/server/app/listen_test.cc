#include "server/app/listen.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "absl/strings/str_cat.h"
#include "tests/unit/server/app/sockets.h"

namespace muster::app {
namespace {

using testing::HasSubstr;

constexpr absl::Duration kGiveUp = absl::Seconds(7);

bool HasIpv6() { return Listen({"::1", 0}, kGiveUp).ok(); }

int OptionOf(int fd, int level, int option) {
  int value = -1;
  socklen_t size = sizeof(value);
  getsockopt(fd, level, option, &value, &size);
  return value;
}

TEST(Listen, PicksAFreePortAndTakesConnectionsThere) {
  const auto sockets = Listen({"127.0.0.1", 0}, kGiveUp);
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_EQ(sockets->listeners.size(), 1u);
  EXPECT_GT(sockets->port, 0);
  EXPECT_GE(Connect("127.0.0.1", sockets->port).get(), 0);
  EXPECT_LT(Connect("127.0.0.2", sockets->port).get(), 0) << "only where it was told to";
}

TEST(Listen, ANameIsListenedOnAtAllOfItsAddressesOnOnePort) {
  const auto sockets = Listen({"localhost", 0}, kGiveUp);
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_GE(Connect("127.0.0.1", sockets->port).get(), 0);
  EXPECT_EQ(Connect("::1", sockets->port).get() >= 0, sockets->listeners.size() == 2);
}

TEST(Listen, AnIpv6AddressIsListenedOnAlone) {
  const auto sockets = Listen({"::1", 0}, kGiveUp);
  if (!sockets.ok()) {
    EXPECT_THAT(sockets.status().message(), HasSubstr("grpc_listen: can't listen on [::1]:0: ::1"));
    return;
  }
  EXPECT_GE(Connect("::1", sockets->port).get(), 0);
  EXPECT_LT(Connect("127.0.0.1", sockets->port).get(), 0);
}

TEST(Listen, EveryAddressMeansBothFamilies) {
  for (const char* host : {"0.0.0.0", "::", "::ffff:0.0.0.0"}) {
    const auto sockets = Listen({host, 0}, kGiveUp);
    ASSERT_TRUE(sockets.ok()) << sockets.status();
    EXPECT_GE(Connect("127.0.0.1", sockets->port).get(), 0) << host;
    EXPECT_EQ(Connect("::1", sockets->port).get() >= 0, HasIpv6()) << host;
  }
}

TEST(Listen, ATakenPortIsAnErrorThatNamesIt) {
  const auto first = Listen({"127.0.0.1", 0}, kGiveUp);
  ASSERT_TRUE(first.ok()) << first.status();
  for (const char* host : {"127.0.0.1", "localhost", "0.0.0.0", "::"}) {
    const auto second = Listen({host, first->port}, kGiveUp);
    EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable) << host;
    EXPECT_THAT(
        second.status().message(),
        HasSubstr(absl::StrCat("can't listen on ", base::FormatHostPort({host, first->port}),
                               ": Address already in use")));
  }
}

TEST(Listen, AnAddressOfAnotherMachineIsAnError) {
  // 192.0.2.0/24 belongs to nobody.
  EXPECT_THAT(Listen({"192.0.2.1", 0}, kGiveUp).status().message(),
              HasSubstr("can't listen on 192.0.2.1:0: 192.0.2.1: Cannot assign"));
  EXPECT_THAT(Listen({"no.such.host.invalid", 0}, kGiveUp).status().message(),
              HasSubstr("can't listen on no.such.host.invalid:0: "));
}

TEST(Listen, APortIsFreeAgainWhileItsConnectionsFadeAway) {
  auto sockets = Listen({"127.0.0.1", 0}, kGiveUp);
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  const OwnedFd client = Connect("127.0.0.1", sockets->port);
  pollfd ready{sockets->listeners[0].get(), POLLIN, 0};
  ASSERT_EQ(poll(&ready, 1, 10'000), 1);
  // The server closes first: its side of the connection stays in FIN_WAIT, then TIME_WAIT.
  OwnedFd(accept(sockets->listeners[0].get(), nullptr, nullptr));
  sockets->listeners.clear();
  EXPECT_TRUE(Listen({"127.0.0.1", sockets->port}, kGiveUp).ok());
}

TEST(Listen, AcceptedSocketsSendAtOnceAndGiveUpInTime) {
  for (const char* host : {"127.0.0.1", "0.0.0.0"}) {
    const auto sockets = Listen({host, 0}, kGiveUp);
    ASSERT_TRUE(sockets.ok()) << sockets.status();
    const int listener = sockets->listeners[0].get();
    EXPECT_EQ(fcntl(listener, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    EXPECT_EQ(fcntl(listener, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    EXPECT_EQ(OptionOf(listener, SOL_SOCKET, SO_REUSEPORT), 0);
    const OwnedFd client = Connect("127.0.0.1", sockets->port);
    pollfd ready{listener, POLLIN, 0};
    ASSERT_EQ(poll(&ready, 1, 10'000), 1);
    const OwnedFd accepted(accept(listener, nullptr, nullptr));
    EXPECT_EQ(OptionOf(accepted.get(), IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_EQ(OptionOf(accepted.get(), IPPROTO_TCP, TCP_USER_TIMEOUT), 7000);
  }
}

}  // namespace
}  // namespace muster::app
