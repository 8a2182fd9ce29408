// What musterd looks for in no order stands in memory that asks for huge pages; the rest doesn't
// (docs/adr/0007-jemalloc.md). Built where musterd is linked to jemalloc.
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/scenario/bad_fields.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

struct Resident {
  uint64_t asks_kib = 0;  // mappings with the flag hg, of MADV_HUGEPAGE
  uint64_t all_kib = 0;
};

// Of /proc/PID/smaps (man 5 proc).
Resident ResidentOf(pid_t pid) {
  std::ifstream smaps("/proc/" + std::to_string(pid) + "/smaps");
  Resident out;
  uint64_t of_mapping = 0;
  for (std::string line; std::getline(smaps, line);) {
    std::istringstream words(line);
    std::string first;
    words >> first;
    if (first == "Rss:") {
      words >> of_mapping;
      out.all_kib += of_mapping;
    } else if (first == "VmFlags:" && (line + " ").find(" hg ") != std::string::npos) {
      out.asks_kib += of_mapping;
    }
  }
  return out;
}

void RegisterMany(Remote& remote, int count) {
  constexpr int kBatch = 500;
  for (int first = 0; first < count; first += kBatch) {
    v1::BatchRegisterRequest request;
    for (int i = first; i < first + kBatch; ++i) {
      *request.add_requests() = Good("web", std::to_string(i));
    }
    v1::BatchRegisterResponse response;
    grpc::ClientContext context;
    Remote::Prepare(context);
    const grpc::Status status = remote.registry->BatchRegister(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
}

TEST(HugePages, AreNotForLittle) {
  TempDir dir;
  Musterd server(dir.path("data"));
  Remote remote(server.address());
  ASSERT_NO_FATAL_FAILURE(RegisterMany(remote, 1000));
  EXPECT_EQ(ResidentOf(server.pid()).asks_kib, 0U);
}

TEST(HugePages, AreForLeases) {
  constexpr int kInstances = 200'000;
  constexpr uint64_t kSmallKib = 11 * 1024;  // stand in small pages
  // A lease takes more than 100 bytes, its instance three times as much elsewhere.
  constexpr uint64_t kAtLeastKib = kInstances * 100 / 1024 - kSmallKib;
  constexpr uint64_t kElsewhereKib = 3 * kInstances * 100 / 1024;
  TempDir dir;
  {
    Musterd server(dir.path("data"));
    Remote remote(server.address());
    ASSERT_NO_FATAL_FAILURE(RegisterMany(remote, kInstances));
    const Resident registered = ResidentOf(server.pid());
    EXPECT_GE(registered.asks_kib, kAtLeastKib);
    EXPECT_GE(registered.all_kib, registered.asks_kib + kElsewhereKib);
    EXPECT_EQ(server.Stop(), 0);
  }
  Musterd again(dir.path("data"));
  EXPECT_GE(ResidentOf(again.pid()).asks_kib, kAtLeastKib);
}

}  // namespace
}  // namespace muster::test
