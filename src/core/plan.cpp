#include "infinipipe/core/plan.h"

#include <algorithm>
#include <numeric>

namespace infinipipe {

const char* to_string(ChunkKind kind) {
  switch (kind) {
    case ChunkKind::kSplit:
      return "split";
    case ChunkKind::kHybrid:
      return "hybrid";
    case ChunkKind::kBatched:
      return "batched";
  }
  return "unknown";
}

Tokens Chunk::tokens() const {
  Tokens sum = 0;
  for (const Slice& slice : slices) sum += slice.tokens();
  return sum;
}

char op_letter(Op op) {
  switch (op) {
    case Op::kForward:
      return 'F';
    case Op::kBackward:
      return 'B';
    case Op::kInputGrad:
      return 'I';
    case Op::kWeightGrad:
      return 'W';
  }
  return '?';
}

std::string to_string(const Instruction& instruction) {
  std::string text(1, op_letter(instruction.op));
  text += std::to_string(instruction.pipeline.value());
  text += '.';
  text += std::to_string(instruction.chunk.value());
  return text;
}

std::string to_string(const Parallelism& parallelism) {
  return std::to_string(parallelism.stages) + " x " +
         std::to_string(parallelism.sequence_parallel) + " x " +
         std::to_string(parallelism.data_parallel);
}

double bubble(const std::vector<StagePrediction>& stages, Seconds seconds) {
  Seconds busy = 0.0;
  for (const StagePrediction& stage : stages) busy += stage.compute + stage.recompute;
  const double whole = static_cast<double>(stages.size()) * seconds;
  return whole > 0.0 ? 1.0 - busy / whole : 0.0;
}

Plan::Recomputed Plan::recomputed() const {
  Recomputed sum;
  for (const Replica& replica : replicas) {
    for (const Pipeline& pipeline : replica.pipelines) {
      for (const Chunk& chunk : pipeline.chunks) {
        for (const Keeping& keeping : chunk.keeping) {
          sum.layers += keeping.remade();
          for (std::size_t i = 0; i < kRemadeLevels; ++i) sum.by_level[i] += keeping.layers[i];
        }
      }
    }
  }
  return sum;
}

Tokens Plan::total_tokens() const {
  return std::accumulate(sequences.begin(), sequences.end(), Tokens{0});
}

std::vector<bool> Plan::cut_sequences() const {
  std::vector<bool> seen(sequences.size(), false);
  std::vector<bool> cut(sequences.size(), false);
  for (const Replica& replica : replicas) {
    for (const Pipeline& pipeline : replica.pipelines) {
      for (const Chunk& chunk : pipeline.chunks) {
        for (const Slice& slice : chunk.slices) {
          const std::size_t i = slice.sequence.index();
          if (i >= sequences.size()) continue;  // a broken plan; validate() says so
          if (seen[i]) cut[i] = true;
          seen[i] = true;
        }
      }
    }
  }
  return cut;
}

bool Plan::in_sub_groups() const {
  for (const Replica& replica : replicas) {
    for (const Pipeline& pipeline : replica.pipelines) {
      for (const Chunk& chunk : pipeline.chunks) {
        if (chunk.degree > 0) return true;
      }
    }
  }
  return false;
}

bool Plan::forward_only() const {
  for (const Replica& replica : replicas) {
    for (const auto& list : replica.instructions) {
      const bool forward = std::all_of(list.begin(), list.end(),
                                       [](const Instruction& i) { return i.op == Op::kForward; });
      if (!forward) return false;
    }
  }
  return true;
}

}  // namespace infinipipe
