// What baselines say of pipelines, against the event simulator.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "baselines/pipeline_1f1b.h"
#include "cost/step_overhead.h"
#include "data/lengths.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"
#include "planner/ordinary/ordinary_planner.h"
#include "planner/parallel_choice.h"
#include "support/clusters.h"
#include "support/keeping.h"
#include "support/profiles.h"

namespace infinipipe {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

StepOverhead overhead_of(const SystemContext& context, const Plan& plan) {
  return step_overhead(plan, CostModel(context.profile, plan.parallelism, plan.stages),
                       context.devices_per_node);
}

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
          {.kind = ChunkKind::kBatched, .slices = {{SequenceId(c), 0, tokens}}, .keeping = {}});
    }
    const int recompute = static_cast<int>(random.between(0, 2));
    plan.replicas = {ordinary_replica(chunks, schedule_name::kOneFOneB, recompute, cost, false)};
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
          return ChunkCost{
              cost.forward(stage, shape),
              cost.backward(stage, shape) + cost.recompute(stage, shape, testing::inputs(r)),
              cost.activation_bytes(stage, shape, testing::inputs(r)),
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
      // Gathers that compute does not hide count for elastic pipelines alone.
      const StepOverhead overhead = overhead_of(context, *best.plan);
      const Seconds exposed = name.starts_with("epp") ? overhead.gathers : 0.0;
      EXPECT_EQ(best.settings.at("exposed_gather_seconds"), exposed);
      EXPECT_NEAR(best.seconds, best.plan->predicted->seconds + exposed + overhead.reduction,
                  1e-12);
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
  fixed.profile.dtype = "bfloat16";
  fixed.parallelism = Parallelism{1, 4, 2};
  const SystemResult result = make_system("1f1b", fixed)->run({400, 300, 200, 100});
  ASSERT_EQ(result.status, SystemStatus::kOk);
  // 2/16 of the states each way, a quarter of it a device. A group fills a node: its two replicas
  // lie on two nodes and have the rate of 8 devices, not the one of 2.
  const Bytes part = (8 * 4096.0 + 2 * 8192.0) / 8 / 4;
  EXPECT_NEAR(result.settings.at("replica_overhead_seconds").get<double>(), 2 * part / 2 / 2e6,
              1e-12);
  EXPECT_EQ(result.bubble, result.plan->predicted->bubble);  // of the instructions alone
  fixed.parallelism = Parallelism{2, 4, 1};
  EXPECT_EQ(make_system("1f1b", fixed)->run({400, 300}).settings.at("replica_overhead_seconds"),
            0.0);
}

// Hidden gathers cost what compute is too short for; waited for, every chunk pays its own, and the
// planner knows.
TEST(Pipelines, GathersAreHiddenOrPaidByEveryChunk) {
  SystemContext context = judged_cluster(8, 2e7, true);
  context.profile.dtype = "bfloat16";
  context.parallelism = Parallelism{2, 4, 1};
  const std::vector<Tokens> sequences = {4000, 3000, 2000, 1000, 500};
  for (const std::string& name : planner_names()) {
    SCOPED_TRACE(name);
    context.overlap_gathers = true;
    const SystemResult hidden = make_system(name, context)->run(sequences);
    context.overlap_gathers = false;
    const SystemResult waited = make_system(name, context)->run(sequences);
    ASSERT_EQ(hidden.status, SystemStatus::kOk);
    ASSERT_EQ(waited.status, SystemStatus::kOk);
    EXPECT_EQ(hidden.settings.at("gathers"), "overlapped");
    EXPECT_EQ(waited.settings.at("gathers"), "waited for");
    EXPECT_EQ(waited.settings.at("exposed_gather_seconds"), 0.0);
    EXPECT_GT(waited.seconds, hidden.seconds);
    EXPECT_LE(waited.lower_bound, waited.seconds);
    // A chunk's two gathers and reduction of the whole model, at a node's rate.
    const Seconds gather = (8 * 4096.0 + 2 * 8192.0) / 8 * 3 / 4 / 4e6;
    SystemContext plain = context;
    plain.overlap_gathers = true;
    plain.profile.forward.seconds_per_chunk += gather;
    plain.profile.backward.seconds_per_chunk += 2 * gather;
    plain.profile.links.all_gather.clear();
    plain.profile.links.reduce_scatter.clear();
    const SystemResult paid = make_system(name, plain)->run(sequences);
    EXPECT_NEAR(waited.seconds, paid.seconds, 1e-12);
    EXPECT_EQ(paid.settings.at("gathers"), "in the profile");
  }
}

