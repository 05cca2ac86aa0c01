#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/over_ranks_torch.h"
#include "cli/training_torch.h"
#include "infinipipe/base/error.h"
#include "infinipipe/cost/profile.h"
#include "profile/profile_machine.h"
#include "report/residuals.h"
#include "trainer/profile.h"
#include "trainer/setup.h"

namespace infinipipe::cli {
namespace {

struct Options {
  ConfigFlags config;
  std::string out;
  std::string html;
  double seconds = 60.0;
};

std::vector<ResidualPoint> points_of(const ProfileResult& result) {
  std::vector<ResidualPoint> points;
  for (const Residual& r : result.residuals) {
    std::string label = std::to_string(r.tokens) + " tokens";
    if (r.context > 0) label += " after " + std::to_string(r.context);
    if (r.slices > 1) label += ", " + std::to_string(r.slices) + " slices";
    points.push_back({.series = r.what,
                      .kind = r.kind,
                      .label = label + ", stage " + std::to_string(r.stage),
                      .measured = r.measured,
                      .predicted = r.predicted});
  }
  return points;
}

void run(const Options& options, Console& console, Ranks* ranks) {
  if (options.out.empty()) {
    throw InputError("command line", "found no --out", "expected where to write the profile",
                     "--out profile.json");
  }
  TrainConfig config = options.config.resolve();
  settle_communicator(config, ranks);
  config.check();
  require_runnable(config, ranks);
  warn_of_placement(config, ranks, [&console](const std::string& line) { console.warn(line); });
  ProfileOptions profile = profile_options(config, ranks);
  profile.seconds = options.seconds;
  profile.progress = [&console](const std::string& what, double share) {
    console.progress(what + ", " + std::to_string(static_cast<int>(100.0 * share)) + "%");
  };
  const ProfileResult result = profile_machine(profile);
  console.end_progress();
  write_output(console, options.out, profile_to_json(result.profile).dump(1) + "\n");
  const std::vector<ResidualPoint> points = points_of(result);
  if (!options.html.empty()) {
    write_residuals_html(options.html, result.profile.machine, points);
  }
  console.result(residual_table(points));
  char line[160];
  std::snprintf(
      line, sizeof(line), "%d rounds in %s; what instructions hold for themselves: within %.1f%%\n",
      result.rounds, format_seconds(result.seconds).c_str(), 100.0 * result.memory_error_max);
  console.result(line);
}

}  // namespace

Command profile_command() {
  return {"profile", "Planning", "measure this machine: the profile that plans are made for",
          [](Flags& flags) -> Run {
            auto options = std::make_shared<Options>();
            flags.text("--out", "FILE", options->out, "profile.json").writes();
            flags.text("--html", "FILE", options->html, "predicted against measured, as a page")
                .writes();
            flags.number("--seconds", "S", options->seconds, 1.0, 3600.0,
                         "to spend on measuring, roughly (default 60)");
            flags.config(options->config, {"model", "data", "training", "parallelism", "runtime"});
            return [options](Console& console) {
              over_ranks(
                  console, [&] { return options->config.apply(); },
                  [&](Ranks* ranks, const Launch*) { run(*options, console, ranks); });
            };
          }};
}

}  // namespace infinipipe::cli
