#include <algorithm>
#include <limits>
#include <memory>
#include <thread>

#include "baselines/compare.h"
#include "baselines/systems.h"
#include "cli/command.h"
#include "cli/planning.h"
#include "core/config_text.h"
#include "core/limits.h"
#include "core/names.h"
#include "data/lengths.h"
#include "infinipipe/base/error.h"
#include "infinipipe/sim/simulator.h"
#include "report/comparison.h"

namespace infinipipe::cli {
namespace {

struct Options {
  std::string lengths;
  std::optional<std::int64_t> batch;
  std::optional<std::int64_t> batches;
  std::int64_t step = 0;
  std::optional<std::int64_t> seed;
  std::string planners;
  std::string calibration;
  std::int64_t threads = 0;
  std::size_t gathers = 0;  // overlapped, waited
  std::string json;
  std::string html;
  ConfigFlags config;
};

std::vector<std::string> split_names(const std::string& list) {
  std::vector<std::string> names;
  std::size_t begin = 0;
  while (begin <= list.size()) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    if (end == begin) {
      throw InputError("--planners", "an empty name in '" + list + "'",
                       "expected names separated by commas");
    }
    names.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

std::vector<std::vector<Tokens>> sampled_batches(const Options& options, const TrainConfig& config,
                                                 const std::vector<Tokens>& lengths,
                                                 const Console& console) {
  std::vector<std::vector<Tokens>> batches;
  const std::int64_t count = options.batches.value_or(1);
  if (!options.batch && count > 1) {
    throw InputError("--batches", "found " + std::to_string(count) + " without --batch",
                     "expected --batch N, the sequences of each",
                     "without it the whole file is the one batch");
  }
  if (!options.batch) require_batch(lengths, options.lengths);
  for (std::int64_t b = 0; b < count; ++b) {
    batches.push_back(options.batch ? sample_lengths(lengths, static_cast<int>(*options.batch),
                                                     options.step + b,
                                                     options.seed.value_or(config.training.seed))
                                    : lengths);
  }
  std::int64_t cut = 0;
  for (std::vector<Tokens>& batch : batches) {
    for (Tokens& length : batch) {
      cut += length > config.data.max_sequence_length ? 1 : 0;
      length = std::min(length, config.data.max_sequence_length);
    }
  }
  if (cut > 0) {
    console.info(format_count(cut) + " sequences were cut off at " +
                 format_count(config.data.max_sequence_length) +
                 " tokens (data.max_sequence_length)");
  }
  return batches;
}

void run(const Options& options, Console& console) {
  require_text("command line: --lengths", options.lengths);  // the title has it
  CompareRequest request;
  if (!options.calibration.empty()) request.experiment = published_experiment(options.calibration);
  // The experiment's, unless the user or the profile says otherwise.
  PlanningInput input =
      planning_input(options.config, request.experiment ? request.experiment->layers
                                                        : ModelSpec{}.num_hidden_layers);
  TrainConfig& config = input.config;
  if (request.experiment && config.cluster.devices == 0) {
    config.cluster.devices = request.experiment->devices;
  }
  if (!options.planners.empty()) {
    request.planners = split_names(options.planners);
  } else if (request.experiment) {
    request.planners = request.experiment->planners;
  } else {
    request.planners = system_names();
  }
  SystemContext context = configured_cluster(input, options.config);
  context.overlap_gathers = options.gathers == 0;
  const std::vector<Tokens> lengths = read_lengths(options.lengths);
  if (request.experiment) {
    request.batches =
        published_batches(*request.experiment, lengths,
                          static_cast<int>(options.batch.value_or(request.experiment->batch)),
                          static_cast<int>(options.batches.value_or(request.experiment->batches)));
  } else {
    request.batches = sampled_batches(options, config, lengths, console);
  }
  request.threads = options.threads > 0
                        ? static_cast<int>(options.threads)
                        : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  request.progress = [&](const std::string& line) { console.progress(line); };
  Comparison comparison = compare_systems(context, request);
  console.end_progress();
  comparison.title = request.experiment ? "Calibration: " + request.experiment->source
                                        : "Systems on the batches of " + options.lengths;
  if (!options.html.empty()) write_html_comparison(options.html, comparison);
  if (!options.json.empty()) {
    write_output(console, options.json, comparison_to_json(comparison).dump(1) + "\n");
  }
  if (options.json == "-") return;
  if (!input.note.empty()) console.info(input.note);
  console.result(systems_table(comparison));
}

// The analytic systems that gather sharded states: "a, b".
std::string gathering() {
  std::vector<std::string> names;
  for (const SystemRow& row : systems()) {
    if (row.gathers) names.emplace_back(row.name);
  }
  return listed(names, ", ");
}

}  // namespace

Command compare_command() {
  return {
      "compare", "Planning", "the same batches under several systems", [](Flags& flags) -> Run {
        constexpr std::int64_t kMaxInt = std::numeric_limits<int>::max();
        auto options = std::make_shared<Options>();
        flags.section("Batches");
        flags.text("--lengths", "FILE", options->lengths, "a whole number a line")
            .reads()
            .required = true;
        flags.integer("--batch", "N", options->batch, 1,
                      "sequences of a batch, sampled as training would; else the whole file is the "
                      "batch",
                      kMostSequences);
        flags.integer("--batches", "M", options->batches, 1, "how many (default 1)", 10000);
        flags.integer("--step", "S", options->step, 0, "the first step that is sampled (default 0)",
                      kMaxInt / 2);
        flags.integer("--seed", "X", options->seed, 0, "of the sampler (default training.seed)");
        flags.section("Systems");
        flags.text("--planners", "A,B,..", options->planners,
                   "names of the list below, separated by commas (default all)");
        flags.text("--calibration", "NAME", options->calibration,
                   "lengths, systems and settings as in a published experiment: " +
                       listed(published_experiment_names()));
        flags.choice(
            "--gathers", {"overlapped", "waited"}, options->gathers,
            "ZeRO-3's gathers in " + gathering() +
                " and pipelines: hidden behind compute, or waited for (default overlapped)");
        flags.integer("--threads", "T", options->threads, 1,
                      "at work at once; the result does not depend on it (default: all cores)",
                      1024);
        flags.section("Output");
        flags
            .text("--json", "FILE", options->json,
                  "every batch and the summary; - is the standard output")
            .writes();
        flags.text("--html", "FILE", options->html, "table and figures as one page").writes();
        flags.list("Names for --planners", systems());
        flags.config(options->config,
                     {"model", "training", "parallelism", "memory", "planner", "cluster"});
        return [options](Console& console) { run(*options, console); };
      }};
}

}  // namespace infinipipe::cli
