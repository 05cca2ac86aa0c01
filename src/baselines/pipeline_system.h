// A pipeline planner as a system: its plans, judged by the evaluator, at the best degrees.
#pragma once

#include <memory>
#include <string>

#include "infinipipe/baselines/system.h"

namespace infinipipe {

std::unique_ptr<System> make_pipeline_system(const std::string& name, const SystemContext& context);

}  // namespace infinipipe
