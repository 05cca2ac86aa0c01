#include <algorithm>
#include <limits>

#include "cli/command.h"
#include "cli/planning.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/data/lengths.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/report/plan_text.h"

namespace infinipipe::cli {
namespace {

struct Options {
  std::string lengths;
  std::optional<std::int64_t> batch;
  std::int64_t step = 0;
  std::optional<std::int64_t> seed;
  bool evaluation = false;
  std::string planner;
  std::string out;
  bool explain = false;
  ConfigFlags config;
};

// The batch's lengths, cut off at data.max_sequence_length if the user gave one.
std::vector<Tokens> batch_lengths(const Options& options, const TrainConfig& config,
                                  const Console& console) {
  std::vector<Tokens> lengths = read_lengths(options.lengths);
  if (options.batch) {
    lengths = sample_lengths(lengths, static_cast<int>(*options.batch), options.step,
                             options.seed.value_or(config.training.seed));
  }
  const Tokens longest = config.data.max_sequence_length;
  std::int64_t cut = 0;
  for (Tokens& length : lengths) {
    cut += length > longest ? 1 : 0;
    length = std::min(length, longest);
  }
  if (cut > 0) {
    console.info(format_count(cut) + " sequences were cut off at " + format_count(longest) +
                 " tokens (data.max_sequence_length)");
  }
  return lengths;
}

void run(const Options& options, const Console& console) {
  if (options.out.empty() && !options.explain) {
    throw InputError("command line", "neither --out nor --explain", "expected one of them",
                     "--out plan.json writes the plan");
  }
  TrainConfig base;
  base.data.max_sequence_length = std::numeric_limits<Tokens>::max();
  TrainConfig config = options.config.resolve(base);
  if (!options.planner.empty()) config.planner.name = options.planner;
  const std::vector<Tokens> lengths = batch_lengths(options, config, console);
  const auto planner = configured_planner(config, configured_profile(config));
  PlanRequest request;
  request.sequences = lengths;
  request.step = static_cast<int>(options.step);
  request.forward_only = options.evaluation;
  const Plan plan = planner->plan(request);
  if (options.explain) console.result(explain_plan(plan));
  if (options.out.empty()) return;
  write_plan(options.out, plan);
  console.info(options.out + ": " + plan_line(plan));
}

std::string planner_list() {
  std::string list;
  for (const std::string& name : planner_names()) list += (list.empty() ? "" : ", ") + name;
  return list;
}

}  // namespace

Command plan_command() {
  return {
      "plan", "Planning", "one batch's plan, from its sequences' lengths", [](Flags& flags) -> Run {
        constexpr std::int64_t kMaxInt = std::numeric_limits<int>::max();
        auto options = std::make_shared<Options>();
        flags.section("Batch");
        flags.text("--lengths", "FILE", options->lengths, "a whole number a line").required = true;
        flags.integer("--batch", "N", options->batch, 1,
                      "sample N of the lengths as training would; else the whole file is the "
                      "batch",
                      kMaxInt);
        flags.integer("--step", "S", options->step, 0, "the step that is sampled (default 0)",
                      kMaxInt);
        flags.integer("--seed", "X", options->seed, 0, "of the sampler (default training.seed)");
        flags.toggle("--evaluation", options->evaluation, "forwards only");
        flags.section("Planning");
        flags.text("--planner", "NAME", options->planner,
                   planner_list() + "; the same as --planner.name");
        flags.section("Output");
        flags.text("--out", "FILE", options->out, "plan.json");
        flags.toggle("--explain", options->explain,
                     "print in words and tables what was cut, packed and recomputed");
        flags.config(options->config,
                     {"model", "training", "parallelism", "memory", "planner", "cluster"});
        return [options](Console& console) { run(*options, console); };
      }};
}

}  // namespace infinipipe::cli
