#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/planning.h"
#include "core/limits.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/cost/profile.h"
#include "infinipipe/report/chrome_trace.h"
#include "infinipipe/report/timeline.h"
#include "infinipipe/sim/simulator.h"
#include "report/step_table.h"

namespace infinipipe::cli {
namespace {

struct Options {
  std::string plan;
  std::string profile;
  std::string trace;
  std::string html;
  std::string measured;
  std::string json;
  std::int64_t devices_per_node = ClusterConfig{}.devices_per_node;
};

Json prediction_json(const Plan& plan, const Profile& profile) {
  Json json = plan_to_json(plan)["predicted"];
  json["format"] = "infinipipe.simulation";
  json["version"] = 1;
  json["plan_hash"] = plan_hash(plan);
  json["profile_hash"] = profile_hash(profile);
  return json;
}

void run(const Options& options, Console& console) {
  Plan plan = read_plan(options.plan);
  require_valid(plan, options.plan);
  const Profile profile = given_profile(options.profile);
  const CostModel cost = plan_cost(profile, plan);
  const bool another =
      warn_of_another_profile(plan, options.plan, profile, options.profile, console);
  const Bytes limit = profile.limit(plan.bytes_per_stage);
  Simulation simulation = simulate(plan, cost);
  if (!plan.predicted || another) {
    simulation.prediction.step_overhead =
        outside_instructions(plan, profile, static_cast<int>(options.devices_per_node), console);
  }
  plan.predicted = simulation.prediction;
  std::optional<Trace> measured;
  if (!options.measured.empty()) measured = read_trace(options.measured);

  if (!options.trace.empty()) write_trace(options.trace, simulation.trace, &plan);
  if (!options.html.empty()) {
    TimelineOptions timeline;
    timeline.limit = limit;
    write_html_timeline(options.html, plan, simulation.trace, measured ? &*measured : nullptr,
                        timeline);
  }
  if (!options.json.empty()) {
    write_output(console, options.json, prediction_json(plan, profile).dump(1) + "\n");
  }
  if (options.json == "-") return;
  console.result(step_table(plan, simulation.prediction, limit));
  if (measured) {
    console.result("\n" + comparison_table(compare_traces(simulation.trace, *measured)));
  }
}

}  // namespace

Command simulate_command() {
  return {
      "simulate", "Planning", "run a plan on a machine's cost model, event by event",
      [](Flags& flags) -> Run {
        auto options = std::make_shared<Options>();
        flags.argument("PLAN", options->plan, "plan.json").reads();
        flags.text("--profile", "FILE", options->profile, "profile.json of the machine")
            .reads()
            .required = true;
        flags
            .text("--measured", "FILE", options->measured,
                  "a trace of the same plan that training wrote, to set beside the prediction")
            .reads();
        flags.integer("--cluster.devices_per_node", "N", options->devices_per_node, 1,
                      "devices that share the fast links (default 8); counts where the plan's own "
                      "prediction is of another profile",
                      kMostDevices);
        flags.section("Output");
        flags.text("--trace", "FILE", options->trace, "Chrome trace, opens in Perfetto").writes();
        flags.text("--html", "FILE", options->html, "the timeline as one page").writes();
        flags
            .text("--json", "FILE", options->json,
                  "times, waits and peaks as JSON; - is the standard output")
            .writes();
        return [options](Console& console) { run(*options, console); };
      }};
}

}  // namespace infinipipe::cli
