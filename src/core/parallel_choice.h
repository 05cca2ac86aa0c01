// How the layouts of a cluster compare on a sample of batches, as plain values: what
// planner/parallel_choice.h finds and report/parallel_text.h shows.
#pragma once

#include <string>
#include <vector>

#include "infinipipe/core/plan.h"

namespace infinipipe {

// One layout. Seconds are means over the sample's steps. compute + recompute + wait + gathers +
// reduction + heads = seconds; the first three are means over stages and replicas.
struct ParallelOption {
  Parallelism parallelism;
  std::vector<LayerRange> stages;  // empty where the layout is not possible
  bool feasible = false;
  std::string note;  // feasible: what it loses with against the best; else why it can't run
  // Says that the layout has uneven heads, for which it pays: "heads uneven: 7 or 6 a device".
  // Empty where heads are even.
  std::string mark = {};
  // Where a batch does not fit: the bytes that the stage lacks which lacks most. Else 0.
  Bytes missing = 0.0;
  Seconds seconds = 0.0;
  Seconds lower_bound = 0.0;  // of the instructions alone
  Seconds compute = 0.0;      // all-to-all included
  Seconds recompute = 0.0;
  Seconds wait = 0.0;     // for other stages, and for the slowest replica
  Seconds gathers = 0.0;  // as cost/step_overhead.h, like the next two
  Seconds reduction = 0.0;
  Seconds heads = 0.0;
  double bubble = 0.0;  // of the plans (infinipipe::bubble()), the mean over the steps
  double tokens_per_second = 0.0;
  Bytes peak_bytes = 0.0;  // of any stage in any step
};

struct ParallelChoice {
  int devices = 0;
  int batches = 0;
  Tokens tokens = 0;             // of all batches
  Bytes bytes_per_device = 0.0;  // 0: no limit
  // Feasible ones first, fastest first; then the others by (stages, sequence_parallel).
  std::vector<ParallelOption> options;

  bool found() const { return !options.empty() && options.front().feasible; }
  // The layout that lacks least, among those that lack nothing but memory; the first among equals.
  // Null where there is none.
  const ParallelOption* nearest() const;
};

}  // namespace infinipipe
