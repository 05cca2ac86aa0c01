#include "cli/command.h"
#include "data/lengths.h"

namespace infinipipe::cli {
namespace {

struct Options {
  std::string model;
  std::int64_t count = 512;
  std::int64_t cap = 196608;
  std::int64_t seed = 1;
  std::string out = "-";
};

void run(const Options& options, Console& console) {
  const std::string all = " of " + format_count(options.count) + " lengths ";
  std::string text;
  for (const Tokens length : synthetic_lengths(
           length_model(options.model), options.count, options.cap, options.seed,
           [&](std::int64_t drawn) { console.progress(format_count(drawn) + all + "drawn"); })) {
    text += std::to_string(length) + "\n";
  }
  console.progress(format_count(options.count) + all + "drawn, being written");
  console.end_progress();
  write_output(console, options.out, text);
}

std::string model_list() {
  std::string list;
  for (const LengthModel& model : length_models()) {
    list += (list.empty() ? "" : ", ") + std::string(model.name);
  }
  return list;
}

}  // namespace

Command data_lengths_command() {
  return {"data lengths", "Data", "a batch of lengths like those of a known corpus",
          [](Flags& flags) -> Run {
            auto options = std::make_shared<Options>();
            flags.text("--model", "NAME", options->model, model_list()).required = true;
            flags.integer("--count", "N", options->count, 1, "how many (default 512)", 100'000'000);
            flags.integer("--cap", "TOKENS", options->cap, 1, "the longest (default 196,608)",
                          std::int64_t{1} << 40);
            flags.integer("--seed", "X", options->seed, 0,
                          "same seed, same lengths on any machine (default 1)");
            flags
                .text("--out", "FILE", options->out,
                      "a whole number a line, as plan --lengths reads it; - is the standard "
                      "output (default -)")
                .writes();
            return [options](Console& console) { run(*options, console); };
          }};
}

}  // namespace infinipipe::cli
