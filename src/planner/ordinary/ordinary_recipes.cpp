// The settings that each baseline's users would try.
#include <algorithm>
#include <numeric>

#include "infinipipe/base/error.h"
#include "planner/chunking/ordinary_cutting.h"
#include "planner/ordinary/ordinary_planner.h"

namespace infinipipe {

namespace {

Tokens sum_of(const std::vector<Tokens>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), Tokens{0});
}

// Chunk sizes worth trying, two an octave: least x 1, 1.5, 2, 3, 4, ... until one chunk holds the
// whole share or there are `most`.
std::vector<Tokens> tried_sizes(Tokens least, const std::vector<Tokens>& lengths,
                                std::size_t most) {
  const Tokens total = sum_of(lengths);
  std::vector<Tokens> sizes;
  Tokens octave = std::max<Tokens>(1, least);
  while (sizes.size() < most) {
    for (const Tokens size : {octave, octave + octave / 2}) {
      if (sizes.size() == most || (!sizes.empty() && size == sizes.back())) continue;
      sizes.push_back(size);
      if (size >= total) return sizes;
    }
    octave *= 2;
  }
  return sizes;
}

// What the user fixed, else sizes from 1/32 of the longest sequence up.
std::vector<Tokens> slice_sizes(const std::vector<Tokens>& lengths, const BoundContext& context) {
  const Tokens longest = *std::max_element(lengths.begin(), lengths.end());
  if (context.config().chunk_tokens) return {*context.config().chunk_tokens};
  if (context.config().slices) {
    return {(longest + *context.config().slices - 1) / *context.config().slices};
  }
  return tried_sizes((longest + 31) / 32, lengths, 16);
}

OrdinaryRecipe uniform_recipe(const char* schedule, const std::vector<Tokens>& lengths, Tokens size,
                              const ChunkSeconds& cost) {
  const Tokens longest = *std::max_element(lengths.begin(), lengths.end());
  return {.schedule = schedule,
          .slices = static_cast<int>((longest + size - 1) / size),
          .chunk_tokens = size,
          .chunking = uniform_slices(lengths, size, cost)};
}

// Whole sequences, first-fit decreasing into chunks of `size` tokens; a longer sequence has one for
// itself. Slowest chunk first.
Chunking pack_whole(const std::vector<Tokens>& lengths, Tokens size, const ChunkSeconds& cost) {
  std::vector<int> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return lengths[static_cast<std::size_t>(a)] > lengths[static_cast<std::size_t>(b)];
  });
  std::vector<Chunk> chunks;
  std::vector<Tokens> used;
  for (const int i : order) {
    const Tokens length = lengths[static_cast<std::size_t>(i)];
    std::size_t at = 0;
    while (at < chunks.size() && used[at] + length > size) ++at;
    if (at == chunks.size()) {
      chunks.push_back({.kind = ChunkKind::kBatched, .slices = {}, .keeping = {}});
      used.push_back(0);
    }
    chunks[at].slices.push_back({SequenceId(i), 0, length});
    used[at] += length;
  }
  std::stable_sort(chunks.begin(), chunks.end(),
                   [&](const Chunk& a, const Chunk& b) { return cost.chunk(a) > cost.chunk(b); });
  Chunking result;
  result.target_tokens = size;
  for (Chunk& chunk : chunks) {
    const int k = static_cast<int>(result.chunks.size());
    result.groups.push_back({k, k + 1});
    result.seconds.push_back(cost.chunk(chunk));
    result.target_seconds = std::max(result.target_seconds, result.seconds.back());
    result.chunks.push_back(std::move(chunk));
  }
  return result;
}

}  // namespace

