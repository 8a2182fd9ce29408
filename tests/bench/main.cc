// muster_bench [NAME…]: runs workloads and judges them. Exit 0: nothing fell short; 1: something
// did; 2: a workload could not be run.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "tests/bench/order.h"
#include "tests/bench/report.h"
#include "tests/bench/workload.h"

namespace muster::bench {
namespace {

struct Arguments {
  std::vector<std::string> names;
  Options options;
  std::string json;
  bool list = false;
};

void Print(int round, const std::string& contestant, const Readings& readings) {
  std::cerr << "round " << round + 1 << ", " << contestant << ":";
  for (const auto& [name, value] : readings) std::cerr << " " << name << "=" << value;
  std::cerr << "\n";
}

absl::Status Round(const Plan& plan, int round, bool verbose, Samples* samples) {
  for (const size_t place : OrderOf(round, plan.contestants.size())) {
    const Contestant& contestant = plan.contestants[place];
    auto readings = contestant.round();
    if (!readings.ok()) {
      return {readings.status().code(), contestant.name + ": " + readings.status().ToString()};
    }
    if (samples == nullptr) continue;
    if (verbose) Print(round, contestant.name, *readings);
    (*samples)[contestant.name].push_back(*std::move(readings));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Row>> RunWorkload(const std::string& name, const Options& options) {
  const auto plan = Workloads().at(name).plan(options);
  if (!plan.ok()) return plan.status();
  const int rounds =
      plan->most_rounds > 0 ? std::min(options.rounds, plan->most_rounds) : options.rounds;
  Samples samples;
  if (plan->warm_up) {
    if (absl::Status status = Round(*plan, 0, false, nullptr); !status.ok()) return status;
  }
  for (int round = 0; round < rounds; ++round) {
    if (absl::Status status = Round(*plan, round, options.verbose, &samples); !status.ok()) {
      return status;
    }
  }
  std::vector<Row> rows;
  for (const Comparison& comparison : plan->comparisons) {
    auto row = Evaluate(name, comparison, samples);
    if (!row.ok()) return row.status();
    rows.push_back(*std::move(row));
  }
  return rows;
}

// False: a name that is none.
bool ChooseNames(Arguments& arguments) {
  if (arguments.names.empty()) {
    for (const auto& [name, workload] : Workloads()) arguments.names.push_back(name);
  }
  for (const std::string& name : arguments.names) {
    if (Workloads().contains(name)) continue;
    std::cerr << "muster_bench: no workload \"" << name << "\"; --list shows them\n";
    return false;
  }
  return true;
}

int Run(Arguments arguments) {
  if (arguments.list) {
    for (const auto& [name, workload] : Workloads()) {
      std::cout << name << "\t" << workload.about << "\n";
    }
    return 0;
  }
  if (!ChooseNames(arguments)) return 2;
  std::vector<Row> all;
  bool failed = false;
  for (const std::string& name : arguments.names) {
    auto rows = RunWorkload(name, arguments.options);
    if (!rows.ok()) {
      std::cerr << "muster_bench: " << name << ": " << rows.status() << "\n";
      failed = true;
      continue;
    }
    if (arguments.options.quick) {
      for (Row& row : *rows) row.verdict = Verdict::kNoGoal;
    }
    WriteTable(std::cout, *rows);
    all.insert(all.end(), rows->begin(), rows->end());
  }
  if (!arguments.json.empty() && !(std::ofstream(arguments.json) << ToJson(all))) {
    std::cerr << "muster_bench: " << arguments.json << " can't be written\n";
    failed = true;
  }
  if (failed) return 2;
  const bool fell_short = std::any_of(
      all.begin(), all.end(), [](const Row& row) { return row.verdict == Verdict::kShort; });
  return fell_short ? 1 : 0;
}

int Main(int argc, char** argv) {
  Arguments arguments;
  double seconds = 1;
  CLI::App app("Compares muster with yardsticks. Exit 1: something fell short of its goal.",
               "muster_bench");
  app.add_option("NAME", arguments.names, "Workloads; none = all");
  const auto* rounds =
      app.add_option("--rounds", arguments.options.rounds, "Rounds of each contestant")
          ->check(CLI::Range(1, 1000))
          ->capture_default_str();
  const auto* length = app.add_option("--seconds", seconds, "Length of a round")
                           ->check(CLI::Range(0.05, 60.0))
                           ->capture_default_str();
  app.add_option("--json", arguments.json, "Also writes the results to this file");
  app.add_flag("--list", arguments.list, "Names the workloads and ends");
  app.add_flag("--quick", arguments.options.quick,
               "Small, and one round of 0.1 s unless said otherwise: proves that it works, judges "
               "nothing");
  app.add_flag("-v,--verbose", arguments.options.verbose, "Also prints each round, on stderr");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (arguments.options.quick && rounds->count() == 0) arguments.options.rounds = 1;
  if (arguments.options.quick && length->count() == 0) seconds = 0.1;
  arguments.options.round = absl::Seconds(seconds);
  return Run(std::move(arguments));
}

}  // namespace

std::map<std::string, Workload>& Workloads() {
  static std::map<std::string, Workload> workloads;
  return workloads;
}

}  // namespace muster::bench

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as musterd
  return muster::bench::Main(argc, argv);
}
