#include "infinipipe/planner/factory.h"

#include <algorithm>

#include "infinipipe/base/error.h"
#include "infinipipe/core/config.h"
#include "planner/epp.h"
#include "planner/static_planner.h"

namespace infinipipe {

std::vector<std::string> planner_names() {
  return {"epp", "epp-1f1b", "1f1b", "seq1f1b", "seq1f1b-fixed", "mepipe", "gpipe"};
}

namespace {

std::unique_ptr<Planner> make_known_planner(const std::string& name,
                                            std::shared_ptr<const Site> site) {
  if (name == "1f1b") return make_static_planner(name, std::move(site), packed_1f1b_recipes);
  if (name == "seq1f1b") return make_static_planner(name, std::move(site), seq1f1b_recipes);
  if (name == "seq1f1b-fixed") {
    return make_static_planner(name, std::move(site), seq1f1b_fixed_recipes);
  }
  if (name == "mepipe") return make_static_planner(name, std::move(site), mepipe_recipes);
  if (name == "gpipe") return make_static_planner(name, std::move(site), gpipe_recipes);
  return make_epp_planner({std::move(site)}, name == "epp-1f1b");
}

// Levels that the profile knows for layers that run again, most bytes first.
std::vector<Keep> known_levels(const Profile& profile) {
  std::vector<Keep> levels;
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    if (profile.knows(kKeepLevels[i].keep)) levels.push_back(kKeepLevels[i].keep);
  }
  const auto kept = [&](Keep level) {
    const auto& remake = profile.remake[index_of(level)];
    return remake ? remake->kept_bytes_per_token : 0.0;
  };
  std::stable_sort(levels.begin(), levels.end(),
                   [&](Keep a, Keep b) { return kept(a) > kept(b); });
  return levels;
}

}  // namespace

void require_known_planner(const PlanContext& context) {
  const std::string& name = context.config.name;
  const std::vector<std::string> known = planner_names();
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    const std::string near = nearest(name, known);
    throw InputError("planner.name", "unknown planner '" + name + "'",
                     "expected epp, epp-1f1b, 1f1b, seq1f1b, seq1f1b-fixed, mepipe or gpipe",
                     near.empty() ? "" : "did you mean '" + near + "'?");
  }
  const std::string& keeps = context.config.recompute_keeps;
  if (keeps != "auto" && !remade_level(keeps)) {
    throw InputError("planner.recompute_keeps", "found " + keeps,
                     "expected " + remade_level_names());
  }
}

std::unique_ptr<Planner> make_planner(const PlanContext& context,
                                      std::shared_ptr<const Evaluator> evaluator) {
  require_known_planner(context);
  const std::string& name = context.config.name;
  PlanContext own = context;
  if (name == "seq1f1b-fixed") own.features.layer_split = false;
  const auto site = [&](Keep level) {
    return std::make_shared<const Site>(own, evaluator, level);
  };
  if (const auto level = remade_level(context.config.recompute_keeps)) {
    return make_known_planner(name, site(*level));
  }
  // What is published of the others recomputes whole layers.
  if (name != "epp") return make_known_planner(name, site(Keep::kInput));
  std::vector<std::shared_ptr<const Site>> sites;
  for (const Keep level : known_levels(context.profile)) sites.push_back(site(level));
  return make_epp_planner(std::move(sites));
}

}  // namespace infinipipe
