// From a batch's lengths to a plan. Deterministic: same lengths, profile and settings give the same
// plan on any machine.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "infinipipe/base/error.h"
#include "infinipipe/core/config.h"
#include "infinipipe/core/plan.h"
#include "infinipipe/cost/cost_model.h"
#include "infinipipe/cost/evaluator.h"

namespace infinipipe {

// One batch to plan for.
struct PlanRequest {
  std::vector<Tokens> sequences;  // each >= 1; may be empty (the plan then has no chunks)
  int step = 0;
  bool forward_only = false;  // an evaluation plan
  // For planners that follow a machine's drift: how long each stage takes, over what the profile
  // says (1.1: a tenth longer). Empty: as the profile says.
  std::vector<double> stage_pace = {};
};

// Where and under which limits it will run.
struct PlanContext {
  Profile profile;
  int layers = 0;  // of the model
  Parallelism parallelism;
  std::optional<std::vector<int>> layers_per_stage;  // empty: balanced by the planner
  Bytes bytes_per_stage = 0.0;  // 0: the profile's device memory; both 0: no limit
  PlannerConfig config;

  Bytes limit() const { return profile.limit(bytes_per_stage); }
};

// What a configuration asks for, on the machine of this profile.
PlanContext plan_context(const TrainConfig& config, Profile profile);

// Thrown for a batch that does not fit in memory under the layout, whatever the plan.
class DoesNotFit final : public RunError {
 public:
  // `missing`: the bytes that are missing on the stage that lacks most; > 0.
  DoesNotFit(std::string_view found, std::string_view next, Bytes missing)
      : RunError("plan", found, "a batch that fits", next), missing_(missing) {}

  Bytes missing() const { return missing_; }

 private:
  Bytes missing_;
};

// A planner is immutable and thread-safe; one per run.
class Planner {
 public:
  virtual ~Planner() = default;
  // A valid plan with `predicted` filled. Throws DoesNotFit naming stage, bytes and what would help
  // where the batch cannot fit.
  virtual Plan plan(const PlanRequest& request) const = 0;
};

}  // namespace infinipipe
