// Ordinary pipeline planners: one schedule, one static recomputation setting. They are what users
// compare with, and the fallback that the elastic planner must never be slower than.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "planner/bound_context.h"
#include "planner/chunking/sequence_processor.h"
#include "planner/schedules/schedules.h"

namespace infinipipe {

// How an ordinary planner cuts and orders one replica's share.
struct OrdinaryRecipe {
  const char* schedule = schedule_name::kOneFOneB;  // a row that orders given chunks
  int slices = 1;
  Tokens chunk_tokens = 0;
  Chunking chunking;
  int held_weights = 0;         // how many weight gradients a stage may hold back, -1: any
  int flushes = 1;              // pipelines that run one after the other (at most one a group)
  bool all_or_nothing = false;  // recompute every layer or none, not the least number that fits
};

// The recipes that a planner tries for one share; the fastest that fits wins.
using RecipeMaker = std::vector<OrdinaryRecipe> (*)(const std::vector<Tokens>& lengths,
                                                    const BoundContext& context, bool forward_only);
using OrdinaryRecipes = std::function<std::remove_pointer_t<RecipeMaker>>;

std::unique_ptr<Planner> make_ordinary_planner(std::string name,
                                               std::shared_ptr<const BoundContext> context,
                                               OrdinaryRecipes recipes);

// What users of each system would try, unless the configuration fixes slices or chunk_tokens: chunk
// sizes two an octave, from an eighth (packing) or a 32nd (slices) of the longest sequence up.

// Whole sequences packed, under a schedule of that name. Below the longest sequence's size
// first-fit decreasing by tokens, from there up best fit on time and tokens.
std::vector<OrdinaryRecipe> packed_recipes(const char* schedule, const std::vector<Tokens>& lengths,
                                           const BoundContext& context, bool forward_only);
// Slices of one fixed size, first-fit packing of what is shorter, under a schedule of that name.
std::vector<OrdinaryRecipe> sliced_recipes(const char* schedule, const std::vector<Tokens>& lengths,
                                           const BoundContext& context, bool forward_only);

// packed_recipes() in 1F1B order (DAPPLE, Megatron-LM without context parallelism).
std::vector<OrdinaryRecipe> packed_1f1b_recipes(const std::vector<Tokens>& lengths,
                                                const BoundContext& context, bool forward_only);
// The same chunks, all forwards before all backwards, in as many flushes (gradients accumulate) as
// is fastest: 1, 2, 4, ... up to one chunk a flush.
std::vector<OrdinaryRecipe> gpipe_recipes(const std::vector<Tokens>& lengths,
                                          const BoundContext& context, bool forward_only);
// sliced_recipes() in 1F1B order (Seq1F1B).
std::vector<OrdinaryRecipe> seq1f1b_recipes(const std::vector<Tokens>& lengths,
                                            const BoundContext& context, bool forward_only);
// Both: what the elastic planner must never be slower than.
std::vector<OrdinaryRecipe> rival_recipes(const std::vector<Tokens>& lengths,
                                          const BoundContext& context, bool forward_only);

// Seq1F1B as it comes: one slice size (the configuration's chunk_tokens, else the longest sequence
// in kUntunedSlices) and recomputation of all layers or of none.
inline constexpr int kUntunedSlices = 4;
std::vector<OrdinaryRecipe> seq1f1b_fixed_recipes(const std::vector<Tokens>& lengths,
                                                  const BoundContext& context, bool forward_only);
// Slices as Seq1F1B's, backwards split, weight gradients held back to fill waits (MEPipe).
std::vector<OrdinaryRecipe> mepipe_recipes(const std::vector<Tokens>& lengths,
                                           const BoundContext& context, bool forward_only);

// A replica that runs the recipe on `lengths`, every stage recomputing min(recompute, its layers),
// which keep `level`.
Replica ordinary_replica(const OrdinaryRecipe& recipe, const std::vector<Tokens>& lengths,
                         int recompute, const CostModel& cost, bool forward_only,
                         Keep level = Keep::kInput);

// The same in one flush of a schedule that holds no weights, for chunks that come from elsewhere.
Replica ordinary_replica(const std::vector<Chunk>& chunks, const char* schedule, int recompute,
                         const CostModel& cost, bool forward_only);

}  // namespace infinipipe
