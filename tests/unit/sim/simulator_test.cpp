#include "infinipipe/sim/simulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <thread>
#include <tuple>

#include "infinipipe/base/error.h"
#include "infinipipe/core/validate.h"
#include "support/keeping.h"
#include "unit/core/test_plans.h"

namespace infinipipe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::PlanShape;

// Forward: a second a token and layer; backward: two. 100 bytes a token and layer.
Profile plain_profile(double layers) {
  Profile p;
  p.forward.seconds_per_token = layers;
  p.backward.seconds_per_token = 2.0 * layers;
  p.memory.activation_bytes_per_token = 100.0 * layers;
  p.memory.input_bytes_per_token = 10.0;
  p.memory.kv_bytes_per_token = 20.0;
  p.memory.kv_grad_bytes_per_token = 30.0;
  p.memory.workspace_bytes = 7.0;
  p.memory.state_bytes_per_layer = 1000.0;
  p.links.p2p_bytes_per_second = 1.0;
  return p;
}

Instruction op(Op kind, int chunk) { return {kind, PipelineId(0), ChunkId(chunk)}; }

// Two stages of one layer; two sequences of 1 and 2 tokens, a chunk each.
Plan two_chunks() {
  Plan plan;
  plan.sequences = {1, 2};
  plan.parallelism = {2, 1, 1};
  plan.stages = {{0, 1}, {1, 2}};
  Pipeline pipeline;
  pipeline.chunks = {{ChunkKind::kBatched, {{SequenceId(0), 0, 1}}, {{}, {}}},
                     {ChunkKind::kBatched, {{SequenceId(1), 0, 2}}, {{}, {}}}};
  pipeline.backward = {0, 1};
  Replica replica;
  replica.pipelines = {pipeline};
  replica.instructions = {
      {op(Op::kForward, 0), op(Op::kForward, 1), op(Op::kBackward, 0), op(Op::kBackward, 1)},
      {op(Op::kForward, 0), op(Op::kBackward, 0), op(Op::kForward, 1), op(Op::kBackward, 1)}};
  plan.replicas = {replica};
  return plan;
}

std::string timeline(const Trace& trace, int stage) {
  std::string text;
  for (const TraceEvent& e : trace.events) {
    if (e.stage != StageId(stage)) continue;
    text += to_string(e.instruction) + "[" + std::to_string(static_cast<int>(e.begin)) + "," +
            std::to_string(static_cast<int>(e.end)) + "] ";
  }
  return text;
}

TEST(Simulator, TimelineByHandWithFreeLinks) {
  const Plan plan = two_chunks();
  require_valid(plan);
  const CostModel cost(plain_profile(2), plan.parallelism, plan.stages);
  const Simulation s = simulate(plan, cost);
  EXPECT_EQ(timeline(s.trace, 0), "F0.0[0,1] F0.1[1,3] B0.0[4,6] B0.1[10,14] ");
  EXPECT_EQ(timeline(s.trace, 1), "F0.0[1,2] B0.0[2,4] F0.1[4,6] B0.1[6,10] ");
  EXPECT_DOUBLE_EQ(s.prediction.seconds, 14.0);
  EXPECT_DOUBLE_EQ(s.prediction.bubble, 1.0 - 18.0 / 28.0);
  EXPECT_DOUBLE_EQ(s.trace.bubble(), s.prediction.bubble);
  EXPECT_DOUBLE_EQ(s.prediction.stages[0].compute, 9.0);
  EXPECT_DOUBLE_EQ(s.prediction.stages[0].wait, 5.0);
  EXPECT_DOUBLE_EQ(s.prediction.stages[1].wait, 5.0);
}

