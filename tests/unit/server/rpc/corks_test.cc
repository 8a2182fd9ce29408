// Two real TCP connections over loopback: what the client can read, and when.
#include "server/rpc/corks.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/executor.h"
#include "base/text.h"

namespace muster::rpc {
namespace {

// Both ends of a connection, without Nagle's algorithm, as the server's are.
class Connection {
 public:
  explicit Connection(int family = AF_INET) {
    const int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_storage address{};
    socklen_t size = Loopback(family, address);
    EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener, 1), 0);
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    client_ = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(client_, reinterpret_cast<sockaddr*>(&address), size), 0);
    server_ = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    close(listener);
    const int on = 1;
    setsockopt(server_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    getsockname(client_, reinterpret_cast<sockaddr*>(&address), &size);
    const int port = ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
    peer_ = family == AF_INET ? absl::StrCat("ipv4:127.0.0.1:", port)
                              : absl::StrCat("ipv6:%5B::1%5D:", port);
  }
  ~Connection() {
    close(client_);
    close(server_);
  }
  Connection(const Connection&) = delete;

  int server() const { return server_; }
  // As gRPC names the client.
  const std::string& peer() const { return peer_; }
  void Write(std::string_view text) const {
    EXPECT_EQ(write(server_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  // The system lets go of what it gathered after 200 ms, so that what arrives tells nothing.
  bool IsCorked() const {
    int on = 0;
    socklen_t size = sizeof(on);
    EXPECT_EQ(getsockopt(server_, IPPROTO_TCP, TCP_CORK, &on, &size), 0);
    return on != 0;
  }
  // Bytes that the server's end still keeps.
  int Kept() const {
    int bytes = 0;
    ioctl(server_, SIOCOUTQNSD, &bytes);
    return bytes;
  }
  // Bytes that can be read.
  int Arrived() const {
    int ready = 0;
    ioctl(client_, FIONREAD, &ready);
    return ready;
  }
  // What has arrived and was not read yet; waits for `least` bytes of it.
  std::string Read(size_t least = 0) const {
    std::string out;
    for (;;) {
      if (const int ready = Arrived(); ready > 0) {
        std::string more(static_cast<size_t>(ready), '\0');
        EXPECT_EQ(read(client_, more.data(), more.size()), ready);
        out += more;
      }
      if (out.size() >= least) return out;
      pollfd readable{client_, POLLIN, 0};
      if (poll(&readable, 1, 10'000) != 1) return absl::StrCat(base::Av(out), " and no more");
    }
  }

 private:
  static socklen_t Loopback(int family, sockaddr_storage& to) {
    to.ss_family = static_cast<sa_family_t>(family);
    if (family == AF_INET) {
      auto& v4 = reinterpret_cast<sockaddr_in&>(to);
      v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      return sizeof(v4);
    }
    auto& v6 = reinterpret_cast<sockaddr_in6&>(to);
    v6.sin6_addr = in6addr_loopback;
    return sizeof(v6);
  }

  int client_ = -1;
  int server_ = -1;
  std::string peer_;
};

class CorksTest : public testing::Test {
 protected:
  void Answer(const Connection& to, std::string_view text) const {
    BeforeReply(to);
    to.Write(text);
  }
  void BeforeReply(const Connection& to) const {
    corks_.BeforeReply([&] { return to.peer(); });
  }
  // As one task of an executor; returns when it is over.
  static void RunTask(std::function<void()> task) {
    base::SerialExecutor executor("corks");
    executor.Post(std::move(task));
    executor.Stop();
  }

  Corks corks_;
};

TEST_F(CorksTest, TheFirstLeavesAtOnceAndTheOthersTogetherAtTheEndOfTheTask) {
  const Connection connection;
  corks_.Add(connection.server());
  RunTask([&] {
    Answer(connection, "a");
    EXPECT_FALSE(connection.IsCorked());
    EXPECT_EQ(connection.Read(1), "a");
    Answer(connection, "b");
    Answer(connection, "c");
    EXPECT_TRUE(connection.IsCorked());
  });
  EXPECT_FALSE(connection.IsCorked());
  EXPECT_EQ(connection.Read(2), "bc");
}

TEST_F(CorksTest, EachConnectionIsGatheredForItself) {
  const Connection one;
  const Connection other(AF_INET6);
  corks_.Add(one.server());
  corks_.Add(other.server());
  RunTask([&] {
    for (const Connection* to : {&one, &other, &one}) Answer(*to, "x");
    EXPECT_TRUE(one.IsCorked());
    EXPECT_FALSE(other.IsCorked());
    Answer(other, "x");
    EXPECT_TRUE(other.IsCorked());
  });
  EXPECT_EQ(one.Read(2), "xx");
  EXPECT_EQ(other.Read(2), "xx");
  EXPECT_FALSE(one.IsCorked() || other.IsCorked());
}

TEST_F(CorksTest, NobodyWaitsForALongTask) {
  const Connection connection;
  corks_.Add(connection.server());
  RunTask([&] {
    for (size_t i = 0; i < Corks::kGathered; ++i) Answer(connection, "x");
    BeforeReply(connection);
    EXPECT_EQ(connection.Kept(), 0) << "sent";
    EXPECT_TRUE(connection.IsCorked()) << "again";
  });
  EXPECT_EQ(connection.Read(Corks::kGathered), std::string(Corks::kGathered, 'x'));
}

TEST_F(CorksTest, ATaskStartsAnew) {
  const Connection connection;
  corks_.Add(connection.server());
  base::SerialExecutor executor("corks");
  for (const char* text : {"a", "b"}) {
    executor.Post([&, text] {
      Answer(connection, text);
      EXPECT_FALSE(connection.IsCorked());
    });
  }
  executor.Stop();
}

TEST_F(CorksTest, NothingIsGatheredWhereNoTaskRunsOrNobodyIsKnown) {
  const Connection known;
  const Connection unknown;
  corks_.Add(known.server());
  for (int i = 0; i < 3; ++i) {
    Answer(known, "x");
    EXPECT_FALSE(known.IsCorked());
  }
  RunTask([&] {
    for (int i = 0; i < 3; ++i) {
      Answer(unknown, "x");
      EXPECT_FALSE(unknown.IsCorked());
    }
  });
}

TEST_F(CorksTest, ADescriptorMeansItsLastConnection) {
  const Connection later;
  {
    const Connection before;
    corks_.Add(before.server());
    // The next connection has the number of the one before.
    ASSERT_EQ(dup2(later.server(), before.server()), before.server());
    corks_.Add(before.server());
    RunTask([&] {
      for (int i = 0; i < 3; ++i) BeforeReply(before);
      EXPECT_FALSE(later.IsCorked()) << "for another's answers";
      for (int i = 0; i < 3; ++i) BeforeReply(later);
      EXPECT_TRUE(later.IsCorked());
    });
  }
  RunTask([&] {
    for (int i = 0; i < 3; ++i) Answer(later, "x");
    EXPECT_FALSE(later.IsCorked()) << "the descriptor is closed, and nothing comes of it";
  });
}

TEST_F(CorksTest, AConnectionThatIsGoneDoesNoHarm) {
  auto gone = std::make_unique<Connection>();
  const std::string peer = gone->peer();
  corks_.Add(gone->server());
  const int fd = gone->server();
  RunTask([&] {
    for (int i = 0; i < 3; ++i) corks_.BeforeReply([&] { return peer; });
    gone.reset();
  });
  corks_.Add(fd);
}

}  // namespace
}  // namespace muster::rpc
