// Exact discrete-event execution of a plan under a cost model (docs/profile.md states the rules).
#pragma once

#include "infinipipe/core/plan.h"
#include "infinipipe/core/trace.h"
#include "infinipipe/cost/cost_model.h"
#include "infinipipe/cost/evaluator.h"

namespace infinipipe {

struct Simulation {
  // Of the slowest replica; peak_bytes over all replicas. lower_bound is over every layer split,
  // under the plan's memory limit; step_overhead is copied from the plan, 0 if it has none.
  Prediction prediction;
  Trace trace;  // events, transfers and memory samples of every replica
};

// The plan must be valid, and `cost` of its layer split. O(instructions x log). Pure.
Simulation simulate(const Plan& plan, const CostModel& cost);

// Throws RunError("plan", "stage 3 needs 71.2 GiB of 64.0 GiB (F0.5, 131,072 tokens)", ...) if any
// stage's memory exceeds the limit at any time. limit 0: none.
void require_fits(const Plan& plan, const CostModel& cost, Bytes limit);

// The simulator as the planner's judge: times and peaks only, no trace. Where the profile counts
// messages that wait, a plan only fits if one more message would fit on every stage: real times
// differ from simulated ones, and then other messages wait.
class SimulatorEvaluator final : public Evaluator {
 public:
  explicit SimulatorEvaluator(Bytes limit) : limit_(limit) {}
  Evaluation evaluate(const Plan& plan, const CostModel& cost, ReplicaId replica) const override;

 private:
  Bytes limit_;
};

}  // namespace infinipipe
