// The entry of one libFuzzer program; MUSTER_FUZZ_TARGET is the name of its target.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/log.h"
#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const target = [] {
    muster::base::SetLogSink([](auto, auto, auto) {});
    for (const muster::fuzz::Target& one : muster::fuzz::kTargets) {
      if (std::string_view(one.name) == MUSTER_FUZZ_TARGET) return &one;
    }
    std::abort();
  }();
  target->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
