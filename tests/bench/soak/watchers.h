// Watch streams that are open all the time, a part of them anew now and then.
//
//   Watchers watchers(address, {.streams = 20, .services_each = 100, .services = 2'000});
//   watchers.Reopen(5);
//   watchers.messages();
//
// One thread for each stream. Thread safety: one thread uses it. Errors: status() tells the first
// stream that ended by itself.
#pragma once

#include <grpcpp/channel.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace muster::bench {

struct WatcherOptions {
  size_t streams = 20;
  size_t services_each = 100;
  size_t services = 2'000;  // those of the fixture
};

class Watchers {
 public:
  Watchers(const std::string& address, const WatcherOptions& options);
  ~Watchers();
  Watchers(const Watchers&) = delete;

  // Ends the `count` streams that are open longest, and opens as many.
  void Reopen(size_t count);
  // What all of them were sent so far.
  uint64_t messages() const { return messages_.load(); }
  absl::Status status() const;

 private:
  class Stream;
  void Open();

  const WatcherOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  std::atomic<uint64_t> messages_{0};
  std::atomic<uint64_t> broken_{0};
  uint64_t opened_ = 0;
  std::vector<std::unique_ptr<Stream>> streams_;  // the oldest first
};

}  // namespace muster::bench
