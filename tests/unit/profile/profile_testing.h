// Designs, and what a machine of a known profile would measure of them.
#pragma once

#include <utility>
#include <vector>

#include "base/random.h"
#include "profile/design.h"
#include "profile/fit.h"
#include "profile/samples.h"

namespace infinipipe::testing {

inline std::vector<LayerRange> stages_of(int stages, int layers) {
  std::vector<LayerRange> result;
  for (int p = 0; p < stages; ++p) {
    result.push_back({layers * p / stages, layers * (p + 1) / stages});
  }
  return result;
}

// All groups in one plan, in random order.
inline Plan plan_of(const std::vector<DesignGroup>& groups, const std::vector<LayerRange>& stages,
                    Random& random, Keep level = Keep::kInput) {
  std::vector<const DesignGroup*> order;
  for (const DesignGroup& group : groups) order.push_back(&group);
  random.shuffle(order);
  return design_plan(order, stages, level);
}

inline const char* name_of(ChunkKind kind) {
  return kind == ChunkKind::kSplit ? "split" : kind == ChunkKind::kHybrid ? "hybrid" : "batched";
}

// One sample for each instruction, each time off by at most `noise` of it.
inline std::vector<InstructionSample> planted_samples(const Plan& plan, const CostModel& cost,
                                                      double noise, Random& random) {
  const std::vector<bool> cut = plan.cut_sequences();
  std::vector<InstructionSample> samples;
  const auto noisy = [&](Seconds seconds) {
    return seconds * (1.0 + noise * (2.0 * random.uniform() - 1.0));
  };
  for (std::size_t p = 0; p < plan.stages.size(); ++p) {
    for (const Instruction& i : plan.replicas[0].instructions[p]) {
      const Chunk& chunk = plan.replicas[0].chunk(i);
      InstructionSample one;
      one.chunk = i.chunk.value();
      one.stage = StageId(p);
      one.op = i.op;
      one.shape = chunk_shape(chunk, plan.sequences, cut);
      one.kind = name_of(chunk.kind);
      one.context = chunk.context();
      one.keeping = chunk.kept_on(one.stage);
      one.seconds = noisy(cost.seconds(i.op, one.stage, one.shape));
      if (i.op == Op::kForward) one.temporary = predicted_temporary(one, cost);
      if (starts_backward(i.op)) {
        one.recompute_seconds = noisy(cost.recompute(one.stage, one.shape, one.keeping));
        one.temporary = predicted_temporary(one, cost);
      }
      samples.push_back(one);
    }
  }
  return samples;
}

}  // namespace infinipipe::testing
