// plan.json: what is read and proven survives a round trip and can be simulated.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "fuzz/harness.h"
#include "infinipipe/base/json.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/cost/profile.h"
#include "infinipipe/report/plan_text.h"
#include "infinipipe/sim/simulator.h"

namespace infinipipe::fuzz {
namespace {

void check_round_trip(const Plan& plan) {
  const Json json = plan_to_json(plan);
  const Plan again = plan_from_json(json, "again");
  require(plan_to_json(again) == json, "a plan changes when it is written and read");
  require(plan_hash(again) == plan_hash(plan), "a plan's hash changes when it is written and read");
}

void check_valid_plan(const Plan& plan) {
  require(!plan_line(plan).empty() && !explain_plan(plan).empty(), "a plan without words");
  static const Profile profile = [] {
    Profile estimate = estimated_profile(ModelSpec{}, Dtype::kFloat32);
    estimate.model = {};  // any plan's number of layers will do
    for (auto& remake : estimate.remake) remake = RemakeCost{estimate.forward, 64.0};
    return estimate;
  }();
  if (plan.parallelism.sequence_parallel > 1) return;  // needs bandwidths that this profile lacks
  const CostModel cost = plan_cost(profile, plan);
  const Simulation simulation = simulate(plan, cost);
  std::size_t instructions = 0;
  for (const Replica& replica : plan.replicas) {
    for (const auto& list : replica.instructions) instructions += list.size();
  }
  require(simulation.trace.events.size() == instructions,
          "a valid plan does not run to its end in the simulator");
}

void run(std::string_view bytes) {
  Plan plan;
  const auto read = [&] {
    plan = plan_from_json(parse_json(bytes, "plan"), "plan", HashCheck::kIgnore);
  };
  if (!accepts(read)) return;
  check_round_trip(plan);
  if (const auto problem = validate(plan)) {
    require(!problem->message.empty(), "a fault without a message");
    return;
  }
  check_valid_plan(plan);
}

}  // namespace
}  // namespace infinipipe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinipipe::fuzz::run(infinipipe::fuzz::text(data, size));
  return 0;
}
