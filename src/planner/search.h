// The search over chunkings and schedules for one replica's share of a batch.
#pragma once

#include <optional>
#include <vector>

#include "planner/candidate.h"
#include "planner/site.h"

namespace infinipipe {

struct SearchResult {
  // Best first, one for each chunking and kind of schedule that came far; empty: nothing fits.
  std::vector<Schedule> schedules;
  // Where nothing fits: the stage that lacks most even with full recomputation, and how much.
  StageId over_stage;
  Bytes over_bytes = 0.0;
};

struct SearchOptions {
  // Only what the paper does: its chunking, grouping and integer programme over 1F1B.
  bool paper_only = false;
  // Simulated steps to spend.
  double effort = 3e6;
};

// Judges by the planner's own clock; the caller evaluates the first few exactly. `lengths` is not
// empty. Deterministic.
SearchResult search_schedules(const std::vector<Tokens>& lengths, const Site& site,
                              const SearchOptions& options);

}  // namespace infinipipe
