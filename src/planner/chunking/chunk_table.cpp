#include "planner/chunking/chunk_table.h"

#include <algorithm>
#include <limits>

namespace infinipipe {

ChunkTable::ChunkTable(const Chunking& chunking, const std::vector<Tokens>& sequences,
                       const CostModel& cost, Bytes limit, Keep recomputed)
    : stages(cost.stage_count()),
      chunks(static_cast<int>(chunking.chunks.size())),
      groups(chunking.groups),
      level(recomputed) {
  entries.resize(static_cast<std::size_t>(stages) * static_cast<std::size_t>(chunks));
  transfer.resize(static_cast<std::size_t>(chunks));
  group_of.resize(static_cast<std::size_t>(chunks));
  std::vector<bool> cut(sequences.size(), false);
  for (int g = 0; g < static_cast<int>(groups.size()); ++g) {
    const ChunkGroup& group = groups[static_cast<std::size_t>(g)];
    for (int k = group.begin; k < group.end; ++k) group_of[static_cast<std::size_t>(k)] = g;
    for (int k = group.end; k > group.begin; --k) backward.push_back(k - 1);
    const Chunk& first = chunking.chunks[static_cast<std::size_t>(group.begin)];
    if (group.slices() > 1) cut[first.slices.at(0).sequence.index()] = true;
  }
  for (int p = 0; p < stages; ++p) {
    const StageId stage(p);
    layers.push_back(cost.layers(stage));
    // A hair less than there is: sums in another order may differ in the last digits.
    budget.push_back(limit > 0.0
                         ? limit * (1.0 - 1e-12) - cost.state_bytes(stage) - cost.workspace_bytes()
                         : std::numeric_limits<double>::infinity());
  }
  std::vector<Bytes> reserve(static_cast<std::size_t>(stages), 0.0);
  for (int k = 0; k < chunks; ++k) {
    const Chunk& chunk = chunking.chunks[static_cast<std::size_t>(k)];
    const ChunkShape shape = cost.shape(chunk, sequences, cut);
    transfer[static_cast<std::size_t>(k)] = cost.transfer(shape);
    for (int p = 0; p < stages; ++p) {
      const StageId stage(p);
      ChunkEntry& entry = entries[index(p, k)];
      entry.forward = cost.forward(stage, shape);
      entry.backward = cost.backward(stage, shape);
      entry.weight = cost.weight_grad(stage, shape);
      if (shape.degree > 0)
        entry.input_more = cost.input_grad(stage, shape) - (entry.backward - entry.weight);
      const Keeping one = Keeping::of(level, 1);
      entry.layer = cost.recompute_layer(stage, shape, level);
      entry.activation = cost.activation_bytes(stage, shape, {});
      entry.saved = entry.activation - cost.activation_bytes(stage, shape, one) -
                    cost.kept_kv_bytes(stage, shape, one);
      entry.workspace = cost.recompute_workspace_bytes(stage, shape);
      entry.grads_open = cost.kv_grad_bytes(stage, shape.cut_sequence_tokens);
      entry.grads_free = cost.kv_grad_bytes(stage, shape.cut_tokens);
      if (!cost.layerwise()) continue;
      entry.forward_workspace = entry.saved;
      reserve[static_cast<std::size_t>(p)] = std::max(
          reserve[static_cast<std::size_t>(p)],
          cost.temporary_bound(stage, shape) + kWaitingMessages * cost.message_bytes(shape));
    }
  }
  for (std::size_t p = 0; p < reserve.size(); ++p) budget[p] -= reserve[p];
}

std::vector<Bytes> group_peaks(const ChunkTable& table, const RecomputeMatrix& recompute, int stage,
                               int group) {
  const ChunkGroup& g = table.groups[static_cast<std::size_t>(group)];
  std::vector<Bytes> peaks;
  peaks.reserve(static_cast<std::size_t>(g.slices()));
  Bytes held = 0.0;
  Bytes grads = 0.0;
  for (int k = g.begin; k < g.end; ++k) {
    const ChunkEntry& entry = table.at(stage, k);
    const int r = recompute[table.index(stage, k)];
    const MemoryStep forward = entry.memory(Op::kForward, r);
    const MemoryStep backward = entry.memory(Op::kBackward, r);
    held += forward.opens.total();
    grads += backward.closes_grads;
    const Bytes now = std::max(held + grads + backward.holds, held + forward.holds);
    peaks.push_back(peaks.empty() ? now : std::max(peaks.back(), now));
  }
  return peaks;
}

}  // namespace infinipipe
