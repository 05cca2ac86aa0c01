#include <limits>
#include <memory>

#include "cli/stop_signals.h"
#include "cli/training_torch.h"
#include "infinipipe/trainer/trainer.h"

namespace infinipipe::cli {
namespace {

void run(ExportOptions& options, Console& console) {
  options.log = [&console](const std::string& line) { console.progress(line); };
  options.warn = [&console](const std::string& line) { console.warn(line); };
  options.stop = &stop_flag();
  handle_stop_signals();
  const ExportResult result = export_model(options);
  console.end_progress();
  if (!result.has_tokenizer) {
    console.note("no tokenizer came with the model: it was trained with data.tokenizer " +
                 result.tokenizer);
  }
  if (console.quiet()) return;
  console.result(options.out + ": " + result.checkpoint + " in " + result.dtype + ", " +
                 format_count(result.files) + (result.files == 1 ? " file" : " files") +
                 " of weights\n");
}

}  // namespace

Command export_command() {
  return {"export", "Models", "a checkpoint to a folder that transformers opens",
          [](Flags& flags) -> Run {
            auto options = std::make_shared<ExportOptions>();
            flags.argument("CKPT", options->checkpoint,
                           "a checkpoint, or a folder of them: the newest whole one");
            flags.text("--out", "HF_DIR", options->out, "the folder that is made; new or empty")
                .writes({"/config.json"})
                .required = true;
            flags.text("--dtype", "NAME", options->dtype,
                       "of the weights (default: what the model was imported in, else "
                       "training.dtype)");
            flags.number("--max-shard-size", "BYTES", options->max_shard_bytes, 1.0,
                         std::numeric_limits<double>::max(),
                         "most bytes of a file of weights (default 5e10)");
            return [options](Console& console) { run(*options, console); };
          }};
}

}  // namespace infinipipe::cli
