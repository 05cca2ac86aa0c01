#include "planner/epp.h"

#include <algorithm>

#include "planner/static_planner.h"

namespace infinipipe {

namespace {

std::vector<StaticRecipe> elastic_recipes(const std::vector<Tokens>& lengths, const Site& site,
                                          bool forward_only) {
  const ChunkSeconds cost = chunk_seconds(site.cost(), forward_only);
  const Tokens capacity = site.config().chunk_tokens.value_or(0);
  std::vector<int> counts = {1, 2, 3, 4, 6, 8, 12, 16};
  if (site.config().slices) counts = {*site.config().slices};
  std::vector<StaticRecipe> recipes;
  for (const int slices : counts) {
    Chunking chunking = process_sequences(lengths, cost, {.slices = slices, .capacity = capacity});
    recipes.push_back({.schedule = "1f1b",
                       .slices = slices,
                       .chunk_tokens = chunking.target_tokens,
                       .chunking = std::move(chunking)});
  }
  if (!site.config().slices && !site.config().chunk_tokens) {
    for (StaticRecipe& r : packed_1f1b_recipes(lengths, site, forward_only)) {
      recipes.push_back(std::move(r));
    }
  }
  return recipes;
}

}  // namespace

std::unique_ptr<Planner> make_epp_planner(std::shared_ptr<const Site> site) {
  return make_static_planner("epp", std::move(site), elastic_recipes);
}

}  // namespace infinipipe
