#include "baselines/pipeline_1f1b.h"

#include <algorithm>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

struct Stage {
  int forwards = 0;  // run so far
  int backwards = 0;
  Seconds free = 0.0;
  Bytes held = 0.0;
  std::vector<Seconds> activations_at;  // arrival of each chunk's input
  std::vector<Seconds> gradients_at;
  Seconds down_free = 0.0;  // the link to the next stage
  Seconds up_free = 0.0;
};

}  // namespace

PipelineRun run_1f1b(int stages, int chunks,
                     const std::function<ChunkCost(int stage, int chunk)>& cost,
                     const std::function<Seconds(int chunk)>& message) {
  PipelineRun result;
  const auto count = static_cast<std::size_t>(stages);
  result.busy.assign(count, 0.0);
  result.peak.assign(count, 0.0);
  std::vector<Stage> all(count);
  constexpr Seconds kNever = -1.0;
  for (Stage& stage : all) {
    stage.activations_at.assign(static_cast<std::size_t>(chunks), kNever);
    stage.gradients_at.assign(static_cast<std::size_t>(chunks), kNever);
  }
  std::fill(all[0].activations_at.begin(), all[0].activations_at.end(), 0.0);

  // One instruction of stage p, if its input is there.
  const auto advance = [&](std::size_t p) {
    Stage& stage = all[p];
    if (stage.backwards == chunks) return false;
    const int warmup = std::min(chunks, stages - static_cast<int>(p));
    const bool forward = stage.forwards < chunks && stage.forwards - stage.backwards < warmup;
    const int chunk = forward ? stage.forwards : stage.backwards;
    const auto c = static_cast<std::size_t>(chunk);
    const Seconds ready = forward ? stage.activations_at[c] : stage.gradients_at[c];
    if (ready == kNever) return false;
    const ChunkCost spent = cost(static_cast<int>(p), chunk);
    const Seconds taken = forward ? spent.forward : spent.backward;
    const Seconds end = std::max(stage.free, ready) + taken;
    stage.free = end;
    result.busy[p] += taken;
    result.seconds = std::max(result.seconds, end);
    const Seconds flight = message(chunk);
    if (forward) {
      ++stage.forwards;
      stage.held += spent.activations;
      result.peak[p] = std::max(result.peak[p], stage.held + spent.forward_workspace);
      if (p + 1 == count) {
        stage.gradients_at[c] = end;
      } else {
        stage.down_free = std::max(stage.down_free, end) + flight;
        all[p + 1].activations_at[c] = stage.down_free;
      }
    } else {
      ++stage.backwards;
      result.peak[p] = std::max(result.peak[p], stage.held + spent.workspace);
      stage.held -= spent.activations;
      if (p > 0) {
        stage.up_free = std::max(stage.up_free, end) + flight;
        all[p - 1].gradients_at[c] = stage.up_free;
      }
    }
    return true;
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t p = 0; p < count; ++p) {
      while (advance(p)) moved = true;
    }
  }
  for (const Stage& stage : all) {
    INFINIPIPE_ASSERT(stage.backwards == chunks, "1F1B stands still");
  }
  return result;
}

}  // namespace infinipipe
