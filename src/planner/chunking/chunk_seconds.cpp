#include "planner/chunking/chunk_seconds.h"

namespace infinipipe {

Seconds ChunkSeconds::chunk(const Chunk& chunk) const {
  Seconds seconds = per_chunk;
  for (const Slice& s : chunk.slices) seconds += slice(s.begin, s.end);
  return seconds;
}

ChunkSeconds chunk_seconds(const CostModel& cost, bool forward_only) {
  const auto mean = [&](const ChunkShape& shape) {
    Seconds sum = 0.0;
    for (int p = 0; p < cost.stage_count(); ++p) {
      sum += cost.forward(StageId(p), shape);
      if (!forward_only) sum += cost.backward(StageId(p), shape);
    }
    return sum / cost.stage_count();
  };
  // Probes are large, so that subtracting the constant costs no digits.
  constexpr double kToken2 = 0x1p40;
  constexpr Tokens kTokens = Tokens{1} << 20;
  constexpr int kSlices = 1 << 20;
  ChunkSeconds result;
  result.window = cost.profile().sliding_window;
  result.per_chunk = mean(ChunkShape{});
  const auto slope = [&](const ChunkShape& shape, double count) {
    const double difference = mean(shape) - result.per_chunk;
    return difference > 0.0 ? difference / count : 0.0;
  };
  result.per_token2 = slope(ChunkShape{.token2 = kToken2}, kToken2);
  result.per_token = slope(ChunkShape{.tokens = kTokens}, static_cast<double>(kTokens));
  result.per_slice = slope(ChunkShape{.slices = kSlices}, kSlices);
  result.per_context = slope(ChunkShape{.context = kTokens}, static_cast<double>(kTokens));
  return result;
}

}  // namespace infinipipe
