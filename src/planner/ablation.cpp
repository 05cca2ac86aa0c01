#include "planner/ablation.h"

#include <algorithm>

#include "planner/static_planner.h"

namespace infinipipe {

namespace {

// The same slices, each whole sequence and each tail alone.
Chunking unpacked(const Chunking& packed, const ChunkSeconds& cost) {
  std::vector<std::vector<Chunk>> groups;
  for (const ChunkGroup& group : packed.groups) {
    std::vector<Chunk> cut;
    for (int k = group.begin; k < group.end; ++k) {
      const Chunk& chunk = packed.chunks[static_cast<std::size_t>(k)];
      for (std::size_t i = 0; i < chunk.slices.size(); ++i) {
        const bool split = chunk.kind != ChunkKind::kBatched && i == 0;
        Chunk alone{.kind = split ? ChunkKind::kSplit : ChunkKind::kBatched,
                    .slices = {chunk.slices[i]},
                    .keeping = {}};
        if (split) {
          cut.push_back(std::move(alone));
        } else {
          groups.push_back({std::move(alone)});
        }
      }
    }
    if (!cut.empty()) groups.push_back(std::move(cut));
  }
  const auto seconds = [&](const std::vector<Chunk>& group) {
    Seconds sum = 0.0;
    for (const Chunk& chunk : group) sum += cost.chunk(chunk);
    return sum;
  };
  std::stable_sort(groups.begin(), groups.end(), [&](const auto& a, const auto& b) {
    if (a.size() != b.size()) return a.size() > b.size();
    const Seconds left = seconds(a);
    const Seconds right = seconds(b);
    if (left != right) return left > right;
    return a.front().slices.front().sequence.value() < b.front().slices.front().sequence.value();
  });
  Chunking result;
  result.target_seconds = packed.target_seconds;
  result.target_tokens = packed.target_tokens;
  for (std::vector<Chunk>& group : groups) {
    const int begin = static_cast<int>(result.chunks.size());
    for (Chunk& chunk : group) {
      result.seconds.push_back(cost.chunk(chunk));
      result.chunks.push_back(std::move(chunk));
    }
    result.groups.push_back({begin, static_cast<int>(result.chunks.size())});
  }
  return result;
}

Chunking equal_slices(const std::vector<Tokens>& sequences, const ChunkSeconds& cost,
                      const ChunkingOptions& options) {
  const Tokens longest = *std::max_element(sequences.begin(), sequences.end());
  Tokens size = (longest + options.slices - 1) / options.slices;
  if (options.capacity > 0) size = std::min(size, options.capacity);
  if (options.slice_capacity > 0 && size < longest) size = std::min(size, options.slice_capacity);
  return uniform_slices(sequences, size, cost);
}

}  // namespace

Chunking cut_sequences(const std::vector<Tokens>& sequences, const ChunkSeconds& cost,
                       const ChunkingOptions& options, const PlannerFeatures& features) {
  Chunking chunking = features.elastic_chunking ? process_sequences(sequences, cost, options)
                                                : equal_slices(sequences, cost, options);
  return features.packing ? chunking : unpacked(chunking, cost);
}

std::optional<RecomputeMatrix> least_uniform_recompute(const StepLists& steps,
                                                       const ChunkTable& table) {
  const int most = *std::max_element(table.layers.begin(), table.layers.end());
  const auto matrix = [&](int layers) {
    RecomputeMatrix recompute(table.entries.size());
    for (int p = 0; p < table.stages; ++p) {
      const int count = std::min(layers, table.layers[static_cast<std::size_t>(p)]);
      for (int k = 0; k < table.chunks; ++k) recompute[table.index(p, k)] = count;
    }
    return recompute;
  };
  // Not bisected: the first recomputed layer needs workspace, so more is not always less.
  for (int layers = 0; layers <= most; ++layers) {
    RecomputeMatrix recompute = matrix(layers);
    if (fits(steps, table, recompute)) return recompute;
  }
  return std::nullopt;
}

}  // namespace infinipipe