// Layouts that a missing bandwidth leaves without an overhead are not tried.
TEST(Pipelines, LayoutsWithoutTheirBandwidthsAreLeftOut) {
  SystemContext context = judged_cluster(8, 2e7, true);
  EXPECT_THAT(pipeline_parallelisms(context), Contains(Parallelism{1, 4, 2}));
  context.profile.links.reduce_scatter.erase(8);
  EXPECT_THAT(pipeline_parallelisms(context), Not(Contains(Parallelism{1, 4, 2})));
  EXPECT_THAT(pipeline_parallelisms(context), Contains(Parallelism{2, 2, 2}));
  context.profile.links.all_gather.erase(2);
  EXPECT_THAT(pipeline_parallelisms(context), Not(Contains(Parallelism{4, 2, 1})));
  EXPECT_THAT(pipeline_parallelisms(context), Contains(Parallelism{8, 1, 1}));
}

TEST(Pipelines, OutOfMemoryIsAStatus) {
  const SystemContext context = judged_cluster(8, 2e5);
  for (const std::string& name : planner_names()) {
    const SystemResult result = make_system(name, context)->run({200000});
    EXPECT_EQ(result.status, SystemStatus::kOutOfMemory) << name;
    EXPECT_NE(result.reason.find("layouts"), std::string::npos) << result.reason;
    // The layout that is quoted lacks least of all.
    EXPECT_GT(result.missing, 0.0);
    bool quoted = false;
    for (const Parallelism& parallelism : pipeline_parallelisms(context)) {
      SystemContext fixed = context;
      fixed.parallelism = parallelism;
      const SystemResult one = make_system(name, fixed)->run({200000});
      ASSERT_EQ(one.status, SystemStatus::kOutOfMemory);
      EXPECT_GE(one.missing, result.missing);
      quoted = quoted || (one.missing == result.missing &&
                          result.reason.find(one.reason) != std::string::npos);
    }
    EXPECT_TRUE(quoted) << result.reason;
  }
}

// One list of layouts, one clock and one bubble behind both.
TEST(Pipelines, TheChoiceOfLayoutsAndTheComparisonAgree) {
  SystemContext cluster;
  cluster.profile = read_profile(testing::profile_path("llama-7b-a800.json"));
  cluster.layers = 32;
  cluster.devices = 32;
  cluster.evaluator = std::make_shared<SimulatorEvaluator>(cluster.limit());
  PlanContext context;
  context.profile = cluster.profile;
  context.layers = cluster.layers;
  const auto choose = [&](const std::vector<Tokens>& lengths) {
    return choose_parallelism(context, cluster.devices, cluster.devices_per_node,
                              std::vector<std::vector<Tokens>>{lengths}, cluster.evaluator);
  };
  // One long document, which a group over several nodes is best for, or alone can hold.
  for (const Tokens length : {400000, 900000}) {
    const ParallelChoice choice = choose({length});
    const ParallelOption& best = choice.options.front();
    ASSERT_TRUE(choice.found());
    EXPECT_GT(best.parallelism.sequence_parallel, cluster.devices_per_node);
    const SystemResult result = make_system("epp", cluster)->run({length});
    ASSERT_EQ(result.status, SystemStatus::kOk) << result.reason;
    EXPECT_EQ(result.plan->parallelism, best.parallelism);
    EXPECT_NEAR(result.seconds, best.seconds, 1e-9 * best.seconds);
    EXPECT_EQ(result.bubble, best.bubble);
  }
  // Replicas, whose gradients are reduced outside the instructions.
  const std::vector<Tokens> lengths = synthetic_lengths(length_model("github"), 256, 98304, 1);
  cluster.parallelism = {2, 8, 2};
  const SystemResult result = make_system("epp", cluster)->run(lengths);
  const ParallelChoice choice = choose(lengths);
  const auto option =
      std::find_if(choice.options.begin(), choice.options.end(),
                   [&](const ParallelOption& o) { return o.parallelism == *cluster.parallelism; });
  ASSERT_NE(option, choice.options.end());
  EXPECT_EQ(result.bubble, option->bubble);
  EXPECT_EQ(result.bubble, result.plan->predicted->bubble);
  EXPECT_NEAR(result.seconds, option->seconds, 1e-9 * option->seconds);
  const Prediction again =
      simulate(*result.plan, plan_cost(cluster.profile, *result.plan)).prediction;
  EXPECT_EQ(again.bubble, result.bubble);
  EXPECT_EQ(bubble(again.stages, again.seconds), result.bubble);
}

TEST(Pipelines, GroupsThatCannotShareTheHeadsAreNotTried) {
  SystemContext context = judged_cluster(8, 2e7);
  context.profile.heads = {2, 2};
  for (const Parallelism& parallelism : pipeline_parallelisms(context)) {
    EXPECT_LE(parallelism.sequence_parallel, 2);
  }
  EXPECT_EQ(make_system("1f1b", context)->run({400}).status, SystemStatus::kOk);
  context.parallelism = {1, 8, 1};
  try {
    make_system("1f1b", context);
    ADD_FAILURE() << "accepted";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("8 devices cannot share 2 attention heads"));
  }
}

}  // namespace
}  // namespace infinipipe
