#include "planner/bound_context.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/head_shares.h"
#include "cost/lower_bound.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/validate.h"
#include "planner/chunking/chunk_seconds.h"
#include "planner/layer_split.h"

namespace infinipipe {

namespace {

std::vector<ReplicaShare> deal_replicas(const std::vector<Tokens>& sequences, const CostModel& cost,
                                        int replicas) {
  std::vector<ReplicaShare> shares(static_cast<std::size_t>(replicas));
  const ChunkSeconds seconds = chunk_seconds(cost);
  std::vector<int> order(sequences.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return sequences[static_cast<std::size_t>(a)] > sequences[static_cast<std::size_t>(b)];
  });
  std::vector<Seconds> work(shares.size(), 0.0);
  for (const int i : order) {
    const auto least = static_cast<std::size_t>(
        std::distance(work.begin(), std::min_element(work.begin(), work.end())));
    shares[least].sequences.push_back(i);
    work[least] += seconds.slice(0, sequences[static_cast<std::size_t>(i)]);
  }
  for (ReplicaShare& share : shares) {
    std::sort(share.sequences.begin(), share.sequences.end());
    for (const int i : share.sequences) {
      share.lengths.push_back(sequences[static_cast<std::size_t>(i)]);
    }
  }
  return shares;
}

// Slices that name positions in the share name the batch's sequences.
void name_sequences(Replica& replica, const ReplicaShare& share) {
  for (Pipeline& pipeline : replica.pipelines) {
    for (Chunk& chunk : pipeline.chunks) {
      for (Slice& slice : chunk.slices) {
        slice.sequence = SequenceId(share.sequences[slice.sequence.index()]);
      }
    }
  }
}

CostModel layout_cost(const PlanContext& context) {
  require_heads(context.profile.heads, context.parallelism.sequence_parallel);
  return {context.profile, context.parallelism, stage_layers(context)};
}

}  // namespace

BoundContext::BoundContext(const PlanContext& context, std::shared_ptr<const Evaluator> evaluator,
                           Keep level)
    : config_(context.config),
      cost_(layout_cost(context)),
      level_(level),
      limit_(context.limit()),
      profile_hash_(infinipipe::profile_hash(context.profile)),
      evaluator_(std::move(evaluator)) {
  INFINIPIPE_ASSERT(evaluator_ != nullptr, "a planner needs an evaluator");
  if (config_.slices && *config_.slices < 1) {
    throw InputError("planner.slices", "found " + std::to_string(*config_.slices),
                     "expected at least 1, or \"auto\"");
  }
  if (config_.chunk_tokens && *config_.chunk_tokens < 1) {
    throw InputError("planner.chunk_tokens", "found " + std::to_string(*config_.chunk_tokens),
                     "expected at least 1, or \"auto\"");
  }
}

ChunkTable BoundContext::table(const Chunking& chunking, const std::vector<Tokens>& lengths) const {
  ChunkTable table(chunking, lengths, cost_, limit_, level_);
  table.passes = config_.passes;
  return table;
}

void require_known(const Profile& profile, Keep level) {
  if (profile.knows(level)) return;
  const KeepLevel& row = level_of(level);
  throw InputError(
      "planner.recompute_keeps",
      "found " + std::string(row.name) + ", and a profile without " + row.profile_field,
      "expected auto or input", "or measure the machine again");
}

BoundContext BoundContext::with_less(Bytes bytes) const {
  BoundContext less = *this;
  if (bytes <= 0.0) return less;
  less.limit_ = std::max(1.0, limit_ - bytes);
  return less;
}

Plan BoundContext::start(const PlanRequest& request) const {
  if (!request.forward_only) require_known(cost_.profile(), level_);
  for (std::size_t i = 0; i < request.sequences.size(); ++i) {
    if (request.sequences[i] >= 1) continue;
    throw InputError("plan",
                     "sequence " + std::to_string(i) + " has " +
                         std::to_string(request.sequences[i]) + " tokens",
                     "expected at least 1", "leave empty sequences out of the batch");
  }
  Plan plan;
  plan.step = request.step;
  plan.sequences = request.sequences;
  plan.parallelism = cost_.parallelism();
  plan.stages = cost_.stages();
  plan.bytes_per_stage = limit_;
  plan.profile_hash = profile_hash_;
  // A window that hides nothing of this batch is none: such a plan is the same with or without it.
  const Tokens window = cost_.profile().sliding_window;
  const bool hides = std::any_of(plan.sequences.begin(), plan.sequences.end(),
                                 [window](Tokens length) { return window > 0 && window < length; });
  if (hides) plan.sliding_window = window;
  Replica empty;
  empty.instructions.resize(plan.stages.size());
  plan.replicas.assign(static_cast<std::size_t>(plan.parallelism.data_parallel), empty);
  return plan;
}

