#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/cost/profile.h"
#include "infinipipe/report/plan_text.h"
#include "infinipipe/sim/simulator.h"

namespace infinipipe::cli {
namespace {

struct Options {
  std::string plan;
  std::string profile;
  std::string json;
};

void run(const Options& options, const Console& console) {
  Plan plan = read_plan(options.plan);
  require_valid(plan, options.plan);
  const Profile profile = read_profile(options.profile);
  const CostModel cost(profile, plan.parallelism, plan.stages);
  const bool same_profile = plan.profile_hash == profile_hash(profile);
  plan.predicted = simulate(plan, cost).prediction;
  if (!same_profile && !plan.profile_hash.empty()) {
    console.detail(options.profile + " is not the profile that this plan was made with");
  }
  if (!options.json.empty()) {
    Json json = plan_to_json(plan)["predicted"];
    json["format"] = "infinipipe.simulation";
    json["version"] = 1;
    json["plan_hash"] = plan_hash(plan);
    json["profile_hash"] = profile_hash(profile);
    write_output(console, options.json, json.dump(1) + "\n");
  }
  if (options.json != "-") console.result(explain_plan(plan));
}

}  // namespace

Command simulate_command() {
  return {
      "simulate", "Planning", "run a plan on a machine's cost model, event by event",
      [](Flags& flags) -> Run {
        auto options = std::make_shared<Options>();
        flags.argument("PLAN", options->plan, "plan.json");
        flags.text("--profile", "FILE", options->profile, "profile.json of the machine").required =
            true;
        flags.section("Output");
        flags.text("--json", "FILE", options->json,
                   "times, waits and peaks as JSON; - is the standard output");
        return [options](Console& console) { run(*options, console); };
      }};
}

}  // namespace infinipipe::cli
