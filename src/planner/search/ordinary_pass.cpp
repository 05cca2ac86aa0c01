#include <cmath>

#include "planner/ordinary/ordinary_planner.h"
#include "planner/recompute/uniform_recompute.h"
#include "planner/search/draft.h"

namespace infinipipe {

namespace {

// The fastest schedule of one cutting in 1F1B order: with the least recomputation, or with the
// least that is alike for all chunks and stages. Empty where it cannot beat `beat` or does not fit.
std::optional<Schedule> schedule_in_order(const std::shared_ptr<const Cutting>& cutting,
                                          bool adaptive, Seconds beat) {
  const ChunkTable& table = cutting->table;
  StepLists steps = one_f_one_b_steps(table, {0});
  if (least_seconds(steps, table) >= beat) return std::nullopt;
  std::optional<Schedule> best;
  const auto offer = [&](const RecomputeMatrix& matrix) {
    const Seconds seconds = time_steps(steps, table, matrix).seconds;
    if (best && seconds >= best->seconds) return;
    best = Schedule{.slices = cutting->slices,
                    .chunking = cutting->chunking,
                    .level = table.level,
                    .name = schedule_name::kOneFOneB,
                    .steps = steps,
                    .recompute = matrix,
                    .seconds = seconds};
  };
  if (adaptive) {
    if (auto least = least_recompute(steps, table)) offer(*least);
  }
  if (auto uniform = least_uniform_recompute(steps, table)) offer(*uniform);
  return best;
}

}  // namespace

void search_ordinary(Draft& draft) {
  const BoundContext& context = draft.context();
  for (OrdinaryRecipe& recipe : rival_recipes(draft.lengths(), context, false)) {
    if (recipe.chunking.chunks.size() > kMostChunks && std::isfinite(draft.best_seconds()))
      continue;
    auto schedule = schedule_in_order(draft.cost_of(recipe.slices, std::move(recipe.chunking)),
                                      context.has(Pass::kAdaptiveRecompute), draft.best_seconds());
    if (schedule) draft.add(std::move(*schedule));
  }
}

}  // namespace infinipipe
