// What the passes of one search share: the sequences, what bounds their chunks, and the schedules
// found so far. Each pass is a function on it; src/planner/epp.cpp lists them in order.
#pragma once

#include <limits>
#include <vector>

#include "planner/bound_context.h"
#include "planner/chunking/memory_bounds.h"
#include "planner/search/schedule.h"

namespace infinipipe {

class Draft final {
 public:
  // One replica's share, not empty; both must outlive the draft. `effort`: simulated steps that a
  // pass may spend.
  Draft(const std::vector<Tokens>& lengths, const BoundContext& context, double effort);

  const std::vector<Tokens>& lengths() const { return lengths_; }
  const BoundContext& context() const { return context_; }
  const ChunkSeconds& seconds() const { return seconds_; }
  // Ways to bound chunks so that one sequence at a time may fit; empty: the longest does not.
  const std::vector<ChunkBounds>& bounds() const { return bounds_; }
  Tokens longest() const { return longest_; }
  Tokens total() const { return total_; }
  double effort() const { return effort_; }
  // Seconds of the whole share on one device, nothing cut.
  Seconds work() const { return work_; }

  // Cuts the sequences, and looks up what each chunk costs on each stage. How much the cutting lacks
  // even one group at a time with all recomputed is kept for the message, if nothing fits.
  std::shared_ptr<const Cutting> cut(int slices, const ChunkingOptions& options);
  std::shared_ptr<const Cutting> cost_of(int slices, Chunking chunking);

  void add(Schedule schedule) { found_.push_back(std::move(schedule)); }
  // Of the schedules found; infinite where there is none.
  Seconds best_seconds() const;
  // Best first, the draft's own no more.
  std::vector<Schedule> take();

  // Where nothing fits: the stage that lacks most in the cutting that lacks least, and how much.
  StageId over_stage() const { return over_stage_; }
  Bytes over_bytes() const { return over_bytes_; }

 private:
  bool breaks_settings(const ChunkBounds& bounds) const;
  void remember_shortfall(const ChunkTable& table);

  const std::vector<Tokens>& lengths_;
  const BoundContext& context_;
  ChunkSeconds seconds_;
  double effort_;
  Tokens longest_ = 0;
  Tokens total_ = 0;
  Seconds work_ = 0.0;
  std::vector<ChunkBounds> bounds_;
  std::vector<Schedule> found_;
  bool seen_ = false;  // some cutting's shortfall
  StageId over_stage_;
  Bytes over_bytes_ = 0.0;
};

// The passes.

// Chunkings of many sizes under list schedules (list_search.h): coarse first, deeper around the
// best.
void search_lists(Draft& draft);
// What users would run without us, in 1F1B order. Most are dismissed by what their order takes at
// least.
void search_ordinary(Draft& draft);
// The search as the paper has it: for each number of slices Alg. 1, grouping, 1F1B and the integer
// programme. Chunkings are ranked with a greedy recomputation; the programme is solved for the
// first few of them, and not even for those whose order no recomputation could make faster than
// what is known, or whose greedy recomputation is much slower than that.
void search_programme(Draft& draft);

}  // namespace infinipipe
