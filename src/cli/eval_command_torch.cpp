#include <memory>
#include <nlohmann/json.hpp>

#include "cli/over_ranks_torch.h"
#include "cli/training_torch.h"
#include "core/config_text.h"
#include "infinipipe/base/json.h"
#include "infinipipe/trainer/trainer.h"
#include "report/needle.h"
#include "report/positions.h"

namespace infinipipe::cli {
namespace {

struct Options {
  bool by_position = false;
  std::string picture;
  bool needle = false;
  std::int64_t needle_grid = 10;
  std::int64_t needle_trials = 1;
  std::string needle_picture;
  std::vector<std::string> beside;
  EvalOptions eval;
  ConfigFlags config;
  std::optional<std::int64_t> stages;
  std::string json;
};

void run(Options& options, Console& console) {
  require_text("command line: --checkpoint", options.eval.checkpoint);  // the JSON has it
  if (options.stages) options.eval.stages = static_cast<int>(*options.stages);
  options.eval.configure = [&config = options.config](TrainConfig base) {
    if (config.given("parallelism.stages")) base.parallelism.layers_per_stage.reset();
    return config.resolve(std::move(base));
  };
  if (options.needle || !options.needle_picture.empty()) {
    options.eval.needle_grid = static_cast<int>(options.needle_grid);
    options.eval.needle_trials = static_cast<int>(options.needle_trials);
  }
  options.eval.log = [&console](const std::string& line) { console.progress(line); };
  options.eval.loaded = [&console](const std::string& line) { console.note(line); };
  options.eval.warn = [&console](const std::string& line) { console.warn(line); };
  std::vector<PositionCurve> curves;  // read first: an evaluation may take hours
  for (const std::string& file : options.beside) curves.push_back(read_position_curve(file));
  const EvalResult result = evaluate(options.eval);
  console.end_progress();
  curves.push_back({result.checkpoint, result.by_position});
  if (!options.picture.empty()) {
    write_output(console, options.picture, position_page(curves));
  }
  if (!options.needle_picture.empty()) {
    write_output(console, options.needle_picture, needle_page(*result.needle, result.checkpoint));
  }
  if (!options.json.empty()) {
    nlohmann::ordered_json json = {{"loss", result.loss},
                                   {"perplexity", result.perplexity},
                                   {"targets", result.targets},
                                   {"tokens", result.tokens},
                                   {"sequences", result.sequences},
                                   {"seconds", result.seconds},
                                   {"checkpoint", result.checkpoint},
                                   {"step", result.next_step},
                                   {"by_position", positions_json(result.by_position)}};
    if (result.needle) json["needle"] = needle_json(*result.needle);
    write_output(console, options.json, json.dump() + "\n");
    if (options.json == "-") return;
  }
  if (options.by_position) console.result(position_table(curves));
  if (options.needle) console.result(needle_table(*result.needle));
  console.result("loss " + std::to_string(result.loss) + "  perplexity " +
                 std::to_string(result.perplexity) + "  " + format_count(result.tokens) +
                 " tokens in " + format_count(result.sequences) + " documents, " +
                 format_seconds(result.seconds) + "\n");
}

}  // namespace

Command eval_command() {
  return {"eval", "Training", "loss and perplexity of a checkpoint on a data set",
          [](Flags& flags) -> Run {
            auto options = std::make_shared<Options>();
            flags
                .text("--checkpoint", "DIR", options->eval.checkpoint,
                      "a checkpoint, or a folder of them: the newest whole one")
                .required = true;
            flags
                .text("--data", "PREFIX", options->eval.data,
                      "data set (default: the one it was trained on)")
                .reads({".bin", ".idx", ".weights"});
            flags.integer(
                "--sequences", "N", options->eval.sequences, 1,
                "documents, or parts of split ones, from the first one on (default: all)");
            flags.integer("--stages", "N", options->stages, 1,
                          "pipeline stages (default: the checkpoint's)", 4096);
            flags
                .text("--logits", "FILE", options->eval.logits,
                      "also write each document's logits here, as safetensors; for few documents")
                .writes();
            flags.text("--json", "FILE", options->json, "also write the result here; - is stdout")
                .writes();
            flags.toggle("--by-position", options->by_position,
                         "also print the loss by position in the document, in powers of two");
            flags
                .text("--picture", "FILE", options->picture,
                      "draw the loss by position here: a page, as HTML")
                .writes();
            flags.toggle("--needle", options->needle,
                         "also the passkey test: how likely the model finds a number that a long "
                         "text of the data names once, by length and depth");
            flags.integer("--needle-grid", "N", options->needle_grid, 1,
                          "so many lengths, up to data.max_sequence_length, and depths (default "
                          "10)",
                          100);
            flags.integer("--needle-trials", "N", options->needle_trials, 1,
                          "numbers for each length and depth (default 1)", 1000);
            flags
                .text("--needle-picture", "FILE", options->needle_picture,
                      "draw the passkey test here: a heat map, as HTML")
                .writes();
            flags
                .texts("--beside", "FILE", options->beside,
                       "what an earlier eval --json wrote: another curve in picture and table; may "
                       "be given again")
                .reads();
            flags.config(options->config,
                         {"data", "parallelism", "memory", "planner", "cluster", "runtime"});
            return [options](Console& console) {
              over_ranks(
                  console, [&] { return options->config.apply(); },
                  [&](Ranks* ranks, const Launch*) {
                    options->eval.ranks = ranks;
                    run(*options, console);
                  });
            };
          }};
}

}  // namespace infinipipe::cli
