#include "infinipipe/planner/factory.h"

#include <algorithm>

#include "infinipipe/base/error.h"
#include "planner/bound_context.h"
#include "planner/planners.h"

namespace infinipipe {

std::vector<std::string> planner_names() { return names_of(planners()); }

namespace {

// Levels that the profile knows for layers that run again, most bytes first.
std::vector<Keep> levels_to_mix(const Profile& profile) {
  std::vector<Keep> levels = profile.known_levels();
  std::stable_sort(levels.begin(), levels.end(), [&](Keep a, Keep b) {
    return profile.kept_beside_input(a) > profile.kept_beside_input(b);
  });
  return levels;
}

}  // namespace

void require_known_planner(const PlanContext& context) {
  planner_row(context.config.name);
  const std::string& keeps = context.config.recompute_keeps;
  if (keeps != "auto" && !remade_level(keeps)) {
    throw InputError("planner.recompute_keeps", "found " + keeps,
                     "expected " + remade_level_names());
  }
  if (const std::string& degree = context.config.degree; degree != "whole" && degree != "auto") {
    throw InputError("planner.degree", "found " + degree, "expected whole or auto");
  }
}

std::unique_ptr<Planner> make_planner(const PlanContext& context,
                                      std::shared_ptr<const Evaluator> evaluator) {
  require_known_planner(context);
  const PlannerRow& row = planner_row(context.config.name);
  PlanContext own = context;
  own.config.passes = own.config.passes.both(row.passes);
  std::vector<Keep> levels = {Keep::kInput};
  if (const auto level = remade_level(context.config.recompute_keeps)) {
    levels = {*level};
  } else if (row.mixes_keeping) {
    levels = levels_to_mix(context.profile);
  }
  std::vector<std::shared_ptr<const BoundContext>> sites;
  for (const Keep level : levels) {
    sites.push_back(std::make_shared<const BoundContext>(own, evaluator, level));
  }
  return row.make(row, std::move(sites));
}

}  // namespace infinipipe
