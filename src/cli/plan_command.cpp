#include <algorithm>
#include <limits>
#include <memory>

#include "cli/command.h"
#include "cli/planning.h"
#include "cli/still_working.h"
#include "core/head_shares.h"
#include "core/limits.h"
#include "data/lengths.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/report/plan_text.h"
#include "planner/parallel_choice.h"
#include "planner/planners.h"
#include "report/parallel_text.h"

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
  std::string profile_out;
  bool explain = false;
  bool choose = false;
  std::int64_t batches = 1;
  ConfigFlags config;
};

// A step's lengths, cut off at data.max_sequence_length if the user gave one.
std::vector<Tokens> batch_lengths(const Options& options, std::int64_t step,
                                  const TrainConfig& config, const Console& console) {
  std::vector<Tokens> lengths = read_lengths(options.lengths);
  if (options.batch) {
    lengths = sample_lengths(lengths, static_cast<int>(*options.batch), step,
                             options.seed.value_or(config.training.seed));
  }
  require_batch(lengths, options.lengths);
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

// The best layout for the cluster's devices, told in a table and written into the configuration.
void choose(const Options& options, PlanningInput& input, Console& console) {
  TrainConfig& config = input.config;
  for (const char* key : {"parallelism.stages", "parallelism.sequence_parallel",
                          "parallelism.data_parallel", "parallelism.layers_per_stage"}) {
    if (!options.config.given(key)) continue;
    throw InputError(std::string("command line: --") + key, "found it beside --auto",
                     "expected one of them", "--auto chooses the parallelism");
  }
  if (config.cluster.devices == 0) {
    throw InputError("cluster.devices", "not given", "expected how many devices --auto may use",
                     "--cluster.devices 32");
  }
  if (options.batches > 1 && !options.batch) {
    throw InputError("command line: --batches",
                     std::to_string(options.batches) + " without --batch", "expected --batch too",
                     "--batch 512 samples 512 sequences a step");
  }
  std::vector<std::vector<Tokens>> sample;
  for (std::int64_t i = 0; i < options.batches; ++i) {
    sample.push_back(batch_lengths(options, options.step + i, config, console));
  }
  const PlanContext context = plan_context(config, input.profile);
  const ParallelChoice choice = [&] {
    const StillWorking working(
        console, "choosing a layout for " + std::to_string(config.cluster.devices) + " devices");
    return choose_parallelism(context, config.cluster.devices, config.cluster.devices_per_node,
                              sample, configured_evaluator(context));
  }();
  if (!input.note.empty()) console.info(input.note);
  console.result(parallel_text(choice));
  if (!choice.found()) {
    std::string found =
        "no layout of " + std::to_string(config.cluster.devices) + " devices can run the sample";
    if (const ParallelOption* nearest = choice.nearest()) {
      found += "; " + to_string(nearest->parallelism) + " comes nearest, " +
               format_bytes(nearest->missing) + " are missing: " + nearest->note;
    }
    throw RunError("plan", found, "", "the table says what each lacks");
  }
  const Parallelism& best = choice.options.front().parallelism;
  config.parallelism = {.stages = best.stages,
                        .sequence_parallel = best.sequence_parallel,
                        .data_parallel = best.data_parallel,
                        .layers_per_stage = std::nullopt};
}

// Of a layout that the user chose.
void tell_notes(const PlanningInput& input, const Console& console) {
  if (!input.note.empty()) console.info(input.note);
  const std::string uneven =
      uneven_heads(input.profile.heads, input.config.parallelism.sequence_parallel);
  if (!uneven.empty()) {
    console.info(uneven +
                 "; instructions are timed as if they were even, the rest is outside them");
  }
}

void run(const Options& options, Console& console) {
  if (options.out.empty() && !options.explain && !options.choose) {
    throw InputError("command line", "neither --out nor --explain nor --auto",
                     "expected one of them", "--out plan.json writes the plan");
  }
  PlanningInput input = planning_input(options.config, ModelSpec{}.num_hidden_layers);
  const TrainConfig& config = input.config;
  if (!options.profile_out.empty()) {
    write_output(console, options.profile_out, profile_to_json(input.profile).dump(1) + "\n");
  }
  if (!options.planner.empty()) input.config.planner.name = options.planner;
  if (options.choose) {
    choose(options, input, console);
    if (options.out.empty() && !options.explain) return;
  }
  const std::vector<Tokens> lengths = batch_lengths(options, options.step, config, console);
  const auto planner = configured_planner(input);
  PlanRequest request;
  request.sequences = lengths;
  request.step = static_cast<int>(options.step);
  request.forward_only = options.evaluation;
  Plan plan = [&] {
    const StillWorking working(
        console,
        "planning " + format_count(static_cast<std::int64_t>(lengths.size())) + " sequences");
    return planner->plan(request);
  }();
  plan.predicted->step_overhead =
      outside_instructions(plan, input.profile, config.cluster.devices_per_node, console);
  if (options.explain) console.result(explain_plan(plan));
  if (!options.out.empty()) {
    write_plan(options.out, plan);
    console.info(options.out + ": " + plan_line(plan));
  }
  if (!options.choose) tell_notes(input, console);
}

}  // namespace

Command plan_command() {
  return {
      "plan", "Planning", "one batch's plan, from its sequences' lengths", [](Flags& flags) -> Run {
        constexpr std::int64_t kMaxInt = std::numeric_limits<int>::max();
        auto options = std::make_shared<Options>();
        flags.section("Batch");
        flags.text("--lengths", "FILE", options->lengths, "a whole number a line")
            .reads()
            .required = true;
        flags.integer("--batch", "N", options->batch, 1,
                      "sample N of the lengths as training would; else the whole file is the "
                      "batch",
                      kMostSequences);
        flags.integer("--step", "S", options->step, 0, "the step that is sampled (default 0)",
                      kMaxInt);
        flags.integer("--seed", "X", options->seed, 0, "of the sampler (default training.seed)");
        flags.toggle("--evaluation", options->evaluation, "forwards only");
        flags.section("Planning");
        flags.text("--planner", "NAME", options->planner,
                   "one of the list below; the same as --planner.name (default " +
                       std::string(kDefaultPlanner) + ")");
        flags.toggle("--auto", options->choose,
                     "choose stages, sequence and data parallelism for --cluster.devices, and show "
                     "how all layouts compare");
        flags.integer("--batches", "M", options->batches, 1,
                      "--auto looks at M steps from --step on (default 1; needs --batch)", 1000);
        flags.section("Output");
        flags.text("--out", "FILE", options->out, "plan.json").writes();
        flags
            .text("--profile-out", "FILE", options->profile_out,
                  "the profile that is planned with, for simulate and validate")
            .writes();
        flags.toggle("--explain", options->explain,
                     "print in words and tables what was cut, packed and recomputed");
        flags.list("Names for --planner", planners());
        flags.config(options->config,
                     {"model", "training", "parallelism", "memory", "planner", "cluster"});
        return [options](Console& console) { run(*options, console); };
      }};
}

}  // namespace infinipipe::cli
