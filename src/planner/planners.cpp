#include "planner/planners.h"

#include <array>

#include "planner/epp.h"
#include "planner/ordinary/ordinary_planner.h"

namespace infinipipe {

namespace {

std::unique_ptr<Planner> elastic(const PlannerRow& row,
                                 std::vector<std::shared_ptr<const BoundContext>> contexts) {
  return make_epp_planner(row.name, std::move(contexts));
}

template <RecipeMaker kRecipes>
std::unique_ptr<Planner> ordinary(const PlannerRow& row,
                                  std::vector<std::shared_ptr<const BoundContext>> contexts) {
  return make_ordinary_planner(row.name, std::move(contexts.back()), kRecipes);
}

// Whole sequences packed, or sequences in slices of one size, run under the schedule that has the
// planner's own name.
using ScheduledRecipes = std::vector<OrdinaryRecipe> (*)(const char* schedule,
                                                         const std::vector<Tokens>& lengths,
                                                         const BoundContext& context,
                                                         bool forward_only);
template <ScheduledRecipes kRecipes>
std::unique_ptr<Planner> own_schedule(const PlannerRow& row,
                                      std::vector<std::shared_ptr<const BoundContext>> contexts) {
  const char* schedule = schedule_row(row.name).name;
  return make_ordinary_planner(
      row.name, std::move(contexts.back()),
      [schedule](const std::vector<Tokens>& lengths, const BoundContext& context,
                 bool forward_only) { return kRecipes(schedule, lengths, context, forward_only); });
}

constexpr std::array kPlanners = {
    PlannerRow{.name = planner_name::kElastic,
               .title = "InfiniPipe (ours)",
               .line = "elastic: cuts, packs, orders and recomputes so that the step is shortest",
               .make = elastic,
               .pays_exposed_gathers = true,
               .mixes_keeping = true},
    PlannerRow{
        .name = planner_name::kPaper,
        .title = "InfiniPipe (the paper's method)",
        .line = "the same search restricted to what the paper does",
        .make = elastic,
        .pays_exposed_gathers = true,
        .passes = PassSet::without({Pass::kListSchedules, Pass::kDegrees, Pass::kOrdinaryOrders,
                                    Pass::kOrdinaryPlans, Pass::kKeepMore})},
    PlannerRow{.name = planner_name::kPacked,
               .title = "1F1B",
               .line = "whole sequences packed, one forward and one backward by turns",
               .make = own_schedule<packed_recipes>},
    PlannerRow{.name = planner_name::kSlices,
               .title = "Seq1F1B, tuned",
               .line = "slices of one size, the best one for each step",
               .make = ordinary<seq1f1b_recipes>},
    PlannerRow{.name = planner_name::kFixedSlices,
               .title = "Seq1F1B, as it comes",
               .line = "slices of one given size, all layers recomputed or none, equal layers",
               .make = ordinary<seq1f1b_fixed_recipes>,
               .passes = PassSet::without({Pass::kLayerSplit}),
               .fixed_slices = kUntunedSlices},
    PlannerRow{.name = planner_name::kMepipe,
               .title = "MEPipe",
               .line = "slices of one size, weight gradients held back to fill waits",
               .make = ordinary<mepipe_recipes>},
    PlannerRow{.name = planner_name::kGpipe,
               .title = "GPipe",
               .line = "whole sequences packed, all forwards before all backwards",
               .make = ordinary<gpipe_recipes>},
};

}  // namespace

std::span<const PlannerRow> planners() { return kPlanners; }

const PlannerRow& planner_row(std::string_view name) {
  return named(planners(), name, "planner.name", "unknown planner");
}

}  // namespace infinipipe