// A message of 1 token takes 5 s and one of 2 tokens 7: the second waits for the first to leave the
// link, and the sender for neither.
TEST(Simulator, OneDirectionOfALinkIsSerial) {
  const Plan plan = two_chunks();
  Profile profile = plain_profile(2);
  profile.links.p2p_seconds = 3.0;
  profile.links.p2p_bytes_per_token = 2.0;
  const Simulation s = simulate(plan, CostModel(profile, plan.parallelism, plan.stages));
  EXPECT_EQ(timeline(s.trace, 0), "F0.0[0,1] F0.1[1,3] B0.0[14,16] B0.1[26,30] ");
  EXPECT_EQ(timeline(s.trace, 1), "F0.0[6,7] B0.0[7,9] F0.1[13,15] B0.1[15,19] ");
  ASSERT_EQ(s.trace.transfers.size(), 4u);
  EXPECT_DOUBLE_EQ(s.trace.transfers[0].begin, 1.0);
  EXPECT_DOUBLE_EQ(s.trace.transfers[0].end, 6.0);
  EXPECT_DOUBLE_EQ(s.trace.transfers[1].begin, 6.0) << "its forward ended at 3";
  EXPECT_DOUBLE_EQ(s.trace.transfers[1].end, 13.0);
  EXPECT_DOUBLE_EQ(s.trace.transfers[1].bytes, 4.0);
  EXPECT_EQ(s.trace.transfers[2].from, StageId(1));
  EXPECT_DOUBLE_EQ(s.trace.transfers[2].begin, 9.0) << "upwards is another link";
}

double transfers_at(const Trace& trace, int stage, Seconds at) {
  double bytes = -1.0;
  for (const MemorySample& sample : trace.memory) {
    if (sample.stage != StageId(stage) || sample.at > at) continue;
    bytes = sample.bytes[static_cast<std::size_t>(MemoryPurpose::kTransfers)];
  }
  return bytes;
}

// The timeline of the test before. A message takes 2 bytes a token at its sender: stage 0 has one
// from 1 to 6 s and one of two tokens from 3 to 13, stage 1 from 9 to 14 and from 19 to 26.
TEST(Simulator, LayerByLayerMessagesWaitAtTheirSender) {
  const Plan plan = two_chunks();
  Profile profile = plain_profile(2);
  profile.links.p2p_seconds = 3.0;
  profile.links.p2p_bytes_per_token = 2.0;
  profile.memory.layerwise.emplace();
  const Simulation s = simulate(plan, CostModel(profile, plan.parallelism, plan.stages));
  // Both chunks' activations and messages at the end of F0.1.
  EXPECT_DOUBLE_EQ(s.prediction.stages[0].peak_bytes, 1007.0 + 300.0 + 6.0);
  // F0.1 begins while the first gradient waits for stage 0, which is free again at 14.
  EXPECT_DOUBLE_EQ(s.prediction.stages[1].peak_bytes, 1007.0 + 200.0 + 2.0);
  for (const auto& [stage, at, bytes] :
       std::vector<std::tuple<int, double, double>>{{0, 0.5, 0.0},
                                                    {0, 1.0, 2.0},
                                                    {0, 3.0, 6.0},
                                                    {0, 14.0, 0.0},
                                                    {1, 7.0, 0.0},
                                                    {1, 9.0, 2.0},
                                                    {1, 13.0, 2.0},
                                                    {1, 15.0, 0.0},
                                                    {1, 19.0, 4.0},
                                                    {1, 26.0, 0.0}}) {
    EXPECT_DOUBLE_EQ(transfers_at(s.trace, stage, at), bytes) << stage << " at " << at;
  }
  // With memory for the next message before it comes: stage 0 has it for the first gradient, of one
  // token, until 14 and for the second until 26; stage 1 for the second chunk until F0.1 takes it.
  profile.memory.layerwise->received_ahead = 1.0;
  const Simulation ahead = simulate(plan, CostModel(profile, plan.parallelism, plan.stages));
  EXPECT_EQ(ahead.prediction.seconds, s.prediction.seconds);
  EXPECT_DOUBLE_EQ(ahead.prediction.stages[0].peak_bytes, 1007.0 + 300.0 + 6.0 + 2.0);
  EXPECT_DOUBLE_EQ(transfers_at(ahead.trace, 0, 1.0), 2.0 + 2.0);
  EXPECT_DOUBLE_EQ(transfers_at(ahead.trace, 0, 14.0), 4.0);
  EXPECT_DOUBLE_EQ(transfers_at(ahead.trace, 0, 26.0), 0.0);
  EXPECT_DOUBLE_EQ(transfers_at(ahead.trace, 1, 7.0), 4.0);
  EXPECT_DOUBLE_EQ(transfers_at(ahead.trace, 1, 26.0), 0.0);
  profile.memory.layerwise.reset();
  const Simulation whole = simulate(plan, CostModel(profile, plan.parallelism, plan.stages));
  EXPECT_EQ(whole.prediction.seconds, s.prediction.seconds) << "memory changes no times";
  EXPECT_DOUBLE_EQ(whole.prediction.stages[0].peak_bytes, 1307.0);
}