std::vector<OrdinaryRecipe> packed_recipes(const char* schedule, const std::vector<Tokens>& lengths,
                                           const BoundContext& context, bool forward_only) {
  const ChunkSeconds cost = chunk_seconds(context.cost(), forward_only);
  const Tokens longest = *std::max_element(lengths.begin(), lengths.end());
  std::vector<Tokens> sizes = tried_sizes((longest + 7) / 8, lengths, 16);
  Tokens capacity = 0;
  if (context.config().chunk_tokens) {
    capacity = *context.config().chunk_tokens;
    sizes = {capacity};
  }
  std::vector<OrdinaryRecipe> recipes;
  for (const Tokens size : sizes) {
    const int slices = context.config().slices.value_or(1);
    recipes.push_back(
        {.schedule = schedule, .slices = slices, .chunk_tokens = size, .chunking = {}});
    recipes.back().chunking =
        size < longest && capacity == 0 && slices == 1
            ? pack_whole(lengths, size, cost)
            : process_sequences(lengths, cost,
                                {.slices = slices, .capacity = capacity, .pack_tokens = size});
  }
  return recipes;
}

std::vector<OrdinaryRecipe> packed_1f1b_recipes(const std::vector<Tokens>& lengths,
                                                const BoundContext& context, bool forward_only) {
  return packed_recipes(schedule_name::kOneFOneB, lengths, context, forward_only);
}

std::vector<OrdinaryRecipe> gpipe_recipes(const std::vector<Tokens>& lengths,
                                          const BoundContext& context, bool forward_only) {
  std::vector<OrdinaryRecipe> recipes;
  for (const OrdinaryRecipe& recipe :
       packed_recipes(schedule_name::kGpipe, lengths, context, forward_only)) {
    const int groups = static_cast<int>(recipe.chunking.groups.size());
    for (int flushes = 1;; flushes = std::min(groups, 2 * flushes)) {
      recipes.push_back(recipe);
      recipes.back().flushes = flushes;
      if (flushes >= groups || forward_only) break;
    }
  }
  return recipes;
}

std::vector<OrdinaryRecipe> sliced_recipes(const char* schedule, const std::vector<Tokens>& lengths,
                                           const BoundContext& context, bool forward_only) {
  const ChunkSeconds cost = chunk_seconds(context.cost(), forward_only);
  std::vector<OrdinaryRecipe> recipes;
  for (const Tokens size : slice_sizes(lengths, context)) {
    recipes.push_back(uniform_recipe(schedule, lengths, size, cost));
  }
  return recipes;
}

std::vector<OrdinaryRecipe> seq1f1b_recipes(const std::vector<Tokens>& lengths,
                                            const BoundContext& context, bool forward_only) {
  return sliced_recipes(schedule_name::kOneFOneB, lengths, context, forward_only);
}

std::vector<OrdinaryRecipe> rival_recipes(const std::vector<Tokens>& lengths,
                                          const BoundContext& context, bool forward_only) {
  std::vector<OrdinaryRecipe> recipes = packed_1f1b_recipes(lengths, context, forward_only);
  for (OrdinaryRecipe& recipe : seq1f1b_recipes(lengths, context, forward_only)) {
    recipes.push_back(std::move(recipe));
  }
  return recipes;
}

std::vector<OrdinaryRecipe> seq1f1b_fixed_recipes(const std::vector<Tokens>& lengths,
                                                  const BoundContext& context, bool forward_only) {
  const Tokens longest = *std::max_element(lengths.begin(), lengths.end());
  const int slices = context.config().slices.value_or(kUntunedSlices);
  const Tokens size = context.config().chunk_tokens.value_or((longest + slices - 1) / slices);
  std::vector<OrdinaryRecipe> recipes;
  recipes.push_back(uniform_recipe(schedule_name::kOneFOneB, lengths, size,
                                   chunk_seconds(context.cost(), forward_only)));
  recipes.back().all_or_nothing = true;
  return recipes;
}

std::vector<OrdinaryRecipe> mepipe_recipes(const std::vector<Tokens>& lengths,
                                           const BoundContext& context, bool forward_only) {
  if (forward_only) return seq1f1b_recipes(lengths, context, true);
  const ChunkSeconds cost = chunk_seconds(context.cost());
  std::vector<OrdinaryRecipe> recipes;
  for (const Tokens size : slice_sizes(lengths, context)) {
    for (const int held : {0, 1, 2, 4, 8, -1}) {
      recipes.push_back(uniform_recipe(schedule_name::kMepipe, lengths, size, cost));
      recipes.back().held_weights = held;
    }
  }
  return recipes;
}

}  // namespace infinipipe
