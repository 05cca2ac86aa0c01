#include <memory>
#include <utility>

#include "base/file.h"
#include "cli/over_ranks_torch.h"
#include "cli/training_torch.h"
#include "infinipipe/base/error.h"
#include "infinipipe/trainer/trainer.h"

namespace infinipipe::cli {
namespace {

struct Options {
  GenerateOptions generate;
  ConfigFlags config;
  std::int64_t tokens = 200;
  std::string prompt_file;
};

void run(Options& options, Console& console) {
  options.generate.tokens = static_cast<int>(options.tokens);
  if (!options.prompt_file.empty()) {
    if (!options.generate.prompt.empty()) {
      throw InputError("command line", "found both --prompt and --prompt-file",
                       "expected one of them");
    }
    options.generate.prompt = read_file(options.prompt_file, std::size_t{1} << 28);
  }
  options.generate.configure = [&config = options.config](TrainConfig base) {
    return config.resolve(std::move(base));
  };
  bool begun = false;  // what is refused prints nothing but its error
  const auto begin = [&] {
    if (!std::exchange(begun, true)) console.result(options.generate.prompt);
  };
  options.generate.on_text = [&](const std::string& piece) {
    begin();
    console.result(piece);
  };
  options.generate.loaded = [&console](const std::string& line) { console.note(line); };
  options.generate.warn = [&console](const std::string& line) { console.warn(line); };
  generate(options.generate);
  begin();
  console.result("\n");
}

}  // namespace

Command generate_command() {
  return {"generate", "Training", "text from a checkpoint", [](Flags& flags) -> Run {
            auto options = std::make_shared<Options>();
            flags
                .text("--checkpoint", "DIR", options->generate.checkpoint,
                      "a checkpoint, or a folder of them: the newest whole one")
                .required = true;
            flags.text("--prompt", "TEXT", options->generate.prompt, "what the text begins with");
            flags
                .text("--prompt-file", "FILE", options->prompt_file,
                      "the same from a file, as it stands")
                .reads();
            flags.integer("--tokens", "N", options->tokens, 0, "at most so many new tokens (200)",
                          1 << 30);
            flags.number("--temperature", "T", options->generate.temperature, 0.0, 1e6,
                         "0 takes the likeliest token (0.8)");
            flags.number("--top-p", "P", options->generate.top_p, 1e-9, 1.0,
                         "draw from the likeliest tokens that hold this probability (0.95)");
            flags.integer("--seed", "S", options->generate.seed, 0, "of the draw (1)");
            flags.config(options->config, {"runtime"});
            return [options](Console& console) {
              over_ranks(
                  console, [&] { return options->config.apply(); },
                  [&](Ranks* ranks, const Launch*) {
                    options->generate.ranks = ranks;
                    run(*options, console);
                  });
            };
          }};
}

}  // namespace infinipipe::cli
