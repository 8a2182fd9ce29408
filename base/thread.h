// A thread with a name and an owner: joined when destroyed.
#pragma once

#include <functional>
#include <string>
#include <thread>

namespace muster::base {

class NamedThread {
 public:
  NamedThread() = default;
  // The name shows in ps and perf: at most 15 bytes.
  NamedThread(std::string name, std::function<void()> body);
  NamedThread(NamedThread&&) noexcept = default;
  NamedThread& operator=(NamedThread&& other) noexcept;
  ~NamedThread() { Join(); }

  // Waits for the end. Idempotent.
  void Join();
  // Lets it end by itself: for one that can't be joined, since it is what gives up its owner.
  void Detach();
  bool joinable() const { return thread_.joinable(); }

 private:
  std::thread thread_;
};

}  // namespace muster::base
