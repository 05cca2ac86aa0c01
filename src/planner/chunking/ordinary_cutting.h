// Cutting as other systems do it: slices of equal tokens, first-fit packing, or none. Ordinary
// planners cut so, and the elastic one where a pass of its own is switched off.
#pragma once

#include <vector>

#include "infinipipe/core/passes.h"
#include "planner/chunking/sequence_processor.h"

namespace infinipipe {

// Slices of `chunk_tokens` tokens, tails and short sequences packed first-fit in batch order.
Chunking uniform_slices(const std::vector<Tokens>& lengths, Tokens chunk_tokens,
                        const ChunkSeconds& cost);

// process_sequences() where all passes may run. Without elastic cutting slices of
// ceil(longest / options.slices) tokens, within the capacities, packed first-fit. Without packing
// the tails and every whole sequence have chunks of their own.
Chunking cut_sequences(const std::vector<Tokens>& sequences, const ChunkSeconds& cost,
                       const ChunkingOptions& options, const PassSet& passes);

}  // namespace infinipipe
