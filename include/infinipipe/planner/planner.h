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
  // Of planners that follow a machine's drift: each stage's pace against the profile; empty: 1.
  std::vector<double> stage_pace = {};
};

// The elastic planner's parts. Each can be switched off to see what it is worth (other
// planners know layer_split alone).
struct PlannerFeatures {
  bool elastic_chunking = true;    // off: slices of equal tokens, packed first-fit
  bool packing = true;             // off: every whole sequence in a chunk of its own
  bool adaptive_recompute = true;  // off: the least number of layers, equal for chunks and stages
  bool grouping = true;            // off: all sequences of a 1F1B order in one pipeline
  bool list_scheduler = true;      // off: 1F1B orders alone, as the paper
  bool split_backward = true;      // off: no weight gradients apart
  bool layer_split = true;         // off: layers as equal as can be, whatever the head costs

  bool operator==(const PlannerFeatures&) const = default;
};

// Where and under which limits it will run.
struct PlanContext {
  Profile profile;
  int layers = 0;  // of the model
  Parallelism parallelism;
  std::optional<std::vector<int>> layers_per_stage;  // empty: balanced by the planner
  Bytes bytes_per_stage = 0.0;  // 0: the profile's device memory; both 0: no limit
  PlannerConfig config;
  PlannerFeatures features;

  Bytes limit() const { return profile.limit(bytes_per_stage); }
};

// What a configuration asks for, on the machine of this profile.
PlanContext plan_context(const TrainConfig& config, Profile profile);

// A batch that no plan of a layout holds.
class DoesNotFit final : public RunError {
 public:
  // `missing`: bytes that the stage lacks which needs most beyond its memory; > 0.
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
