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
  // In which sub-groups chunks may run; none where the settings or the layout do not allow any.
  const std::vector<SubGroupCost>& sub_groups() const { return sub_groups_; }
  // Bounds of chunk sizes within which each sequence fits alone; empty: the longest does not fit.
  const std::vector<ChunkBounds>& bounds() const { return bounds_; }
  Tokens longest() const { return longest_; }
  Tokens total() const { return total_; }
  double effort() const { return effort_; }
  // Seconds of the whole share on one device, nothing cut.
  Seconds work() const { return work_; }

  // Looks up what each chunk of the chunking costs on each stage. Also remembers how many bytes are
  // missing where a group does not fit even alone and with full recomputation: the error says it if
  // nothing fits in the end.
  std::shared_ptr<const Cutting> cost_of(int slices, Chunking chunking);

  void add(Schedule schedule) { found_.push_back(std::move(schedule)); }
  // Of the schedules found; infinite where there is none.
  Seconds best_seconds() const;
  // All schedules found, the fastest first. They are moved out: the draft has none afterwards.
  std::vector<Schedule> take();

  // For the error where nothing fits. Of the cuttings that were tried, the one that lacks fewest
  // bytes counts: its stage that lacks most, and how many bytes that are.
  StageId over_stage() const { return over_stage_; }
  Bytes over_bytes() const { return over_bytes_; }

 private:
  bool breaks_settings(const ChunkBounds& bounds) const;
  void remember_shortfall(const ChunkTable& table);

  const std::vector<Tokens>& lengths_;
  const BoundContext& context_;
  ChunkSeconds seconds_;
  std::vector<SubGroupCost> sub_groups_;
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

// Ordinary chunkings and the programme's are tried beyond so many chunks only where nothing else
// fits. Such chunkings come from many sequences of one length, which all become chunks of their own
// or are all cut into the same number of slices. A batch of so many sequences gains nothing from
// that, and the tables of such a chunking would take most of the memory.
constexpr std::size_t kMostChunks = std::size_t{1} << 16;

// The passes.

// Chunkings of many sizes under list schedules (list_search.h): coarse first, deeper around the
// best.
void search_lists(Draft& draft);
// The same with short sequences in sub-groups of a stage's devices.
void search_degrees(Draft& draft);
// The chunkings that users would run without this planner, in 1F1B order. Most of them are
// dismissed because a lower bound of their order is not faster than the best schedule so far.
void search_ordinary(Draft& draft);
// The search of the paper: for each number of slices Alg. 1, grouping, 1F1B and the integer
// programme. Chunkings are ranked with a greedy recomputation, and the programme is solved for the
// first few of them. It is not solved for an order whose lower bound is not below the best schedule
// so far, nor for one whose greedy recomputation is so much slower that the programme could not
// make up for it.
void search_programme(Draft& draft);

}  // namespace infinipipe
