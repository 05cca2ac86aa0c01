#include "infinipipe/planner/factory.h"

#include <algorithm>

#include "infinipipe/base/error.h"
#include "infinipipe/core/config.h"
#include "planner/epp.h"
#include "planner/recompute_choice.h"
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
  return make_epp_planner(std::move(site), name == "epp-1f1b");
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
  if (keeps != "auto" && keeps != "input" && keeps != "attention") {
    throw InputError("planner.recompute_keeps", "found " + keeps,
                     "expected auto, input or attention");
  }
}

std::unique_ptr<Planner> make_planner(const PlanContext& context,
                                      std::shared_ptr<const Evaluator> evaluator) {
  require_known_planner(context);
  const std::string& name = context.config.name;
  PlanContext own = context;
  if (name == "seq1f1b-fixed") own.features.layer_split = false;
  const auto site = [&](bool keeps_attention) {
    return std::make_shared<const Site>(own, evaluator, keeps_attention);
  };
  const std::string& keeps = context.config.recompute_keeps;
  if (keeps == "attention") return make_known_planner(name, site(true));
  if (keeps == "input") return make_known_planner(name, site(false));
  auto keeps_input = site(false);
  // What is published of the others recomputes whole layers.
  if (name != "epp" || !context.profile.around_attention) {
    return make_known_planner(name, std::move(keeps_input));
  }
  return make_recompute_choice(keeps_input, make_known_planner(name, site(true)),
                               make_known_planner(name, keeps_input));
}

}  // namespace infinipipe
