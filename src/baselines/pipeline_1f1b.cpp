#include "baselines/pipeline_1f1b.h"

#include <algorithm>

#include "cost/memory_steps.h"
#include "cost/pipeline_clock.h"
#include "planner/schedules/one_f_one_b.h"
#include "planner/schedules/stage_steps.h"

namespace infinipipe {

namespace {

StepLists whole_chunks(int stages, int chunks) {
  StepLists lists(static_cast<std::size_t>(stages));
  for (int p = 0; p < stages; ++p) {
    each_of_1f1b(chunks, chunks, warmup_forwards(stages, p, 1), [&](Op op, int chunk) {
      lists[static_cast<std::size_t>(p)].push_back({op, chunk});
    });
  }
  return lists;
}

}  // namespace

PipelineRun run_1f1b(int stages, int chunks,
                     const std::function<ChunkCost(int stage, int chunk)>& cost,
                     const std::function<Seconds(int chunk)>& message) {
  const auto count = static_cast<std::size_t>(stages);
  const StepLists lists = whole_chunks(stages, chunks);
  std::vector<Seconds> transfer;
  for (int chunk = 0; chunk < chunks; ++chunk) transfer.push_back(message(chunk));
  PipelineClock clock(count, transfer);
  PipelineRun result;
  result.busy.assign(count, 0.0);
  result.peak.assign(count, 0.0);
  std::vector<HeldBytes> held(count);
  std::vector<std::size_t> next(count, 0);
  run_to_end(count, 2 * count * transfer.size(), [&](std::size_t p) {
    const std::size_t before = next[p];
    for (; next[p] < lists[p].size(); ++next[p]) {
      const auto [op, chunk] = lists[p][next[p]];
      const auto c = static_cast<std::size_t>(chunk);
      if (clock.arrival(op, p, c) == PipelineClock::kNotArrived) break;
      const ChunkCost spent = cost(static_cast<int>(p), chunk);
      const Seconds taken = op == Op::kForward ? spent.forward : spent.backward;
      result.busy[p] += taken;
      result.seconds = std::max(result.seconds, clock.run(op, p, c, taken).end);
      const MemoryStep step = memory_step(op, {.kept = {spent.activations, 0.0},
                                               .forward_work = spent.forward_workspace,
                                               .backward_work = spent.workspace});
      result.peak[p] = std::max(result.peak[p], held[p].begin(step));
      held[p].end(step);
    }
    return next[p] - before;
  });
  return result;
}

}  // namespace infinipipe
