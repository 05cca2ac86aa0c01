// The same batches under several systems.
#pragma once

#include <functional>
#include <optional>

#include "baselines/published_experiment.h"
#include "baselines/system.h"
#include "core/comparison.h"

namespace infinipipe {

struct CompareRequest {
  std::vector<std::string> planners;
  std::vector<std::vector<Tokens>> batches;
  std::optional<PublishedExperiment> experiment;  // then systems run as the experiment ran them
  int threads = 1;                                // >= 1; the result does not depend on it
  // Called after each step of the work, one call at a time, from any thread.
  std::function<void(const std::string& line)> progress;
};

// Each system fixes its settings on all batches (System::tune; not for a published experiment),
// then runs each batch. Rows by batch, then in the order of the planners. Throws what make_system
// throws, and InputError for a planner that is named twice.
Comparison compare_systems(const SystemContext& context, const CompareRequest& request);

}  // namespace infinipipe
