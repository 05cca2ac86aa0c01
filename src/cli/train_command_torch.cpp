#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "base/progress.h"
#include "cli/over_ranks_torch.h"
#include "cli/stop_signals.h"
#include "cli/training_torch.h"
#include "dist/launch_environment.h"
#include "dist/ranks.h"
#include "infinipipe/base/error.h"
#include "infinipipe/trainer/trainer.h"

namespace infinipipe::cli {
namespace {

struct Options {
  ConfigFlags config;
  bool resume = false;
  bool overwrite = false;
  std::string plan_dir;
  std::string trace_dir;
  std::int64_t stopped_exit_code = 0;
};

// A reader of the output who has gone, as `head` does, ends the run; a full disk does not.
void stdout_is_lost(int why, Console& console) {
  if (why == EPIPE) {
    console.warn("stdout was closed: stopping after this step");
    request_stop();
  } else {
    console.warn(std::string("stdout: cannot be written: ") + std::strerror(why) +
                 "; training goes on without it");
  }
}

void say_how_it_went(const TrainResult& result, Console& console) {
  std::array<char, 16> share{};
  std::snprintf(share.data(), share.size(), "%.1f%%",
                100.0 * result.plan_cpu_seconds / result.cpu_seconds);
  console.info("planned in " + format_seconds(result.plan_cpu_seconds) + " of processor time, " +
               share.data() + " of the run's; training waited " +
               format_seconds(result.plan_wait_seconds) + " for plans after its first step");
  std::array<char, 64> losses{};
  if (result.skipped < result.steps_done) {
    std::snprintf(losses.data(), losses.size(), "loss %.4f -> %.4f", result.first_loss,
                  result.last_loss);
  } else {
    std::snprintf(losses.data(), losses.size(), "no loss");
  }
  std::array<char, 16> goodput{};
  std::snprintf(goodput.data(), goodput.size(), "%.1f%%", 100.0 * result.goodput);
  console.info("trained " + std::to_string(result.steps_done) + " steps, " + losses.data() +
               (result.skipped > 0 ? ", " + std::to_string(result.skipped) + " skipped" : "") +
               "; goodput " + goodput.data() + ": " + std::to_string(result.next_step) +
               " steps done, " + std::to_string(result.steps_repeated) + " repeated, " +
               format_seconds(result.seconds_lost) + " lost");
}

void run(const Options& options, Console& console, Ranks* ranks, const Launch* launch) {
  TrainOptions train_options;
  train_options.ranks = ranks;
  if (launch != nullptr) {
    train_options.restarted = launch->restart > 0;
    if (launch->launcher == kOwnLauncher) train_options.run_id = launch->run_id;
  }
  train_options.config = options.resume ? options.config.apply() : options.config.resolve();
  train_options.configure = [&config = options.config](TrainConfig base) {
    if (config.given("parallelism.stages")) base.parallelism.layers_per_stage.reset();
    return config.resolve(std::move(base));
  };
  train_options.resume = options.resume;
  train_options.overwrite = options.overwrite;
  train_options.plan_dir = options.plan_dir;
  train_options.trace_dir = options.trace_dir;
  train_options.log = [&console](const std::string& line) { console.info(line); };
  train_options.warn = [&console](const std::string& line) { console.warn(line); };
  train_options.on_step = [&console](const StepMetrics& metrics) {
    console.info(step_line(metrics));
    report_progress(metrics.step + 1);
    if (!std::isnan(metrics.eval_loss)) console.info(eval_line(metrics));
  };
  train_options.stop = &stop_flag();
  train_options.on_stalled = [ranks](const std::string& what) {
    if (ranks != nullptr) ranks->fail("", what);
    const std::string line = "error: " + what + "; what was saved before is whole\n";
    [[maybe_unused]] const auto put = ::write(STDERR_FILENO, line.data(), line.size());
    ::_exit(static_cast<int>(ErrorKind::kRun));  // threads that stand still cannot be ended
  };
  handle_stop_signals();
  console.outlive_stdout([&console](int why) { stdout_is_lost(why, console); });

  const TrainResult result = train(train_options);
  if (result.stopped) console.set_exit_code(static_cast<int>(options.stopped_exit_code));
  if (result.steps_done > 0) {
    say_how_it_went(result, console);
  } else if (!result.stopped) {  // the log has said so
    console.info("nothing to do: " + std::to_string(result.next_step) + " steps are done of " +
                 std::to_string(result.steps) + " (training.steps)");
  }
}

}  // namespace

Command train_command() {
  return {
      "train", "Training", "train a model; go on with --resume", [](Flags& flags) -> Run {
        auto options = std::make_shared<Options>();
        flags.toggle("--resume", options->resume,
                     "go on from the latest checkpoint in checkpoint.path, with its "
                     "configuration where flags and file say nothing; where there is none, begin");
        flags.toggle("--overwrite", options->overwrite,
                     "begin anew where checkpoint.path holds an earlier run's checkpoints, "
                     "which go once the first new one is saved");
        flags.integer("--stopped-exit-code", "N", options->stopped_exit_code, 0,
                      "exit code of a run that a signal or training.max_minutes stopped (0)", 255);
        flags.text("--plan-dir", "DIR", options->plan_dir, "keep each step's plan here").writes();
        flags
            .text("--trace-dir", "DIR", options->trace_dir,
                  "keep each step's measured trace here (opens in Perfetto)")
            .writes();
        flags.config(options->config,
                     {"model", "data", "training", "optimizer", "parallelism", "memory", "planner",
                      "cluster", "runtime", "checkpoint", "metrics", "eval"});
        return [options](Console& console) {
          over_ranks(
              console, [&] { return options->config.apply(); },
              [&](Ranks* ranks, const Launch* launch) { run(*options, console, ranks, launch); });
        };
      }};
}

}  // namespace infinipipe::cli
