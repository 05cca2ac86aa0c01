#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/planning.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/cost/profile.h"
#include "infinipipe/sim/simulator.h"

namespace infinipipe::cli {
namespace {

struct Options {
  std::string plan;
  std::string profile;
};

// A file that is no plan is bad input; a plan with a field that cannot be is a refused plan.
Plan read_any_plan(const Json& json, const std::string& path) {
  check_plan_format(json, path);
  try {
    return plan_from_json(json, path, HashCheck::kIgnore);
  } catch (const InputError& error) {
    throw RunError({}, error.what());
  }
}

void run(const Options& options, Console& console) {
  const Json json = read_json_file(options.plan);
  const Plan plan = read_any_plan(json, options.plan);
  require_valid(plan, options.plan);
  if (!options.profile.empty()) {
    const Profile profile = given_profile(options.profile);
    const CostModel cost = plan_cost(profile, plan);
    warn_of_another_profile(plan, options.plan, profile, options.profile, console);
    const Bytes limit = cost.profile().limit(plan.bytes_per_stage);
    require_fits(plan, cost, limit);
  }
  const JsonView document(json, options.plan);
  if (document.has("hash") && document.at("hash").string() != plan_hash(plan)) {
    throw RunError(options.plan + ": hash", "found " + document.at("hash").string(),
                   "expected " + plan_hash(plan),
                   "the plan was changed after it was made; remove \"hash\" to accept it");
  }
  console.result("valid\n");
}

}  // namespace

Command validate_command() {
  return {"validate", "Planning", "prove a plan: coverage, order, no deadlock, memory",
          [](Flags& flags) -> Run {
            auto options = std::make_shared<Options>();
            flags.argument("PLAN", options->plan, "plan.json");
            flags.text("--profile", "FILE", options->profile,
                       "profile.json: also prove that every stage's memory suffices");
            return [options](Console& console) { run(*options, console); };
          }};
}

}  // namespace infinipipe::cli
