// A small file system of its own, in memory, mounted in a mount namespace of this process: nobody
// else sees it, and it is gone with the process.
//
// Takes root. Where that is missing the program ends: as skipped (77), in CI as failed.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/process.h"

namespace muster::test {

[[noreturn]] inline void Skip(const std::string& why) {
  const char* ci = std::getenv("CI");
  std::cout << "SKIPPED: " << why << std::endl;
  std::_Exit(ci != nullptr && std::string(ci) == "true" ? 1 : 77);
}

class SmallDisk {
 public:
  explicit SmallDisk(uint64_t bytes) {
    // Once for the process; mounts from here on stay here.
    static const bool own = ::unshare(CLONE_NEWNS) == 0 &&
                            ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    if (!own) Skip(absl::StrCat("no mount namespace: ", std::strerror(errno)));
    if (::mount("tmpfs", path().c_str(), "tmpfs", 0, absl::StrCat("size=", bytes).c_str()) != 0) {
      Skip(absl::StrCat("no tmpfs: ", std::strerror(errno)));
    }
  }
  ~SmallDisk() { ::umount2(path().c_str(), MNT_DETACH); }
  SmallDisk(const SmallDisk&) = delete;

  std::string path(const std::string& name = "") const { return dir_.path(name); }

  uint64_t Free() const {
    struct statvfs stat;
    EXPECT_EQ(::statvfs(path().c_str(), &stat), 0);
    return static_cast<uint64_t>(stat.f_bavail) * stat.f_frsize;
  }
  // Somebody else uses all but `leave` bytes of what is free now.
  void Fill(uint64_t leave) {
    const int fd = ::open(path("others").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ASSERT_GE(fd, 0);
    const std::string bytes(64 << 10, 'x');
    for (uint64_t free = Free(); free > leave; free = Free()) {
      const ssize_t written =
          ::write(fd, bytes.data(), std::min<uint64_t>(bytes.size(), free - leave));
      if (written <= 0) break;
    }
    ::close(fd);
  }
  // And gives it back.
  void Empty() { ::unlink(path("others").c_str()); }
  void MakeReadOnly() {
    EXPECT_EQ(::mount("tmpfs", path().c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr), 0);
  }

 private:
  const TempDir dir_;
};

}  // namespace muster::test
