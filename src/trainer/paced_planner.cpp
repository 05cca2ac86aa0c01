#include "trainer/paced_planner.h"

#include <cmath>
#include <numeric>
#include <vector>

#include "infinipipe/base/error.h"
#include "planner/layer_split.h"
#include "trainer/setup.h"

namespace infinipipe {
namespace {

class PacedPlanner final : public Planner {
 public:
  PacedPlanner(const PlanContext& context, bool decides)
      : context_(context), decides_(decides), even_(make_judged_planner(context)) {
    std::vector<int> layers;  // a run's split does not change with its pace
    for (const LayerRange& range : stage_layers(context)) layers.push_back(range.count());
    context_.layers_per_stage = std::move(layers);
  }

  Plan plan(const PlanRequest& request) const override {
    const std::vector<double>& pace = request.stage_pace;
    if (pace.empty()) return even_->plan(request);
    INFINIPIPE_ASSERT(pace.size() == context_.layers_per_stage->size(), "one pace for each stage");
    const double mean =
        std::accumulate(pace.begin(), pace.end(), 0.0) / static_cast<double>(pace.size());
    bool even = true;
    for (const double each : pace) {
      even = even && (!decides_ || std::abs(each / mean - 1.0) <= kSamePace);
    }
    Plan plan = even ? even_->plan(request) : plan_uneven(request, mean);
    plan.stage_pace = even ? std::vector<double>(pace.size(), mean) : pace;
    if (plan.predicted) scale(*plan.predicted, mean);
    return plan;
  }

 private:
  Plan plan_uneven(const PlanRequest& request, double mean) const {
    PlanContext context = context_;
    context.profile = at_pace(context.profile, request.stage_pace, mean);
    Plan plan = make_judged_planner(context)->plan(request);
    plan.profile_hash = profile_hash(context_.profile);
    return plan;
  }

  static void scale(Prediction& prediction, double pace) {
    prediction.seconds *= pace;
    prediction.lower_bound *= pace;
    for (StagePrediction& stage : prediction.stages) {
      stage.compute *= pace;
      stage.recompute *= pace;
      stage.wait *= pace;
    }
  }

  PlanContext context_;
  bool decides_;
  std::unique_ptr<Planner> even_;
};

}  // namespace

std::unique_ptr<Planner> make_paced_planner(const PlanContext& context, bool decides) {
  return std::make_unique<PacedPlanner>(context, decides);
}

}  // namespace infinipipe
