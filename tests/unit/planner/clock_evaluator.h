// Small machines and batches for planner tests, judged by the planner's own clock.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "infinipipe/base/error.h"
#include "infinipipe/planner/factory.h"
#include "planner/schedules/stage_steps.h"

namespace infinipipe::test {

// Times and peaks by the planner's own clock and ledger, which other tests hold against the
// simulator's.
class ClockEvaluator final : public Evaluator {
 public:
  explicit ClockEvaluator(Bytes limit) : limit_(limit) {}

  Evaluation evaluate(const Plan& plan, const CostModel& cost, ReplicaId replica) const override {
    const Replica& content = plan.replicas.at(replica.index());
    Chunking chunking;
    std::vector<int> first;
    for (const Pipeline& pipeline : content.pipelines) {
      first.push_back(static_cast<int>(chunking.chunks.size()));
      for (const Chunk& chunk : pipeline.chunks) {
        const int k = static_cast<int>(chunking.chunks.size());
        if (chunk.context() > 0) {
          chunking.groups.back().end = k + 1;
        } else {
          chunking.groups.push_back({k, k + 1});
        }
        chunking.chunks.push_back(chunk);
      }
    }
    Evaluation result;
    if (chunking.chunks.empty()) return result;
    const ChunkTable table(chunking, plan.sequences, cost, limit_);
    StepLists steps;
    RecomputeMatrix recompute(table.entries.size());
    for (int p = 0; p < table.stages; ++p) {
      steps.emplace_back();
      for (const Instruction& i : content.instructions[static_cast<std::size_t>(p)]) {
        steps.back().push_back({i.op, first[i.pipeline.index()] + i.chunk.value()});
      }
      for (int k = 0; k < table.chunks; ++k) {
        recompute[table.index(p, k)] = chunking.chunks[static_cast<std::size_t>(k)]
                                           .keeping[static_cast<std::size_t>(p)]
                                           .remade();
      }
    }
    result.seconds = time_steps(steps, table, recompute).seconds;
    for (int p = 0; limit_ > 0.0 && p < table.stages; ++p) {
      const Bytes over = peak_bytes(steps[static_cast<std::size_t>(p)], p, table, recompute) -
                         table.budget[static_cast<std::size_t>(p)];
      if (over <= result.over_bytes) continue;
      result.over_stage = StageId(p);
      result.over_bytes = over;
    }
    return result;
  }

 private:
  Bytes limit_;
};

inline PlanContext machine(Random& random) {
  PlanContext context;
  context.parallelism.stages = static_cast<int>(random.between(1, 3));
  context.layers = context.parallelism.stages + static_cast<int>(random.between(0, 4));
  Profile& profile = context.profile;
  profile.forward = {.seconds_per_token2 = 1e-3 * random.uniform(),
                     .seconds_per_token = 1.0,
                     .seconds_per_chunk = 3.0 * random.uniform()};
  profile.backward = {.seconds_per_token2 = 2e-3 * random.uniform(), .seconds_per_token = 2.0};
  profile.memory.activation_bytes_per_token = 10.0 * context.layers;
  profile.memory.input_bytes_per_token = 1.0;
  profile.memory.kv_bytes_per_token = 0.5;
  profile.memory.kv_grad_bytes_per_token = 1.0;
  profile.links.p2p_seconds = 0.1;
  profile.links.p2p_bytes_per_second = 1.0;
  return context;
}

inline std::vector<Tokens> batch(Random& random) {
  std::vector<Tokens> lengths(static_cast<std::size_t>(random.between(1, 12)));
  for (Tokens& n : lengths) n = random.between(1, random.uniform() < 0.3 ? 200 : 30);
  return lengths;
}

inline Bytes tight_limit(Random& random, const PlanContext& context,
                         const std::vector<Tokens>& lengths) {
  Tokens total = 0;
  for (const Tokens n : lengths) total += n;
  const double layers = static_cast<double>(context.layers) / context.parallelism.stages;
  return 10.0 * layers * static_cast<double>(total) * (0.05 + random.uniform());
}

inline std::optional<Plan> plan_with(PlanContext context, const std::string& name,
                                     const std::vector<Tokens>& lengths) {
  context.config.name = name;
  try {
    return make_planner(context, std::make_shared<ClockEvaluator>(context.bytes_per_stage))
        ->plan({.sequences = lengths});
  } catch (const RunError&) {
    return std::nullopt;
  }
}

}  // namespace infinipipe::test