// One stage of two layers, two tokens; B at once frees layer by layer, I keeps 5 a token and layer.
TEST(Simulator, LayerByLayerWhatWaitsForWeightGradients) {
  Plan plan = two_chunks();
  plan.sequences = {2};
  plan.parallelism = {1, 1, 1};
  plan.stages = {{0, 2}};
  Pipeline& pipeline = plan.replicas[0].pipelines[0];
  pipeline.chunks = {{ChunkKind::kBatched, {{SequenceId(0), 0, 2}}, {Keeping{}}}};
  pipeline.backward = {0};
  plan.replicas[0].instructions = {
      {op(Op::kForward, 0), op(Op::kInputGrad, 0), op(Op::kWeightGrad, 0)}};
  require_valid(plan);
  Profile profile = plain_profile(2);
  profile.memory.layerwise = LayerwiseMemory{.forward_bytes_per_token = 3.0,
                                             .backward_bytes_per_token = 11.0,
                                             .backward_bytes = 1.0,
                                             .pending_bytes_per_token = 5.0};
  const Simulation s = simulate(plan, CostModel(profile, plan.parallelism, plan.stages));
  std::vector<double> totals;
  for (const MemorySample& sample : s.trace.memory) {
    totals.push_back(std::accumulate(sample.bytes.begin(), sample.bytes.end(), 0.0));
  }
  const double base = 2007.0;
  EXPECT_THAT(totals, ElementsAre(base, base + 400.0 + 6.0, base + 400.0, base + 400.0 + 23.0,
                                  base + 2 * 2 * 5.0, base));
}

TEST(Simulator, RecomputationRunsAfterTheGradientArrived) {
  Plan plan = two_chunks();
  plan.replicas[0].pipelines[0].chunks[0].keeping = testing::inputs({1, 0});
  const CostModel cost(plain_profile(2), plan.parallelism, plan.stages);
  const Simulation s = simulate(plan, cost);
  // B0.0 on stage 0 could have recomputed in [3, 4], but holds to [4, 7].
  EXPECT_EQ(timeline(s.trace, 0), "F0.0[0,1] F0.1[1,3] B0.0[4,7] B0.1[10,14] ");
  EXPECT_DOUBLE_EQ(s.prediction.stages[0].recompute, 1.0);
  EXPECT_DOUBLE_EQ(s.prediction.stages[0].compute, 9.0);
  EXPECT_DOUBLE_EQ(s.prediction.bubble, 1.0 - 19.0 / 28.0);
  for (const TraceEvent& e : s.trace.events) {
    const bool recomputes = e.stage == StageId(0) && to_string(e.instruction) == "B0.0";
    EXPECT_DOUBLE_EQ(e.recompute, recomputes ? 1.0 : 0.0);
  }
}

TEST(Simulator, WeightGradientKeepsActivationsAndSendsNothing) {
  Plan plan = two_chunks();
  auto& lists = plan.replicas[0].instructions;
  lists[0] = {op(Op::kForward, 0),   op(Op::kForward, 1),    op(Op::kInputGrad, 0),
              op(Op::kInputGrad, 1), op(Op::kWeightGrad, 0), op(Op::kWeightGrad, 1)};
  require_valid(plan);
  const CostModel cost(plain_profile(2), plan.parallelism, plan.stages);
  const Simulation s = simulate(plan, cost);
  EXPECT_EQ(timeline(s.trace, 0),
            "F0.0[0,1] F0.1[1,3] I0.0[4,5] I0.1[10,12] W0.0[12,13] W0.1[13,15] ");
  EXPECT_EQ(s.trace.transfers.size(), 4u);
  std::vector<double> activations;
  for (const MemorySample& sample : s.trace.memory) {
    if (sample.stage == StageId(0)) {
      activations.push_back(sample.bytes[static_cast<std::size_t>(MemoryPurpose::kActivations)]);
    }
  }
  EXPECT_THAT(activations, ElementsAre(0.0, 100.0, 300.0, 200.0, 0.0)) << "freed when W ends";
}

