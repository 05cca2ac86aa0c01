// Ordinary pipeline planners: one schedule, one static recomputation setting. They are what users
// compare with, and the fallback that the elastic planner must never be slower than.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "planner/one_f_one_b.h"
#include "planner/sequence_processor.h"
#include "planner/site.h"

namespace infinipipe {

// One way to cut and order one replica's share.
struct StaticRecipe {
  std::string schedule;  // "1f1b" or "gpipe"
  int slices = 1;
  Tokens chunk_tokens = 0;
  Chunking chunking;
};

// The recipes that a planner tries for one share; the fastest that fits wins.
using StaticRecipes = std::function<std::vector<StaticRecipe>(const std::vector<Tokens>& lengths,
                                                              const Site& site, bool forward_only)>;

std::unique_ptr<Planner> make_static_planner(std::string name, std::shared_ptr<const Site> site,
                                             StaticRecipes recipes);

// Whole sequences packed best-fit, 1F1B (DAPPLE, Megatron-LM without context parallelism).
std::vector<StaticRecipe> packed_1f1b_recipes(const std::vector<Tokens>& lengths, const Site& site,
                                              bool forward_only);
// The same chunks, all forwards before all backwards.
std::vector<StaticRecipe> gpipe_recipes(const std::vector<Tokens>& lengths, const Site& site,
                                        bool forward_only);
// Slices of one fixed size, first-fit packing of what is shorter (Seq1F1B).
std::vector<StaticRecipe> seq1f1b_recipes(const std::vector<Tokens>& lengths, const Site& site,
                                          bool forward_only);

// Slices of `chunk_tokens` tokens, tails and short sequences packed first-fit in batch order.
Chunking uniform_slices(const std::vector<Tokens>& lengths, Tokens chunk_tokens,
                        const ChunkSeconds& cost);

// A replica that runs `chunks` under `schedule`, every stage recomputing min(recompute, its
// layers).
Replica static_replica(const std::vector<Chunk>& chunks, const std::string& schedule, int recompute,
                       const CostModel& cost, bool forward_only);

}  // namespace infinipipe
