// What all planners share: the machine's profile bound to a layout, an empty plan for a batch to
// start from, and the checks and the prediction that each finished plan gets.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "infinipipe/cost/evaluator.h"
#include "infinipipe/planner/planner.h"
#include "planner/chunking/chunk_table.h"

namespace infinipipe {

// The part of a batch that one data-parallel replica trains on.
struct ReplicaShare {
  std::vector<int> sequences;   // indices into the batch, ascending
  std::vector<Tokens> lengths;  // theirs
};

// What a planner made of such a part.
struct PlannedShare {
  Replica replica;  // its slices name positions in the share
  Seconds seconds = 0.0;
  PlannerReport report;  // the plan's, if this replica is the slowest
};

// Throws InputError where the profile does not say what making such layers again costs.
void require_known(const Profile& profile, Keep level);

// Immutable; shared between threads.
class BoundContext final {
 public:
  // `level`: what recomputed layers keep in all that is planned here. Throws InputError for a
  // context that no batch can be planned for.
  BoundContext(const PlanContext& context, std::shared_ptr<const Evaluator> evaluator,
               Keep level = Keep::kInput);

  const CostModel& cost() const { return cost_; }
  const Evaluator& evaluator() const { return *evaluator_; }
  const PlannerConfig& config() const { return config_; }
  // Whether a part of the elastic planner may run.
  bool has(Pass pass) const { return config_.passes.has(pass); }
  int stages() const { return cost_.stage_count(); }
  Keep level() const { return level_; }
  // Bytes per stage; 0: no limit.
  Bytes limit() const { return limit_; }
  // Whether a finished plan recomputes, or takes so much that memory may have shaped it.
  bool memory_binds(const Plan& plan) const;
  // What each chunk of a chunking of `lengths` costs on each stage.
  ChunkTable table(const Chunking& chunking, const std::vector<Tokens>& lengths) const;
  // The same context with so much less memory to plan for (0: the same); plans are still judged
  // under the whole limit.
  BoundContext with_less(Bytes bytes) const;

  // Everything but replicas and planner report. Throws InputError for a sequence below one token,
  // and where recomputed layers are to keep what the profile does not know the cost of.
  Plan start(const PlanRequest& request) const;
  // The finished plan of a batch, by the planner called `name`. The batch is dealt out to replicas
  // so that their work is near equal: heaviest first, each to the replica with the least work so
  // far; one replica gets everything, in order. `plan_share` then plans each part that has
  // sequences; it also gets the plan as far as it is made. Throws what start() and finish() do.
  Plan plan_by_shares(
      const std::string& name, const PlanRequest& request,
      const std::function<PlannedShare(const Plan&, const ReplicaShare&)>& plan_share) const;
  // A plan of `replica` of this share alone, in the layout of `plan`, to be evaluated.
  static Plan alone(const Plan& plan, const ReplicaShare& share, Replica replica);
  // Validates the plan from scratch, evaluates every replica and fills `predicted`. Throws
  // RunError where a stage's memory does not suffice.
  void finish(Plan& plan) const;
  // Throws DoesNotFit naming stage, bytes and what would help.
  [[noreturn]] void fail_memory(const Plan& plan, StageId stage, Bytes over) const;

 private:
  PlannerConfig config_;
  CostModel cost_;
  Keep level_ = Keep::kInput;
  Bytes limit_ = 0.0;
  std::string profile_hash_;
  std::shared_ptr<const Evaluator> evaluator_;
};

}  // namespace infinipipe
