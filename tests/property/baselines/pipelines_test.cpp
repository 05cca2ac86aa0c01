// What baselines say of pipelines, against the event simulator.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "baselines/pipeline_1f1b.h"
#include "baselines/pipeline_system.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"
#include "planner/static_planner.h"
#include "support/clusters.h"

namespace infinipipe {
namespace {

SystemContext judged_cluster(int devices, Bytes bytes, bool gathers = false) {
  SystemContext context = testing::toy_cluster(devices, gathers);
  context.bytes_per_device = bytes;
  context.evaluator = std::make_shared<SimulatorEvaluator>(bytes);
  return context;
}

// The closed loop of run_1f1b is the simulator's, to rounding.
TEST(Pipelines, OneForwardOneBackwardIsTheSimulators) {
  Random random(31);
  for (int round = 0; round < 200; ++round) {
    const int stages = static_cast<int>(random.between(1, 6));
    const int layers = 8;
    const Profile profile = testing::toy_profile();
    std::vector<LayerRange> ranges;
    for (int p = 0; p < stages; ++p) {
      ranges.push_back({p * layers / stages, (p + 1) * layers / stages});
    }
    const int degree = 1 << random.between(0, 2);
    const CostModel cost(profile, {stages, degree, 1}, ranges);
    Plan plan;
    plan.parallelism = {stages, degree, 1};
    plan.stages = ranges;
    std::vector<Chunk> chunks;
    std::vector<ChunkShape> shapes;
    const int count = static_cast<int>(random.between(1, 12));
    for (int c = 0; c < count; ++c) {
      const Tokens tokens = random.between(1, 4000);
      plan.sequences.push_back(tokens);
      chunks.push_back(
          {.kind = ChunkKind::kBatched, .slices = {{SequenceId(c), 0, tokens}}, .recompute = {}});
    }
    const int recompute = static_cast<int>(random.between(0, 2));
    plan.replicas = {static_replica(chunks, "1f1b", recompute, cost, false)};
    require_valid(plan);
    for (const Chunk& chunk : plan.replicas[0].pipelines[0].chunks) {
      shapes.push_back(
          chunk_shape(chunk, plan.sequences, std::vector<bool>(plan.sequences.size(), false)));
    }
    const PipelineRun run = run_1f1b(
        stages, count,
        [&](int p, int c) {
          const StageId stage(p);
          const ChunkShape& shape = shapes[static_cast<std::size_t>(c)];
          const int r = std::min(recompute, cost.layers(stage));
          return ChunkCost{cost.forward(stage, shape),
                           cost.backward(stage, shape) + cost.recompute(stage, shape, r),
                           cost.activation_bytes(stage, shape, r),
                           r > 0 ? cost.recompute_workspace_bytes(stage, shape) : 0.0};
        },
        [&](int c) { return cost.transfer(shapes[static_cast<std::size_t>(c)].tokens); });
    const Simulation simulation = simulate(plan, cost);
    SCOPED_TRACE(round);
    EXPECT_NEAR(run.seconds, simulation.prediction.seconds, 1e-9 * run.seconds);
    for (int p = 0; p < stages; ++p) {
      const auto i = static_cast<std::size_t>(p);
      const StagePrediction& stage = simulation.prediction.stages[i];
      EXPECT_NEAR(run.busy[i], stage.compute + stage.recompute, 1e-9 * run.busy[i]);
      EXPECT_NEAR(run.peak[i] + cost.state_bytes(StageId(p)) + cost.workspace_bytes(),
                  stage.peak_bytes, 1e-9 * stage.peak_bytes);
    }
  }
}

TEST(Pipelines, SystemsRunThePlannersAtTheirBestLayout) {
  Random random(32);
  for (int round = 0; round < 4; ++round) {
    const SystemContext context = judged_cluster(8, 6e6, round % 2 == 1);
    const auto sequences = testing::skewed_lengths(random, 16, 2500);
    for (const std::string& name : planner_names()) {
      SCOPED_TRACE(name);
      const SystemResult best = make_system(name, context)->run(sequences);
      ASSERT_EQ(best.status, SystemStatus::kOk);
      ASSERT_TRUE(best.plan.has_value());
      EXPECT_FALSE(validate(*best.plan).has_value());
      EXPECT_EQ(best.plan->planner.name, name);
      EXPECT_EQ(best.plan->sequences, sequences);
      EXPECT_LE(best.lower_bound, best.seconds);
      for (const Bytes peak : best.peak_bytes) EXPECT_LE(peak, 6e6 * (1 + 1e-9));
      EXPECT_NEAR(best.seconds,
                  best.plan->predicted->seconds + replica_overhead(context, *best.plan), 1e-12);
      // No other layout is better, each on its own.
      for (const Parallelism& parallelism : pipeline_parallelisms(context)) {
        SystemContext fixed = context;
        fixed.parallelism = parallelism;
        const SystemResult one = make_system(name, fixed)->run(sequences);
        if (one.status != SystemStatus::kOk) continue;
        EXPECT_EQ(one.plan->parallelism, parallelism);
        EXPECT_LE(best.seconds, one.seconds * (1 + 1e-12));
      }
    }
  }
}

TEST(Pipelines, TuningKeepsOneLayoutAndIsNotBeatenInTotal) {
  Random random(33);
  const SystemContext context = judged_cluster(8, 6e6);
  std::vector<std::vector<Tokens>> sample;
  for (int b = 0; b < 3; ++b) sample.push_back(testing::skewed_lengths(random, 12, 2500));
  const auto tuned = make_system("1f1b", context);
  tuned->tune(sample);
  Seconds total = 0.0;
  std::optional<Parallelism> layout;
  for (const auto& batch : sample) {
    const SystemResult result = tuned->run(batch);
    ASSERT_EQ(result.status, SystemStatus::kOk);
    total += result.seconds;
    if (layout) {
      EXPECT_EQ(result.plan->parallelism, *layout);
    }
    layout = result.plan->parallelism;
  }
  for (const Parallelism& parallelism : pipeline_parallelisms(context)) {
    SystemContext fixed = context;
    fixed.parallelism = parallelism;
    Seconds other = 0.0;
    bool fits = true;
    for (const auto& batch : sample) {
      const SystemResult result = make_system("1f1b", fixed)->run(batch);
      fits = fits && result.status == SystemStatus::kOk;
      other += result.seconds;
    }
    if (fits) {
      EXPECT_LE(total, other * (1 + 1e-12));
    }
  }
}

TEST(Pipelines, ReplicasReduceTheirGradientsOnceAStep) {
  const SystemContext context = judged_cluster(8, 2e7, true);
  SystemContext fixed = context;
  fixed.parallelism = Parallelism{1, 2, 4};
  const SystemResult result = make_system("1f1b", fixed)->run({400, 300, 200, 100});
  ASSERT_EQ(result.status, SystemStatus::kOk);
  // 2/16 of the states each way, halved over the group; two groups a node share its network.
  const Bytes part = (8 * 4096.0 + 2 * 8192.0) / 2 / 8;
  const Seconds each = std::max(part / 2 * 0.5 / 4e6, part / 2 / 4e6);
  EXPECT_NEAR(replica_overhead(fixed, *result.plan), 2 * each, 1e-12);
  EXPECT_GT(result.bubble, 0.0);
  fixed.parallelism = Parallelism{2, 4, 1};
  EXPECT_EQ(make_system("1f1b", fixed)->run({400, 300}).settings.at("replica_overhead_seconds"),
            0.0);
}

TEST(Pipelines, OutOfMemoryIsAStatus) {
  const SystemContext context = judged_cluster(8, 2e5);
  for (const std::string& name : planner_names()) {
    const SystemResult result = make_system(name, context)->run({200000});
    EXPECT_EQ(result.status, SystemStatus::kOutOfMemory) << name;
    EXPECT_NE(result.reason.find("layouts"), std::string::npos) << result.reason;
  }
}

}  // namespace
}  // namespace infinipipe