// One stage, one sequence of 3 tokens cut in 2 + 1, beside the tail a sequence of 1.
Plan cut_plan() {
  Plan plan;
  plan.sequences = {3, 1};
  plan.parallelism = {1, 1, 1};
  plan.stages = {{0, 2}};
  Pipeline pipeline;
  pipeline.warmup_slices = 2;
  pipeline.chunks = {
      {ChunkKind::kSplit, {{SequenceId(0), 0, 2}}, {testing::inputs(1)}},
      {ChunkKind::kHybrid, {{SequenceId(0), 2, 3}, {SequenceId(1), 0, 1}}, {Keeping{}}}};
  pipeline.backward = {1, 0};
  plan.replicas.resize(1);
  plan.replicas[0].pipelines = {pipeline};
  plan.replicas[0].instructions = {
      {op(Op::kForward, 0), op(Op::kForward, 1), op(Op::kBackward, 1), op(Op::kBackward, 0)}};
  return plan;
}

TEST(Simulator, MemoryOfACutSequenceByHand) {
  const Plan plan = cut_plan();
  require_valid(plan);
  const CostModel cost(plain_profile(2), plan.parallelism, plan.stages);
  const Simulation s = simulate(plan, cost);
  std::vector<std::vector<double>> rows;
  for (const MemorySample& sample : s.trace.memory) {
    const auto bytes = [&](MemoryPurpose purpose) {
      return sample.bytes[static_cast<std::size_t>(purpose)];
    };
    rows.push_back({sample.at, bytes(MemoryPurpose::kWeights), bytes(MemoryPurpose::kActivations),
                    bytes(MemoryPurpose::kKv), bytes(MemoryPurpose::kKvGrad),
                    bytes(MemoryPurpose::kWorkspace)});
  }
  using Row = std::vector<double>;
  // F0: 2 tokens, one layer kept (200) and one recomputed (20, and K and V 40). F1: 2 tokens, 400.
  // B1 opens dK and dV of all 3 tokens, 2 layers (180), and frees 1 token's. B0 holds one layer
  // more.
  EXPECT_THAT(rows, ElementsAre(Row{0, 2000, 0, 0, 0, 7}, Row{0, 2000, 220, 40, 0, 7},
                                Row{4, 2000, 620, 40, 0, 7}, Row{8, 2000, 620, 40, 180, 7},
                                Row{16, 2000, 220, 40, 120, 7}, Row{16, 2000, 220, 40, 120, 207},
                                Row{26, 2000, 0, 0, 0, 7}));
  EXPECT_DOUBLE_EQ(s.prediction.stages[0].peak_bytes, 2847.0);
  EXPECT_DOUBLE_EQ(s.prediction.seconds, 26.0);
}

TEST(Simulator, EvaluationKeepsOnlyKeysAndValues) {
  Plan plan = cut_plan();
  plan.replicas[0].pipelines[0].backward.clear();
  plan.replicas[0].pipelines[0].chunks[0].keeping = {Keeping{}};
  plan.replicas[0].instructions = {{op(Op::kForward, 0), op(Op::kForward, 1)}};
  require_valid(plan);
  const CostModel cost(plain_profile(2), plan.parallelism, plan.stages);
  const Simulation s = simulate(plan, cost);
  // F0's 400 bytes, then its K and V of 2 layers and 2 tokens (80) while F1's 400 are there.
  EXPECT_DOUBLE_EQ(s.prediction.stages[0].peak_bytes, 2007.0 + 480.0);
  const MemorySample& last = s.trace.memory.back();
  EXPECT_DOUBLE_EQ(last.bytes[static_cast<std::size_t>(MemoryPurpose::kKv)], 0.0);
  EXPECT_DOUBLE_EQ(last.bytes[static_cast<std::size_t>(MemoryPurpose::kActivations)], 0.0);
}

