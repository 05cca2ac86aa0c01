// A schedule of one's own: whole sequences, the longest one last, in the order of 1F1B. It is a
// Planner like those of the library, so that its plans are proven, simulated and compared by the
// same tools, and written to files that `infinipipe validate` and `simulate` read.
//
//   own_schedule      writes longest_last.json and longest_last.html here
#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/report/timeline.h"
#include "infinipipe/sim/simulator.h"

namespace {

using namespace infinipipe;

// Equal layers on every stage, whatever the head costs.
std::vector<LayerRange> equal_stages(int layers, int stages) {
  std::vector<LayerRange> ranges;
  for (int p = 0; p < stages; ++p) {
    ranges.push_back({layers * p / stages, layers * (p + 1) / stages});
  }
  return ranges;
}

// A stage of 1F1B runs `warmup` forwards; then a backward and a forward take turns.
std::vector<Instruction> one_forward_one_backward(int chunks, int warmup) {
  std::vector<Instruction> list;
  int forward = 0;
  const auto run = [&](Op op, int chunk) { list.push_back({op, PipelineId{0}, ChunkId{chunk}}); };
  while (forward < std::min(chunks, warmup)) run(Op::kForward, forward++);
  for (int backward = 0; backward < chunks; ++backward) {
    run(Op::kBackward, backward);
    if (forward < chunks) run(Op::kForward, forward++);
  }
  return list;
}

class LongestLast final : public Planner {
 public:
  explicit LongestLast(PlanContext context)
      : context_(std::move(context)),
        cost_(context_.profile, context_.parallelism,
              equal_stages(context_.layers, context_.parallelism.stages)) {}

  // Every layer keeps everything where that fits, else its input alone.
  Plan plan(const PlanRequest& request) const override {
    Plan kept = planned(request, Keep::kAll);
    if (fits(kept)) return kept;
    Plan remade = planned(request, Keep::kInput);
    require_fits(remade, cost_, context_.limit());  // throws, naming the stage and the bytes
    return remade;
  }

 private:
  Plan planned(const PlanRequest& request, Keep keep) const {
    std::vector<int> order(request.sequences.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return request.sequences[static_cast<std::size_t>(a)] <
             request.sequences[static_cast<std::size_t>(b)];
    });

    std::vector<Keeping> keeping;  // by stage
    for (const LayerRange& stage : cost_.stages()) {
      keeping.push_back(Keeping::of(keep, stage.count()));
    }
    Pipeline pipeline;
    for (const int sequence : order) {
      const Tokens length = request.sequences[static_cast<std::size_t>(sequence)];
      pipeline.backward.push_back(static_cast<int>(pipeline.chunks.size()));
      pipeline.chunks.push_back({.kind = ChunkKind::kBatched,
                                 .slices = {{SequenceId{sequence}, 0, length}},
                                 .keeping = keeping});
    }

    const int stages = context_.parallelism.stages;
    Replica replica;
    for (int p = 0; p < stages; ++p) {
      replica.instructions.push_back(
          one_forward_one_backward(static_cast<int>(order.size()), stages - p));
    }
    replica.pipelines.push_back(std::move(pipeline));

    Plan plan;
    plan.planner.name = "longest-last";
    plan.step = request.step;
    plan.sequences = request.sequences;
    plan.parallelism = context_.parallelism;
    plan.stages = cost_.stages();
    plan.replicas.push_back(std::move(replica));
    plan.bytes_per_stage = context_.limit();
    plan.predicted = simulate(plan, cost_).prediction;
    return plan;
  }

  bool fits(const Plan& plan) const {
    const auto& stages = plan.predicted->stages;
    return context_.limit() == 0.0 ||
           std::all_of(stages.begin(), stages.end(), [&](const StagePrediction& stage) {
             return stage.peak_bytes <= context_.limit();
           });
  }

  PlanContext context_;
  CostModel cost_;
};

}  // namespace

int main() try {
  PlanContext context;
  context.profile = read_profile(PROFILE);  // a 7B model on A800 GPUs
  context.layers = static_cast<int>(context.profile.model.num_hidden_layers);
  context.parallelism = {.stages = 4, .sequence_parallel = 8};
  const PlanRequest batch = {.sequences = {60'000, 3'000, 900, 41'000, 12'000, 750, 6'400, 23'000}};

  const Plan own = LongestLast(context).plan(batch);
  require_valid(own);
  write_plan("longest_last.json", own);
  const CostModel cost(context.profile, own.parallelism, own.stages);
  write_html_timeline("longest_last.html", own, simulate(own, cost).trace);

  const auto elastic = make_planner(context, std::make_shared<SimulatorEvaluator>(context.limit()));
  std::printf("%s: %.3f s, bubble %.1f%%\n", own.planner.name.c_str(), own.predicted->seconds,
              100.0 * own.predicted->bubble);
  const Plan best = elastic->plan(batch);
  std::printf("%s: %.3f s, bubble %.1f%%\n", best.planner.name.c_str(), best.predicted->seconds,
              100.0 * best.predicted->bubble);
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
