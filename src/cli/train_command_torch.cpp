#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>

#include "cli/training_torch.h"
#include "infinipipe/trainer/trainer.h"

namespace infinipipe::cli {
namespace {

std::atomic<bool> stop_requested{false};

// The first signal asks for an orderly end; a second one ends the process.
extern "C" void request_stop(int signal) {
  constexpr std::string_view kMessage = "\nstopping after this step; once more ends at once\n";
  stop_requested.store(true);
  std::signal(signal, SIG_DFL);
  [[maybe_unused]] const auto put = ::write(STDERR_FILENO, kMessage.data(), kMessage.size());
}

struct Options {
  ConfigFlags config;
  bool resume = false;
  std::string plan_dir;
  std::string trace_dir;
};

void run(const Options& options, Console& console) {
  TrainOptions train_options;
  train_options.config = options.config.resolve();
  train_options.resume = options.resume;
  train_options.plan_dir = options.plan_dir;
  train_options.trace_dir = options.trace_dir;
  train_options.log = [&console](const std::string& line) { console.info(line); };
  train_options.on_step = [&console](const StepMetrics& metrics) {
    console.info(step_line(metrics));
  };
  train_options.stop = &stop_requested;
  std::signal(SIGINT, request_stop);
  std::signal(SIGTERM, request_stop);

  const TrainResult result = train(train_options);
  if (result.steps_done == 0 && result.stopped) return;  // the log has said so
  if (result.steps_done == 0) {
    console.info("nothing to do: " + std::to_string(result.next_step) + " steps are done of " +
                 std::to_string(train_options.config.training.steps) + " (training.steps)");
    return;
  }
  std::array<char, 16> share{};
  std::snprintf(share.data(), share.size(), "%.1f%%",
                100.0 * result.plan_cpu_seconds / result.cpu_seconds);
  console.info("planned in " + format_seconds(result.plan_cpu_seconds) + " of processor time, " +
               share.data() + " of the run's; training waited " +
               format_seconds(result.plan_wait_seconds) + " for plans after its first step");
  std::array<char, 64> losses{};
  std::snprintf(losses.data(), losses.size(), "%.4f -> %.4f", result.first_loss, result.last_loss);
  console.info("trained " + std::to_string(result.steps_done) + " steps, loss " + losses.data() +
               (result.skipped > 0 ? ", " + std::to_string(result.skipped) + " skipped" : ""));
}

}  // namespace

Command train_command() {
  return {"train", "Training", "train a model; go on with --resume", [](Flags& flags) -> Run {
            auto options = std::make_shared<Options>();
            flags.toggle("--resume", options->resume,
                         "go on from the latest checkpoint in checkpoint.path");
            flags.text("--plan-dir", "DIR", options->plan_dir, "keep each step's plan here");
            flags.text("--trace-dir", "DIR", options->trace_dir,
                       "keep each step's measured trace here (opens in Perfetto)");
            flags.config(options->config,
                         {"model", "data", "training", "optimizer", "parallelism", "memory",
                          "planner", "cluster", "runtime", "checkpoint", "metrics"});
            return [options](Console& console) { run(*options, console); };
          }};
}

}  // namespace infinipipe::cli
