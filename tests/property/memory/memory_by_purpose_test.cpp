// The simulator's memory against the meter's: a tiny model measured for real, then elastic plans of
// random batches under random budgets, run and compared stage by stage and purpose by purpose.
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "infinipipe/base/error.h"
#include "infinipipe/base/random.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/profile/profile_machine.h"
#include "infinipipe/report/step_table.h"
#include "infinipipe/sim/simulator.h"
#include "model/common/dtype.h"
#include "model/common/linear.h"
#include "runtime/engine.h"

namespace infinipipe {
namespace {

constexpr int kStages = 2;

ProfileOptions measured_model(Dtype dtype) {
  ProfileOptions options;
  options.model.vocab_size = 257;
  options.model.hidden_size = 64;
  options.model.intermediate_size = 160;
  options.model.num_hidden_layers = 4;
  options.model.num_attention_heads = 2;
  options.model.num_key_value_heads = 1;
  options.dtype = dtype;
  options.stages = {{0, 2}, {2, 4}};
  options.longest = 4096;
  options.seconds = 2.0;
  return options;
}

class MemoryByPurpose : public ::testing::TestWithParam<Dtype> {
 protected:
  Plan plan(const Profile& profile, const PlanRequest& request, Bytes budget) const {
    PlanContext context;
    context.profile = profile;
    context.layers = 4;
    context.layers_per_stage = {2, 2};
    context.parallelism.stages = kStages;
    context.bytes_per_stage = budget;
    return make_planner(context, std::make_shared<SimulatorEvaluator>(budget))->plan(request);
  }
};

// Peaks within 3% on every step and never above the budget; each purpose's most
// bytes as well, as a share of the stage's peak.
TEST_P(MemoryByPurpose, IsWhatTheMeterSays) {
  if (linear::widened(at::empty({0}, at::dtype(scalar_type(GetParam()))))) {
    GTEST_SKIP() << "this processor widens bfloat16 contexts whole, which no profile counts";
  }
  const ProfileOptions options = measured_model(GetParam());
  const Profile profile = profile_machine(options).profile;
  Engine::Options engine_options;
  engine_options.model = options.model;
  engine_options.stages = options.stages;
  engine_options.dtype = options.dtype;
  engine_options.longest = options.longest;
  Engine engine(engine_options);
  const CostModel cost(profile, {.stages = kStages}, options.stages);
  // In bfloat16 a chunk's workspace depends on more than its tokens (docs/profile.md).
  const bool narrow = options.dtype == Dtype::kBfloat16;
  const double too_much = narrow ? 0.25 : 0.03;
  const double too_little = narrow ? 0.10 : 0.03;
  Random random(20261124);
  int ran = 0;
  int around_attention = 0;
  double worst_peak = 0.0;
  double worst_purpose = 0.0;
  for (int i = 0; i < 24; ++i) {
    PlanRequest request;
    request.step = i;
    request.sequences = {random.between(600, 4096)};
    for (std::int64_t more = random.between(0, 6); more > 0; --more) {
      request.sequences.push_back(random.between(20, 900));
    }
    const Plan loose = plan(profile, request, 0.0);
    Bytes most = 0.0;
    for (const StagePrediction& stage : loose.predicted->stages) {
      most = std::max(most, stage.peak_bytes);
    }
    const Bytes states = std::max(cost.state_bytes(StageId(0)), cost.state_bytes(StageId(1)));
    const Bytes budget = states + (0.2 + 0.9 * random.uniform()) * (most - states);
    Plan tight;
    try {
      tight = plan(profile, request, budget);
    } catch (const RunError&) {
      continue;  // too little even for full recomputation
    }
    ++ran;
    around_attention += tight.recomputed().by_level[index_of(Keep::kAttention)] > 0 ? 1 : 0;
    Batch batch;
    for (const Tokens length : tight.sequences) {
      batch.sequences.emplace_back(static_cast<std::size_t>(length), 5);
    }
    engine.zero_grad();
    const StepResult result = engine.run(tight, batch);
    const TraceComparison compared =
        compare_traces(simulate(tight, plan_cost(profile, tight)).trace, result.trace);
    SCOPED_TRACE("batch " + std::to_string(i) + "\n" + comparison_table(compared));
    Tokens largest = 0;
    for (const Pipeline& pipeline : tight.replicas[0].pipelines) {
      for (const Chunk& chunk : pipeline.chunks) largest = std::max(largest, chunk.tokens());
    }
    const Bytes message = cost.message_bytes(largest);
    ASSERT_EQ(compared.stage_memory_error.size(), std::size_t{kStages});
    for (std::size_t p = 0; p < kStages; ++p) {
      EXPECT_LE(result.peak_bytes[p], narrow ? 1.10 * budget : budget);
      // On a busy machine one message more may wait than predicted: what planning keeps in hand.
      EXPECT_GE(compared.stage_memory_error[p], -too_little - message / result.peak_bytes[p]);
      EXPECT_LE(compared.stage_memory_error[p], too_much);
      worst_peak = std::max(worst_peak, std::abs(compared.stage_memory_error[p]));
    }
    for (const PurposePeak& peak : compared.memory) {
      // How many messages wait depends on times, and this machine may be busy with other tests.
      if (peak.purpose == MemoryPurpose::kTransfers) continue;
      const double difference = (peak.predicted - peak.measured) / peak.stage_peak;
      EXPECT_GE(difference, -too_little) << to_string(peak.purpose);
      EXPECT_LE(difference, too_much) << to_string(peak.purpose);
      worst_purpose = std::max(worst_purpose, std::abs(difference));
    }
  }
  EXPECT_GT(ran, 12);
  EXPECT_GT(around_attention, 3);
  std::printf("%s, %d plans: peaks within %.2f%%, each purpose within %.2f%% of the peak\n",
              to_string(GetParam()), ran, 100.0 * worst_peak, 100.0 * worst_purpose);
}

INSTANTIATE_TEST_SUITE_P(Types, MemoryByPurpose,
                         ::testing::Values(Dtype::kFloat32, Dtype::kBfloat16),
                         [](const auto& test) { return std::string(to_string(test.param)); });

}  // namespace
}  // namespace infinipipe
