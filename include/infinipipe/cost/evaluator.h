// The seam between planner and simulator: the planner judges candidates through it, the caller
// passes the simulator in, and neither includes the other.
#pragma once

#include <optional>

#include "infinipipe/core/plan.h"
#include "infinipipe/cost/cost_model.h"

namespace infinipipe {

struct Evaluation {
  Seconds seconds = 0.0;
  std::vector<StagePrediction> stages;
  double bubble = 0.0;
  // The stage that needs more than its memory, by how many bytes; empty: the plan fits.
  std::optional<StageId> over_stage;
  Bytes over_bytes = 0.0;
};

// Thread-safe: planners evaluate candidates from several threads.
class Evaluator {
 public:
  virtual ~Evaluator() = default;
  // Exact, deterministic. The plan must be valid; only replica `replica` is looked at.
  virtual Evaluation evaluate(const Plan& plan, const CostModel& cost,
                              ReplicaId replica = ReplicaId{}) const = 0;
};

}  // namespace infinipipe
