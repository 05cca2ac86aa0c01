#include "planner/chunking/ordinary_cutting.h"

#include <algorithm>

#include "infinipipe/base/error.h"

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

Chunking uniform_slices(const std::vector<Tokens>& lengths, Tokens chunk_tokens,
                        const ChunkSeconds& cost) {
  INFINIPIPE_ASSERT(chunk_tokens >= 1, "slices without tokens");
  std::vector<std::vector<Chunk>> cut;  // a run of chunks for each sequence that is cut
  std::vector<Chunk> open;  // first fit: tails first, then batched, in the order of opening
  std::vector<Tokens> used;
  std::vector<int> home;  // of an open tail: which run; -1: none
  for (int i = 0; i < static_cast<int>(lengths.size()); ++i) {
    const Tokens length = lengths[static_cast<std::size_t>(i)];
    if (length <= chunk_tokens) continue;
    std::vector<Chunk> run;
    for (Tokens at = 0; at < length;) {
      const Tokens end = std::min(length, at + chunk_tokens);
      run.push_back(
          {.kind = ChunkKind::kSplit, .slices = {{SequenceId(i), at, end}}, .keeping = {}});
      at = end;
    }
    open.push_back(run.back());
    used.push_back(run.back().tokens());
    home.push_back(static_cast<int>(cut.size()));
    cut.push_back(std::move(run));
  }
  for (int i = 0; i < static_cast<int>(lengths.size()); ++i) {
    const Tokens length = lengths[static_cast<std::size_t>(i)];
    if (length > chunk_tokens) continue;
    std::size_t at = 0;
    while (at < open.size() && used[at] + length > chunk_tokens) ++at;
    if (at == open.size()) {
      open.push_back({.kind = ChunkKind::kBatched, .slices = {}, .keeping = {}});
      used.push_back(0);
      home.push_back(-1);
    }
    open[at].slices.push_back({SequenceId(i), 0, length});
    used[at] += length;
    if (home[at] >= 0) open[at].kind = ChunkKind::kHybrid;
  }
  for (std::size_t at = 0; at < open.size(); ++at) {
    if (home[at] >= 0) cut[static_cast<std::size_t>(home[at])].back() = open[at];
  }
  std::stable_sort(cut.begin(), cut.end(),
                   [](const auto& a, const auto& b) { return a.size() > b.size(); });

  Chunking result;
  result.target_tokens = chunk_tokens;
  const auto add = [&](std::vector<Chunk> chunks) {
    const int begin = static_cast<int>(result.chunks.size());
    for (Chunk& chunk : chunks) {
      result.seconds.push_back(cost.chunk(chunk));
      result.target_seconds = std::max(result.target_seconds, result.seconds.back());
      result.chunks.push_back(std::move(chunk));
    }
    result.groups.push_back({begin, static_cast<int>(result.chunks.size())});
  };
  for (std::vector<Chunk>& run : cut) add(std::move(run));
  for (std::size_t at = 0; at < open.size(); ++at) {
    if (home[at] < 0) add({std::move(open[at])});
  }
  return result;
}

Chunking cut_sequences(const std::vector<Tokens>& sequences, const ChunkSeconds& cost,
                       const ChunkingOptions& options, const PassSet& passes) {
  Chunking chunking = passes.has(Pass::kElasticCutting)
                          ? process_sequences(sequences, cost, options)
                          : equal_slices(sequences, cost, options);
  return passes.has(Pass::kPacking) ? chunking : unpacked(chunking, cost);
}

}  // namespace infinipipe
