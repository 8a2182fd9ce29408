#include "base/thread.h"

#include <pthread.h>

#include <utility>

namespace muster::base {
namespace {

// The kernel takes 15 bytes.
std::string Cut(std::string name) {
  if (name.size() > 15) name.resize(15);
  return name;
}

}  // namespace

NamedThread::NamedThread(std::string name, std::function<void()> body)
    : thread_([name = Cut(std::move(name)), body = std::move(body)] {
        pthread_setname_np(pthread_self(), name.c_str());
        body();
      }) {}

NamedThread& NamedThread::operator=(NamedThread&& other) noexcept {
  Join();
  thread_ = std::move(other.thread_);
  return *this;
}

void NamedThread::Join() {
  if (thread_.joinable()) thread_.join();
}

void NamedThread::Detach() {
  if (thread_.joinable()) thread_.detach();
}

}  // namespace muster::base
