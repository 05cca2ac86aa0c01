// What benchmarks of real training share: a configuration from a file and flags, and planners by
// name under a budget.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "infinipipe/base/error.h"
#include "infinipipe/core/config.h"
#include "trainer/paced_planner.h"
#include "trainer/profile.h"
#include "trainer/setup.h"

namespace infinipipe {

struct BenchArguments {
  TrainConfig config;
  std::map<std::string, std::string> own;  // flags of the benchmark itself, without "--"
};

// CONFIG.toml, then pairs of a flag and its value: the benchmark's own, given with their defaults,
// or a key of the configuration. Throws InputError.
inline BenchArguments bench_arguments(int count, char** arguments, const std::string& program,
                                      std::map<std::string, std::string> own) {
  if (count < 2 || arguments[1][0] == '-') {
    throw InputError(program, "no configuration", "expected CONFIG.toml as the first argument");
  }
  BenchArguments result{read_config(arguments[1]), std::move(own)};
  for (int i = 2; i < count; i += 2) {
    const std::string key = std::string(arguments[i]).substr(0, 2) == "--" ? arguments[i] + 2 : "";
    if (key.empty() || i + 1 == count) {
      throw InputError(program, std::string("found ") + arguments[i],
                       "expected a flag and its value");
    }
    if (result.own.contains(key)) {
      result.own[key] = arguments[i + 1];
    } else {
      set_config(result.config, key, arguments[i + 1], "command line");
    }
  }
  result.config.check();
  return result;
}

// The words between commas.
inline std::vector<std::string> words(const std::string& list) {
  std::vector<std::string> result;
  std::istringstream stream(list);
  for (std::string word; std::getline(stream, word, ',');) result.push_back(word);
  return result;
}

// A flag's numbers, each above 0. Throws InputError.
inline std::vector<double> positive_numbers(const BenchArguments& given, const std::string& program,
                                            const std::string& flag) {
  std::vector<double> result;
  for (const std::string& word : words(given.own.at(flag))) {
    result.push_back(std::atof(word.c_str()));
    if (!(result.back() > 0.0)) {
      throw InputError(program + ": " + flag, "found " + word, "expected numbers above 0");
    }
  }
  return result;
}

// The measured profile of this machine, with progress on the standard error.
inline Profile bench_profile(const TrainConfig& config) {
  return resolve_profile(
      config, [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); });
}

// As training would have it, with another name and limit; the layer split is the run's. A name may
// say what recomputed layers keep, "seq1f1b:attention", or a level that they may not: with "-"
// before it, the level's price is taken out of the profile.
inline std::unique_ptr<Planner> planner_at(PlanContext context,
                                           const std::vector<LayerRange>& stages,
                                           const std::string& name, Bytes budget) {
  const std::size_t colon = name.find(':');
  context.config.name = name.substr(0, colon);
  if (colon != std::string::npos) {
    const std::string keeps = name.substr(colon + 1);
    if (const auto level = keeps.starts_with('-') ? remade_level(keeps.substr(1)) : std::nullopt) {
      context.profile.remake[index_of(*level)].reset();
    } else {
      context.config.recompute_keeps = keeps;
    }
  }
  context.bytes_per_stage = budget;
  std::vector<int> layers;
  for (const LayerRange& range : stages) layers.push_back(range.count());
  context.layers_per_stage = layers;
  return make_paced_planner(context, true);
}

// Runs a benchmark's main; an error is one line and its exit code.
template <class Body>
int bench_main(const Body& body) {
  try {
    body();
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return error.exit_code();
  }
}

}  // namespace infinipipe
