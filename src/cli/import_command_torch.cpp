#include <memory>

#include "cli/stop_signals.h"
#include "cli/training_torch.h"
#include "infinipipe/trainer/trainer.h"

namespace infinipipe::cli {
namespace {

struct Options {
  ImportOptions import;
  ConfigFlags config;
};

void run(Options& options, Console& console) {
  options.import.configure = [&config = options.config](TrainConfig base) {
    return config.resolve(std::move(base));
  };
  options.import.log = [&console](const std::string& line) { console.progress(line); };
  options.import.warn = [&console](const std::string& line) { console.warn(line); };
  options.import.stop = &stop_flag();
  handle_stop_signals();
  const ImportResult result = import_model(options.import);
  console.end_progress();
  if (!result.changes.empty()) console.info("changed " + result.changes);
  if (console.quiet()) return;
  console.result(result.checkpoint + ": " + to_string(result.model.family) + ", " +
                 format_count(result.model.parameters()) + " parameters in " + result.dtype +
                 "; train it with --resume --checkpoint.path " + options.import.out + "\n");
}

}  // namespace

Command import_command() {
  return {"import", "Models", "a Hugging Face folder to a checkpoint", [](Flags& flags) -> Run {
            auto options = std::make_shared<Options>();
            flags.argument("HF_DIR", options->import.folder,
                           "folder with config.json and safetensors");
            flags
                .text("--out", "CKPT", options->import.out,
                      "folder of checkpoints; step 0 is made in it")
                .writes({"/latest"})
                .required = true;
            flags.config(options->config, {"model", "data"});
            return [options](Console& console) { run(*options, console); };
          }};
}

}  // namespace infinipipe::cli
