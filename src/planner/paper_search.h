// The search as the paper has it: for each number of slices Alg. 1, grouping, 1F1B and the integer
// programme. Part of ours, so that ours is never slower, and available alone for comparison.
#pragma once

#include <functional>
#include <vector>

#include "planner/candidate.h"
#include "planner/memory_floor.h"
#include "planner/site.h"

namespace infinipipe {

// Schedules that fit and are faster than `beat` by the planner's clock, best first. Chunkings are
// ranked with a greedy recomputation; the programme is solved for the first few of them, and not
// even for those whose order no recomputation could make faster than `beat` or than one solved
// before, or whose greedy recomputation is much slower than that. `look` sees every chunking's
// table.
std::vector<Schedule> search_paper_schedules(const std::vector<Tokens>& lengths, const Site& site,
                                             const std::vector<MemoryWay>& ways, Seconds beat,
                                             const std::function<void(const ChunkTable&)>& look);

}  // namespace infinipipe
