// What the fuzzers found worth keeping, run again by any compiler: every file of each corpus, its
// beginnings, and small changes of it from a fixed seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/rng.h"
#include "tests/fuzz/targets.h"

namespace muster::fuzz {
namespace {

constexpr int kChanges = 30;

class Replay : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    base::SetLogSink([](auto, auto, auto) {});
  }
  void TearDown() override { base::SetLogSink(nullptr); }
};

std::vector<std::string> CorpusOf(const std::string& name) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(MUSTER_CORPUS "/" + name)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> out;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    out.push_back(bytes.str());
  }
  return out;
}

std::string Changed(std::string bytes, base::Rng& rng) {
  for (uint64_t i = 1 + rng.Uniform(3); i > 0; --i) {
    if (bytes.empty()) return "\x01";
    const size_t at = rng.Uniform(bytes.size());
    switch (rng.Uniform(3)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << rng.Uniform(8)));
        break;
      case 1:
        bytes.erase(at, 1 + rng.Uniform(4));
        break;
      default:
        bytes.insert(at, 1, static_cast<char>(rng.Uniform(256)));
    }
  }
  return bytes;
}

TEST_P(Replay, EveryFileOfTheCorpusHolds) {
  const std::vector<std::string> corpus = CorpusOf(GetParam().name);
  ASSERT_GE(corpus.size(), 5u) << "a corpus of its own is kept for each target";
  base::SeededRng rng(1);
  GetParam().run("");
  for (const std::string& bytes : corpus) {
    GetParam().run(bytes);
    for (int i = 0; i < kChanges; ++i) {
      GetParam().run(std::string_view(bytes).substr(0, rng.Uniform(bytes.size() + 1)));
      GetParam().run(Changed(bytes, rng));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Replay, testing::ValuesIn(kTargets),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(ReplayDeathTest, APropertyThatDoesNotHoldIsNoticed) {
  EXPECT_DEATH(Require(false, "two is three"), "does not hold: two is three");
}

}  // namespace
}  // namespace muster::fuzz