TEST(Simulator, SlowestReplicaCountsAndPeaksAreOverAll) {
  Plan plan = two_chunks();
  plan.parallelism.data_parallel = 2;
  plan.sequences = {1, 2, 9, 1};
  Replica other = plan.replicas[0];
  other.pipelines[0].chunks[0].slices = {{SequenceId(2), 0, 9}};
  other.pipelines[0].chunks[1].slices = {{SequenceId(3), 0, 1}};
  plan.replicas = {plan.replicas[0], other};
  require_valid(plan);
  const CostModel cost(plain_profile(2), plan.parallelism, plan.stages);
  const Simulation s = simulate(plan, cost);
  const SimulatorEvaluator evaluator(0.0);
  const Evaluation first = evaluator.evaluate(plan, cost, ReplicaId(0));
  const Evaluation second = evaluator.evaluate(plan, cost, ReplicaId(1));
  EXPECT_DOUBLE_EQ(first.seconds, 14.0);
  EXPECT_GT(second.seconds, first.seconds);
  EXPECT_DOUBLE_EQ(s.prediction.seconds, second.seconds);
  EXPECT_DOUBLE_EQ(s.prediction.stages[0].compute, second.stages[0].compute);
  EXPECT_DOUBLE_EQ(s.prediction.stages[0].peak_bytes,
                   std::max(first.stages[0].peak_bytes, second.stages[0].peak_bytes));
}

TEST(Simulator, EachReplicaHasItsGradientsAndAPartOfTheMoments) {
  Plan plan = two_chunks();
  const auto states = [&](int replicas) {
    Profile profile = plain_profile(2);
    profile.memory.state_bytes_per_layer = 1600.0;
    profile.memory.state_gradient_share = 0.25;
    profile.memory.state_optimizer_share = 0.5;
    plan.parallelism.data_parallel = replicas;
    const Simulation s = simulate(plan, CostModel(profile, plan.parallelism, plan.stages));
    const MemoryByPurpose& bytes = s.trace.memory.front().bytes;
    const auto of = [&](MemoryPurpose purpose) { return bytes[static_cast<std::size_t>(purpose)]; };
    return std::array{of(MemoryPurpose::kWeights), of(MemoryPurpose::kGradients),
                      of(MemoryPurpose::kOptimizer)};
  };
  const auto one = states(1);
  const auto two = states(2);
  EXPECT_GT(one[2], 0.0);
  EXPECT_DOUBLE_EQ(two[0], one[0]);
  EXPECT_DOUBLE_EQ(two[1], one[1]);
  EXPECT_DOUBLE_EQ(two[2], one[2] / 2.0);
}

TEST(Simulator, BoundIsThisCostModelsAndOverheadThePlans) {
  Plan plan = two_chunks();
  plan.predicted.emplace();
  plan.predicted->lower_bound = 3.5;
  plan.predicted->step_overhead = 0.25;
  plan.step = 17;
  const Simulation s = simulate(plan, CostModel(plain_profile(2), plan.parallelism, plan.stages));
  // 9 s of work on each stage, a token's forward before; the plan's own 3.5 was another machine's.
  EXPECT_NEAR(s.prediction.lower_bound, 10.0, 1e-9);
  EXPECT_EQ(s.prediction.step_overhead, 0.25);
  EXPECT_DOUBLE_EQ(s.prediction.seconds, 14.0);
  EXPECT_EQ(s.trace.step, 17);
  EXPECT_EQ(s.trace.source, "simulated");
}

std::string refusal(const Plan& plan, const CostModel& cost, Bytes limit) {
  try {
    require_fits(plan, cost, limit);
  } catch (const RunError& error) {
    return error.what();
  }
  return "fits";
}

TEST(RequireFits, NamesStageInstructionAndTokens) {
  const Plan plan = cut_plan();
  const CostModel cost(plain_profile(2), plan.parallelism, plan.stages);
  EXPECT_EQ(refusal(plan, cost, 2847.0), "fits");
  EXPECT_EQ(refusal(plan, cost, 2500.0),
            "plan: stage 0 needs 2.8 KiB of 2.4 KiB (B0.1, 2 tokens); raise memory, add stages, "
            "or allow more recomputation");
  EXPECT_THAT(refusal(plan, cost, 2846.0), HasSubstr("of 2.8 KiB, 1 B too much (B0.1"))
      << "sizes that look alike";
  Plan states_only = plan;
  Profile heavy = plain_profile(2);
  heavy.memory.activation_bytes_per_token = 0.0;
  heavy.memory.input_bytes_per_token = 0.0;
  heavy.memory.kv_bytes_per_token = 0.0;
  heavy.memory.kv_grad_bytes_per_token = 0.0;
  const CostModel heavy_cost(heavy, plan.parallelism, plan.stages);
  EXPECT_THAT(refusal(states_only, heavy_cost, 1000.0), HasSubstr("(model states and workspace)"));
}

