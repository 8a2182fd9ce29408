// Calls of real services that go on until they are stopped, counted by who answered.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "muster/client/client.h"
#include "tests/support/process.h"

namespace muster::test {

// Connects, and reads who it is. The socket is closed hard, so that ports aren't used up.
inline absl::StatusOr<std::string> Ask(const client::Endpoint& endpoint, absl::Duration timeout) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const linger hard{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(endpoint.address.port);
  inet_pton(AF_INET, endpoint.address.host.c_str(), &at.sin_addr);
  const auto finish = [fd](absl::StatusOr<std::string> answer) {
    close(fd);
    return answer;
  };
  if (connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 && errno != EINPROGRESS) {
    return finish(absl::UnavailableError("can't connect"));
  }
  pollfd readable{fd, POLLIN, 0};
  if (poll(&readable, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) <= 0) {
    return finish(absl::DeadlineExceededError("no answer"));
  }
  char buffer[64];
  const ssize_t got = read(fd, buffer, sizeof buffer);
  if (got <= 1) return finish(absl::UnavailableError("connection lost"));
  return finish(std::string(buffer, static_cast<size_t>(got - 1)));
}

// So many calls a second by four threads, until it ends.
class Calling {
 public:
  Calling(const client::Caller& caller, int per_second) : caller_(caller) {
    for (int t = 0; t < kThreads; ++t) {
      threads_.emplace_back([this, pause = absl::Seconds(1) / per_second * kThreads] {
        for (absl::Time next = Now(); !stop_; next += pause) {
          absl::SleepFor(next - Now());
          Call();
        }
      });
    }
  }
  ~Calling() { Stop(); }
  void Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

  int calls() const { return calls_; }
  // The statuses of those that failed.
  std::vector<std::string> failed() const {
    base::MutexLock lock(mu_);
    return failed_;
  }
  // Attempts that went to it so far.
  int attempts(const std::string& id) const {
    base::MutexLock lock(mu_);
    const auto found = attempts_.find(id);
    return found == attempts_.end() ? 0 : found->second;
  }
  int answers(const std::string& id) const {
    base::MutexLock lock(mu_);
    const auto found = answers_.find(id);
    return found == answers_.end() ? 0 : found->second;
  }
  // By who answered.
  std::map<std::string, int> answers() const {
    base::MutexLock lock(mu_);
    return answers_;
  }

 private:
  static constexpr int kThreads = 4;

  void Call() {
    const absl::Status status = caller_.Call([this](const client::Attempt& attempt) {
      Note(&attempts_, attempt.endpoint.id);
      const auto answer = Ask(attempt.endpoint, attempt.timeout);
      if (answer.ok()) Note(&answers_, *answer);
      return answer.status();
    });
    ++calls_;
    if (status.ok()) return;
    base::MutexLock lock(mu_);
    failed_.push_back(status.ToString());
  }
  void Note(std::map<std::string, int>* counts, const std::string& id) {
    base::MutexLock lock(mu_);
    ++(*counts)[id];
  }

  const client::Caller caller_;
  std::atomic<bool> stop_{false};
  std::atomic<int> calls_{0};
  mutable base::Mutex mu_;
  std::map<std::string, int> attempts_ MUSTER_GUARDED_BY(mu_);
  std::map<std::string, int> answers_ MUSTER_GUARDED_BY(mu_);
  std::vector<std::string> failed_ MUSTER_GUARDED_BY(mu_);
  std::vector<std::thread> threads_;
};

}  // namespace muster::test
