// What the planners make under random budgets computes what a plain model computes: elastic plans
// recompute, cut, pack and split backwards as memory asks, and gradients stay exact.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "infinipipe/base/error.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"
#include "support/engine_case.h"
#include "support/soak.h"

namespace infinipipe::testing {
namespace {

std::unique_ptr<Planner> planner_for(const std::string& name, const Profile& profile, int layers,
                                     int stages, Bytes budget) {
  PlanContext context;
  context.profile = profile;
  context.layers = layers;
  context.parallelism.stages = stages;
  context.bytes_per_stage = budget;
  context.config.name = name;
  return make_planner(context, std::make_shared<SimulatorEvaluator>(budget));
}

Bytes most_bytes(const Plan& plan) {
  Bytes most = 0.0;
  for (const StagePrediction& stage : plan.predicted->stages) {
    most = std::max(most, stage.peak_bytes);
  }
  return most;
}

TEST(PlannerPlans, EqualAutogradUnderRandomBudgets) {
  at::set_num_threads(1);
  const std::vector<std::string> names = planner_names();
  const int cases = scaled(60);
  int ran = 0;
  int recomputing = 0;
  int around_attention = 0;
  int cutting = 0;
  double worst = 0.0;
  for (int i = 0; i < cases; ++i) {
    Random random(4242, static_cast<std::uint64_t>(i));
    const int stages = static_cast<int>(random.between(1, 4));
    const ModelSpec model = small_model(stages + static_cast<int>(random.between(0, 2)));
    const int layers = static_cast<int>(model.num_hidden_layers);
    std::vector<Tokens> lengths = {random.between(50, 600)};
    for (std::int64_t more = random.between(0, 12); more > 0; --more) {
      lengths.push_back(random.between(1, 60));
    }
    random.shuffle(lengths);
    Profile profile = estimated_profile(model, Dtype::kFloat64);
    if (random.between(0, 1) == 1) {  // as where it was measured
      RemakeCost& around = profile.remake[index_of(Keep::kAttention)].emplace();
      around.cost.seconds_per_token = 0.6 * profile.forward.seconds_per_token;
      around.kept_bytes_per_token =
          8.0 * static_cast<double>(model.query_width() + model.num_attention_heads);
    }
    // Elastic plans mostly, and now and then every other planner's.
    const std::string name =
        i % 3 == 0 ? names[static_cast<std::size_t>(i / 3) % names.size()] : "epp";
    PlanRequest request;
    request.sequences = lengths;
    const Plan loose = planner_for(name, profile, layers, stages, 0.0)->plan(request);
    const CostModel cost(profile, {.stages = stages}, loose.stages);
    Bytes states = 0.0;
    for (int p = 0; p < stages; ++p) {
      states = std::max(states, cost.state_bytes(StageId(p)) + cost.workspace_bytes());
    }
    const Bytes budget = states + (0.15 + 0.9 * random.uniform()) * (most_bytes(loose) - states);
    Plan plan;
    try {
      plan = planner_for(name, profile, layers, stages, budget)->plan(request);
    } catch (const RunError&) {
      continue;  // too little even for full recomputation
    }
    ++ran;
    EXPECT_LE(most_bytes(plan), budget) << "case " << i;
    around_attention += plan.recomputed().by_level[index_of(Keep::kAttention)] > 0 ? 1 : 0;
    const std::vector<bool> cut = plan.cut_sequences();
    cutting += std::count(cut.begin(), cut.end(), true) > 0 ? 1 : 0;
    for (const Pipeline& pipeline : plan.replicas[0].pipelines) {
      for (const Chunk& chunk : pipeline.chunks)
        recomputing += chunk.keeping[0].remade() > 0 ? 1 : 0;
    }
    Engine::Options options = engine_options(model, plan, Dtype::kFloat64);
    if (i % 2 == 1) options.path = device_path();
    Engine engine(options);
    const Batch batch = random_batch(random, lengths, model.vocab_size);
    const StepResult result = engine.run(plan, batch);
    ReferenceModel reference = reference_of(engine);
    const double expected = reference.run(batch.sequences, batch.weights);
    EXPECT_LE(std::abs(result.loss - expected) / std::abs(expected), 1e-9) << "case " << i;
    const GradientError error = gradient_error(gradients(engine), reference);
    EXPECT_LE(error.largest, 1e-9) << "case " << i << ", " << name << ": " << error.name;
    worst = std::max(worst, error.largest);
  }
  EXPECT_GT(ran, cases / 2);
  EXPECT_GT(recomputing, 20);
  EXPECT_GT(around_attention, 5);
  EXPECT_GT(cutting, 10);
  std::printf("%d plans under budgets: gradients within %.1e\n", ran, worst);
}

}  // namespace
}  // namespace infinipipe::testing
