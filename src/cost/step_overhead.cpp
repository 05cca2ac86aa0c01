#include "infinipipe/cost/step_overhead.h"

#include <algorithm>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

double bandwidth(const std::map<int, double>& bandwidths, const char* name, int degree) {
  if (const auto found = bandwidths.find(degree); found != bandwidths.end()) return found->second;
  throw InputError(std::string("profile: links.") + name,
                   "no bandwidth for degree " + std::to_string(degree),
                   "expected its bytes per second",
                   "measure it, or choose other degrees of parallelism");
}

class Overhead final {
 public:
  Overhead(const Plan& plan, const CostModel& cost, int devices_per_node)
      : plan_(plan),
        cost_(cost),
        links_(cost.profile().links),
        group_(cost.parallelism().sequence_parallel),
        replicas_(cost.parallelism().data_parallel),
        per_node_(devices_per_node) {
    if (cost.profile().memory.state_sharded_over_all) {
      group_ *= replicas_ * cost.stage_count();
      replicas_ = 1;
    }
  }

  StepOverhead run() const {
    StepOverhead result;
    if (links_.all_gather.empty() && links_.reduce_scatter.empty()) return result;
    for (int p = 0; p < cost_.stage_count(); ++p) {
      const StageId stage(p);
      result.reduction = std::max(result.reduction, reduction(stage));
      if (group_ == 1) continue;
      for (const Replica& replica : plan_.replicas) {
        result.gathers = std::max(result.gathers, gathers(stage, replica));
      }
    }
    return result;
  }

 private:
  // Weights of a stage, whole; its gradients are as many bytes.
  Bytes weight_bytes(StageId stage) const {
    const MemoryCost& memory = cost_.profile().memory;
    const Bytes states =
        cost_.layers(stage) * memory.state_bytes_per_layer +
        (stage.value() == 0 ? memory.state_embedding_bytes : 0.0) +
        (stage.value() + 1 == cost_.stage_count() ? memory.state_head_bytes : 0.0);
    return states * (cost_.profile().dtype == "bfloat16" ? 2.0 : 4.0) / 16.0;
  }

  Seconds gathers(StageId stage, const Replica& replica) const {
    const int beside = std::min(group_, per_node_);
    const Bytes bytes = weight_bytes(stage);
    const Seconds gather = collective(links_.all_gather, "all_gather", bytes, group_, beside, group_);
    const Seconds reduce =
        collective(links_.reduce_scatter, "reduce_scatter", bytes, group_, beside, group_);
    const std::vector<bool> cut = plan_.cut_sequences();
    Seconds sum = 0.0;
    for (const Instruction& i : replica.instructions.at(stage.index())) {
      const Chunk& chunk = replica.chunk(i);
      const ChunkShape shape = chunk_shape(chunk, plan_.sequences, cut);
      const Seconds again = cost_.recompute(stage, shape, chunk.recompute.at(stage.index()));
      switch (i.op) {
        case Op::kForward:
          sum += std::max(0.0, gather - cost_.forward(stage, shape));
          break;
        case Op::kBackward:
          sum += std::max(0.0, gather + reduce - cost_.backward(stage, shape) - again);
          break;
        case Op::kInputGrad:
          sum += std::max(0.0, gather - cost_.input_grad(stage, shape) - again);
          break;
        case Op::kWeightGrad:
          sum += std::max(0.0, reduce - cost_.weight_grad(stage, shape));
          break;
      }
    }
    return sum;
  }

  // `bytes` gathered by (or reduced to shares of) each of `devices`, `beside` of which share a node:
  // inside it every device over its own link, across nodes each of them a part of the bytes, at the
  // rate for `span` devices. The slower of the two counts.
  static Seconds collective(const std::map<int, double>& bandwidths, const char* name, Bytes bytes,
                            int devices, int beside, int span) {
    Seconds inside = 0.0;
    if (beside > 1) inside = bytes * (beside - 1) / beside / bandwidth(bandwidths, name, beside);
    if (beside == devices) return inside;
    const double nodes = static_cast<double>(devices) / beside;
    const Seconds across =
        bytes / beside * (nodes - 1.0) / nodes / bandwidth(bandwidths, name, span);
    return std::max(inside, across);
  }

  Seconds reduction(StageId stage) const {
    if (replicas_ == 1) return 0.0;
    const Bytes bytes = weight_bytes(stage) / group_;
    const int beside = std::clamp(per_node_ / group_, 1, replicas_);
    const int span = group_ * replicas_;
    return collective(links_.reduce_scatter, "reduce_scatter", bytes, replicas_, beside, span) +
           collective(links_.all_gather, "all_gather", bytes, replicas_, beside, span);
  }

  const Plan& plan_;
  const CostModel& cost_;
  const LinkCost& links_;
  int group_;     // devices that share a stage's states
  int replicas_;  // of those groups
  int per_node_;
};

}  // namespace

StepOverhead step_overhead(const Plan& plan, const CostModel& cost, int devices_per_node) {
  INFINIPIPE_ASSERT(devices_per_node >= 1, "a node without devices");
  return Overhead(plan, cost, devices_per_node).run();
}

}  // namespace infinipipe
