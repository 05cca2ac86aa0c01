// A pipeline planner as a system: its plans, judged by the evaluator, at the best degrees.
#pragma once

#include <memory>

#include "baselines/system.h"
#include "planner/planners.h"

namespace infinipipe {

std::unique_ptr<System> make_pipeline_system(const PlannerRow& planner,
                                             const SystemContext& context);

}  // namespace infinipipe
