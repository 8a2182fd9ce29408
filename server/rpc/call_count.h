// CallCount: how many calls are under way, so that a stopping server waits for them and no longer.
//
// Thread safety: all members.
#pragma once

#include <atomic>
#include <cstdint>

namespace muster::rpc {

class CallCount {
 public:
  // One call, as long as it lives.
  class Call {
   public:
    explicit Call(CallCount& count) : count_(count) { count_.Begin(); }
    ~Call() { count_.End(); }
    Call(const Call&) = delete;

   private:
    CallCount& count_;
  };

  // One call, from the first to the second.
  void Begin() { calls_.fetch_add(1, std::memory_order_relaxed); }
  void End() { calls_.fetch_sub(1, std::memory_order_release); }

  uint64_t calls() const { return calls_.load(std::memory_order_acquire); }

 private:
  std::atomic<uint64_t> calls_{0};
};

}  // namespace muster::rpc
