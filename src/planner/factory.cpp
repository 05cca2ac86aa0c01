#include "infinipipe/planner/factory.h"

#include "infinipipe/base/error.h"
#include "infinipipe/planner/planners.h"
#include "planner/recompute_choice.h"
#include "planner/site.h"

namespace infinipipe {

std::vector<std::string> planner_names() { return names_of(planners()); }

void require_known_planner(const PlanContext& context) {
  planner_row(context.config.name);
  const std::string& keeps = context.config.recompute_keeps;
  if (keeps != "auto" && keeps != "input" && keeps != "attention") {
    throw InputError("planner.recompute_keeps", "found " + keeps,
                     "expected auto, input or attention");
  }
}

std::unique_ptr<Planner> make_planner(const PlanContext& context,
                                      std::shared_ptr<const Evaluator> evaluator) {
  require_known_planner(context);
  const PlannerRow& row = planner_row(context.config.name);
  PlanContext own = context;
  own.features.layer_split = own.features.layer_split && row.layer_split;
  const auto site = [&](bool keeps_attention) {
    return std::make_shared<const Site>(own, evaluator, keeps_attention);
  };
  const std::string& keeps = context.config.recompute_keeps;
  if (keeps == "attention") return row.make(row, site(true));
  if (keeps == "input") return row.make(row, site(false));
  auto keeps_input = site(false);
  if (!row.mixes_keeping || !context.profile.around_attention) {
    return row.make(row, std::move(keeps_input));
  }
  return make_recompute_choice(keeps_input, row.make(row, site(true)), row.make(row, keeps_input));
}

}  // namespace infinipipe