TEST(RequireFits, NamesTheReplicaWhereThereAreSeveral) {
  PlanShape shape;
  shape.replicas = 2;
  const Plan plan = testing::make_plan(shape);
  const CostModel cost(plain_profile(4), plan.parallelism, plan.stages);
  EXPECT_THAT(refusal(plan, cost, 5000.0), HasSubstr("plan: replica 0, stage 1 needs "));
}

TEST(Evaluator, ReportsTheWorstStageOverTheLimit) {
  const Plan plan = testing::make_plan();
  const CostModel cost(plain_profile(4), plan.parallelism, plan.stages);
  const Evaluation free = SimulatorEvaluator(0.0).evaluate(plan, cost, ReplicaId(0));
  EXPECT_FALSE(free.over_stage);
  double peak = std::max(free.stages[0].peak_bytes, free.stages[1].peak_bytes);
  const Evaluation tight = SimulatorEvaluator(peak - 10.0).evaluate(plan, cost, ReplicaId(0));
  ASSERT_TRUE(tight.over_stage);
  EXPECT_DOUBLE_EQ(free.stages[tight.over_stage->index()].peak_bytes, peak);
  EXPECT_DOUBLE_EQ(tight.over_bytes, 10.0);
  EXPECT_FALSE(SimulatorEvaluator(peak).evaluate(plan, cost, ReplicaId(0)).over_stage);
}

TEST(Evaluator, MayBeAskedFromSeveralThreads) {
  PlanShape shape;
  shape.stages = 4;
  const Plan plan = testing::make_plan(shape);
  const CostModel cost(plain_profile(8), plan.parallelism, plan.stages);
  const SimulatorEvaluator evaluator(0.0);
  const Seconds expected = evaluator.evaluate(plan, cost, ReplicaId(0)).seconds;
  std::vector<Seconds> found(8, 0.0);
  std::vector<std::thread> threads;
  for (Seconds& seconds : found) {
    threads.emplace_back([&] { seconds = evaluator.evaluate(plan, cost, ReplicaId(0)).seconds; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(found, ::testing::Each(expected));
}

TEST(Simulator, EveryShapeOfGoodPlanRuns) {
  using testing::BackwardStyle;
  for (const int stages : {1, 2, 5}) {
    for (const bool interleaved : {false, true}) {
      for (const BackwardStyle style : {BackwardStyle::kWhole, BackwardStyle::kSplit,
                                        BackwardStyle::kDelayed, BackwardStyle::kNone}) {
        PlanShape shape;
        shape.stages = stages;
        shape.interleaved = interleaved;
        shape.style = style;
        const Plan plan = testing::make_plan(shape);
        const CostModel cost(plain_profile(2.0 * stages), plan.parallelism, plan.stages);
        const Simulation s = simulate(plan, cost);
        double work = 0.0;
        for (const auto& stage : s.prediction.stages) work += stage.compute;
        const double passes = style == BackwardStyle::kNone ? 1.0 : 3.0;
        EXPECT_NEAR(work, passes * 2.0 * stages * static_cast<double>(plan.total_tokens()),
                    1e-9 * work);
      }
    }
  }
}

TEST(SimulatorDeath, BlockingListsAreABug) {
  Plan plan = two_chunks();
  std::swap(plan.replicas[0].instructions[0][1], plan.replicas[0].instructions[0][3]);
  ASSERT_TRUE(validate(plan));
  const CostModel cost(plain_profile(2), plan.parallelism, plan.stages);
  EXPECT_THROW(simulate(plan, cost), std::logic_error);
}

}  // namespace
}  // namespace infinipipe