Plan BoundContext::plan_by_shares(
    const std::string& name, const PlanRequest& request,
    const std::function<PlannedShare(const Plan&, const ReplicaShare&)>& plan_share) const {
  Plan plan = start(request);
  plan.planner.name = name;
  const std::vector<ReplicaShare> shares =
      deal_replicas(request.sequences, cost_, plan.parallelism.data_parallel);
  Seconds slowest = -1.0;
  for (std::size_t r = 0; r < shares.size(); ++r) {
    if (shares[r].lengths.empty()) continue;
    PlannedShare planned = plan_share(plan, shares[r]);
    name_sequences(planned.replica, shares[r]);
    plan.replicas[r] = std::move(planned.replica);
    if (planned.seconds <= slowest) continue;
    slowest = planned.seconds;
    plan.planner = std::move(planned.report);
    plan.planner.name = name;
  }
  finish(plan);
  return plan;
}

Plan BoundContext::alone(const Plan& plan, const ReplicaShare& share, Replica replica) {
  Plan alone = plan;
  alone.sequences = share.lengths;
  alone.replicas.assign(1, std::move(replica));
  return alone;
}

void BoundContext::finish(Plan& plan) const {
  require_valid(plan);
  Prediction prediction;
  prediction.stages.resize(plan.stages.size());
  std::vector<Bytes> peaks(plan.stages.size(), 0.0);  // over all replicas; times of the slowest
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const Evaluation evaluation = evaluator_->evaluate(plan, cost_, ReplicaId(r));
    if (evaluation.over_stage) fail_memory(plan, *evaluation.over_stage, evaluation.over_bytes);
    for (std::size_t p = 0; p < evaluation.stages.size(); ++p) {
      peaks[p] = std::max(peaks[p], evaluation.stages[p].peak_bytes);
    }
    if (r > 0 && evaluation.seconds <= prediction.seconds) continue;
    prediction.seconds = evaluation.seconds;
    prediction.bubble = evaluation.bubble;
    prediction.stages = evaluation.stages;
  }
  for (std::size_t p = 0; p < prediction.stages.size(); ++p) {
    prediction.stages[p].peak_bytes = peaks[p];
  }
  prediction.lower_bound =
      lower_bound(cost_.profile(), cost_.parallelism(), cost_.total_layers(), plan.sequences,
                  limit_, plan.forward_only(), plan.in_sub_groups())
          .seconds;
  prediction.step_overhead = cost_.profile().step_seconds;
  plan.predicted = std::move(prediction);
}

bool BoundContext::memory_binds(const Plan& plan) const {
  constexpr double kPlenty = 0.5;  // of a stage's memory: below it plans are not shaped by it
  const auto& stages = plan.predicted->stages;
  return std::any_of(stages.begin(), stages.end(), [&](const StagePrediction& stage) {
    return stage.recompute > 0.0 || (limit_ > 0.0 && stage.peak_bytes > kPlenty * limit_);
  });
}

void BoundContext::fail_memory(const Plan& plan, StageId stage, Bytes over) const {
  const Tokens longest =
      plan.sequences.empty() ? 0 : *std::max_element(plan.sequences.begin(), plan.sequences.end());
  throw DoesNotFit(
      "stage " + std::to_string(stage.value()) + " needs " + format_bytes(limit_ + over) + " of " +
          format_bytes(limit_) + " (" + format_bytes(cost_.state_bytes(stage)) +
          " of it model states; longest sequence " + format_count(longest) +
          " tokens), even with full recomputation" +
          (level_ == Keep::kInput ? "" : std::string(" that keeps ") + level_of(level_).name),
      "raise memory.bytes_per_stage, add stages or sequence parallelism, or lower "
      "data.max_sequence_length",
      over);
}

}  // namespace infinipipe
