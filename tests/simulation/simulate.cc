// simulate: random histories against the model. Exit status 1 when something is wrong; the line
// says which seed.
//
//   simulate --seeds 1000 [--from 1]   that many histories; prints what happened in them
//   simulate --seed 7 [-v]             one history; -v prints its steps
//   simulate --self-test               plants defects: each has to be noticed
#include <cstdint>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "base/log.h"
#include "base/text.h"
#include "tests/simulation/history.h"

namespace muster::simulation {
namespace {

// Whoever simulates much and never saw these has not looked.
constexpr const char* kExpected[] = {"clean restarts",
                                     "deregistrations",
                                     "expiries",
                                     "expiries given back",
                                     "freezes",
                                     "full queues",
                                     "held",
                                     "heartbeats RENEWED",
                                     "heartbeats STALE",
                                     "heartbeats UNKNOWN",
                                     "heartbeats LOADING",
                                     "no-ops",
                                     "power cuts",
                                     "prunings",
                                     "refused ALREADY_EXISTS",
                                     "refused LIMIT_INSTANCES",
                                     "refused PRECONDITION_FAILED",
                                     "refused STALE_INCARNATION",
                                     "refused SUPERSEDED",
                                     "registrations",
                                     "reports",
                                     "restores",
                                     "services forgotten",
                                     "unknown outcomes",
                                     "watch resets TOO_OLD",
                                     "watch resets EPOCH_CHANGED",
                                     "watch resumes",
                                     "wipes",
                                     "writes found after a failure"};
constexpr uint64_t kMany = 500;

struct Arguments {
  uint64_t seeds = 1;
  uint64_t from = 1;
  bool verbose = false;
  bool self_test = false;
};

// Nothing: wrong usage. One of --seed and --from, since both say where to begin.
std::optional<Arguments> Parse(const std::vector<std::string_view>& words) {
  Arguments out;
  int beginnings = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    const auto number = [&](uint64_t* to) {
      return i + 1 < words.size() && absl::SimpleAtoi(base::Av(words[++i]), to);
    };
    if (words[i] == "--seed" || words[i] == "--from") ++beginnings;
    if (words[i] == "-v") {
      out.verbose = true;
    } else if (words[i] == "--self-test") {
      out.self_test = true;
    } else if (words[i] == "--seeds"
                   ? !number(&out.seeds)
                   : (words[i] != "--seed" && words[i] != "--from") || !number(&out.from)) {
      return std::nullopt;
    }
  }
  if (beginnings > 1) return std::nullopt;
  return out;
}

int RunMany(const Arguments& arguments) {
  Tally all;
  for (uint64_t seed = arguments.from; seed < arguments.from + arguments.seeds; ++seed) {
    HistoryOptions options;
    options.seed = seed;
    if (arguments.verbose) {
      options.print = [](const std::string& step) { std::cout << step << "\n"; };
    }
    History history(options);
    const std::string wrong = history.Run();
    for (const auto& [what, count] : history.tally()) all[what] += count;
    if (wrong.empty()) continue;
    std::cout << "seed " << seed << ": " << base::EscapeForTerminal(wrong)
              << "\nagain: ./dev simulate --seed " << seed << " -v" << std::endl;
    return 1;
  }
  for (const auto& [what, count] : all) std::cout << count << "\t" << what << "\n";
  int missing = 0;
  for (const char* what : kExpected) {
    if (arguments.seeds < kMany || all.contains(what)) continue;
    std::cout << "never happened: " << what << "\n";
    missing = 1;
  }
  std::cout << arguments.seeds << " histories from seed " << arguments.from << ": nothing wrong"
            << std::endl;
  return missing;
}

int SelfTest() {
  int missed = 0;
  for (int i = 1; i < kSabotages; ++i) {
    const auto sabotage = static_cast<Sabotage>(i);
    uint64_t seed = 1;
    std::string wrong;
    for (; wrong.empty() && seed <= 50; ++seed) {
      HistoryOptions options;
      options.seed = seed;
      options.sabotage = sabotage;
      wrong = History(options).Run();
    }
    missed += wrong.empty() ? 1 : 0;
    std::cout << NameOf(sabotage) << ": "
              << (wrong.empty() ? "not noticed" : base::EscapeForTerminal(wrong)) << std::endl;
  }
  return missed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace muster::simulation

int main(int argc, char** argv) {
  using muster::simulation::Arguments;
  muster::base::SetLogSink([](auto, auto, auto) {});
  const auto arguments = muster::simulation::Parse({argv + 1, argv + argc});
  if (!arguments) {
    std::cerr << "simulate [--seeds N] [--from S | --seed S] [-v] | --self-test" << std::endl;
    return 2;
  }
  return arguments->self_test ? muster::simulation::SelfTest()
                              : muster::simulation::RunMany(*arguments);
}
