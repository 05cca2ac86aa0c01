// 1F1B of whole chunks with any times: what the event simulator does for a plan, for systems whose
// chunks cost what no profile can say.
#pragma once

#include <functional>
#include <vector>

#include "infinipipe/base/units.h"

namespace infinipipe {

// One chunk on one stage.
struct ChunkCost {
  Seconds forward = 0.0;
  Seconds backward = 0.0;   // recomputation included
  Bytes activations = 0.0;  // from the start of the forward to the end of the backward
  Bytes workspace = 0.0;    // during the backward
  Bytes forward_workspace = 0.0;
};

struct PipelineRun {
  Seconds seconds = 0.0;
  std::vector<Seconds> busy;  // per stage
  std::vector<Bytes> peak;    // per stage, without what is always there
};

// Stage p (from 0) runs min(chunks, stages - p) forwards, then a backward and a forward in turn, in
// the order of the chunks. A message takes message(chunk) on a link that carries one at a time in
// each direction. `cost(stage, chunk)`. O(stages x chunks).
PipelineRun run_1f1b(int stages, int chunks,
                     const std::function<ChunkCost(int stage, int chunk)>& cost,
                     const std::function<Seconds(int chunk)>& message);

}  // namespace infinipipe
