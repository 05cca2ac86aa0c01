// The simulator's memory against the meter's: what a tiny model's memory takes is measured, then
// elastic plans of random batches under random budgets are run and compared stage by stage and
// purpose by purpose. Nothing here depends on a clock: times are given, and stages begin their
// instructions in the order that the simulator says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <mutex>

#include "base/random.h"
#include "infinipipe/base/error.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"
#include "profile/profile_machine.h"
#include "report/step_table.h"
#include "runtime/engine.h"
#include "support/soak.h"

namespace infinipipe {
namespace {

constexpr int kStages = 2;

struct Way {
  Dtype dtype;
  bool device;  // a GPU's path, on the processor's tensors
  int shards = 1;
};
void PrintTo(const Way& way, std::ostream* out) {
  *out << to_string(way.dtype) << (way.device ? "_on_a_gpus_path" : "");
  if (way.shards > 1) *out << "_of_" << way.shards << "_shards";
}

ProfileOptions measured_model(const Way& way) {
  ProfileOptions options;
  if (way.device) options.engine.path = ComputePath{.device = true, .attention_keys = 256};
  options.engine.model.vocab_size = 257;
  options.engine.model.hidden_size = 64;
  options.engine.model.intermediate_size = 160;
  options.engine.model.num_hidden_layers = 4;
  options.engine.model.num_attention_heads = 2;
  options.engine.model.num_key_value_heads = 1;
  options.engine.dtype = way.dtype;
  options.engine.stages = {{0, 2}, {2, 4}};
  options.engine.shards = way.shards;
  options.engine.longest = way.device ? 2048 : 4096;  // that path is slower there
  options.groups = 12;
  return options;
}

// Measured bytes, given times.
Profile timeless_profile(const ProfileOptions& options) {
  const Profile measured = profile_machine(options).profile;
  Profile profile = estimated_profile(options.engine.model, options.engine.dtype);
  profile.memory = measured.memory;
  profile.remake = measured.remake;
  if (options.engine.path) {
    // A GPU is given no crumbs: of slices of a dozen tokens what a call holds for its keys counts.
    for (DirectionCost* cost : {&profile.forward, &profile.backward})
      cost->seconds_per_chunk = 300.0 * cost->seconds_per_token;
  }
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    if (kKeepLevels[i].keep == Keep::kInput || !profile.remake[i]) continue;
    profile.remake[i]->cost = profile.forward;
    profile.remake[i]->cost.seconds_per_token2 = 0.0;
  }
  return profile;
}

// Lets stages begin their instructions in a trace's order, one after the other; all shards of a
// stage at once.
class Turns final {
 public:
  explicit Turns(int shards) : shards_(static_cast<std::size_t>(shards)) {}

  void start(const Trace& predicted) {
    std::vector<const TraceEvent*> order;
    for (const TraceEvent& event : predicted.events) order.push_back(&event);
    std::stable_sort(order.begin(), order.end(),
                     [](const auto* a, const auto* b) { return a->begin < b->begin; });
    const std::lock_guard lock(mutex_);
    next_ = 0;
    turns_.assign(kStages, {});
    for (std::size_t i = 0; i < order.size(); ++i) turns_[order[i]->stage.index()].push_back(i);
    done_.assign(kStages, 0);
  }
  // Called where a stage is about to begin an instruction.
  void wait(StageId stage) {
    std::unique_lock lock(mutex_);
    const std::size_t p = stage.index();
    const std::size_t mine = turns_[p].at(done_[p]++ / shards_);
    changed_.wait(lock, [&] { return next_ == mine; });
    if (++begun_ < shards_) return;
    begun_ = 0;
    ++next_;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<std::size_t>> turns_;  // of each stage's instructions
  std::vector<std::size_t> done_;
  std::size_t shards_;
  std::size_t begun_ = 0;  // of those whose turn it is
  std::size_t next_ = 0;
};

// The most that waited at a stage to be taken, measured.
Bytes most_waiting(const Trace& trace, std::size_t stage) {
  Bytes most = 0.0;
  for (const MemorySample& sample : trace.memory) {
    if (sample.stage.index() != stage) continue;
    most = std::max(most, sample.bytes[static_cast<std::size_t>(MemoryPurpose::kTransfers)]);
  }
  return most;
}

class MemoryByPurpose : public ::testing::TestWithParam<Way> {
 protected:
  Plan plan(const Profile& profile, const PlanRequest& request, Bytes budget) const {
    PlanContext context;
    context.profile = profile;
    context.layers = 4;
    context.layers_per_stage = {2, 2};
    context.parallelism = {kStages, GetParam().shards, 1};
    context.bytes_per_stage = budget;
    return make_planner(context, std::make_shared<SimulatorEvaluator>(budget))->plan(request);
  }
};

// Peaks within 3% on every step and never above the budget; each purpose's most bytes as well, as a
// share of the stage's peak. A message that is taken earlier than predicted, or in the middle of an
// instruction, makes the measured figures smaller by as much.
TEST_P(MemoryByPurpose, IsWhatTheMeterSays) {
  const ProfileOptions options = measured_model(GetParam());
  const Profile profile = timeless_profile(options);
  Turns turns(GetParam().shards);
  EngineOptions engine_options = options.engine;
  engine_options.before_instruction = [&turns](int, StageId stage, const Instruction&) {
    turns.wait(stage);
  };
  Engine engine(engine_options);
  const CostModel cost(profile, {kStages, GetParam().shards, 1}, options.engine.stages);
  constexpr double kBound = 0.03;
  // Some shards of a chunk have a token more than others, which the model does not count.
  const double uneven = GetParam().shards > 1 ? 1.001 : 1.0;
  // On a GPU's path attention joins the pieces of a context: a slice that has one holds more than
  // another, so that what the model says of workspace is too much for most.
  const double purpose_bound = GetParam().device ? 0.06 : kBound;
  const int plans = GetParam().device ? 10 : 24;
  Random random(20261124);
  int ran = 0;
  int around_attention = 0;
  double worst_peak = 0.0;
  double worst_purpose = 0.0;
  for (int i = 0; i < plans; ++i) {
    PlanRequest request;
    request.step = i;
    request.sequences = {random.between(600, options.engine.longest)};
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
    const Trace predicted = simulate(tight, plan_cost(profile, tight)).trace;
    turns.start(predicted);
    const StepResult result = engine.run(tight, batch);
    const TraceComparison compared = compare_traces(predicted, result.trace);
    SCOPED_TRACE("batch " + std::to_string(i) + "\n" + comparison_table(compared));
    Tokens largest = 0;
    for (const Pipeline& pipeline : tight.replicas[0].pipelines) {
      for (const Chunk& chunk : pipeline.chunks) largest = std::max(largest, chunk.tokens());
    }
    const Bytes message = cost.message_bytes(largest);
    ASSERT_EQ(compared.stage_memory_error.size(), std::size_t{kStages});
    for (std::size_t p = 0; p < kStages; ++p) {
      EXPECT_LE(result.peak_bytes[p], budget * uneven);
      EXPECT_GE(compared.stage_memory_error[p], -kBound);
      EXPECT_LE(compared.stage_memory_error[p], kBound + message / result.peak_bytes[p]);
      worst_peak = std::max(worst_peak, std::abs(compared.stage_memory_error[p]));
    }
    for (const PurposePeak& peak : compared.memory) {
      if (peak.purpose == MemoryPurpose::kTransfers) continue;  // taken when they come
      const double difference = (peak.predicted - peak.measured) / peak.stage_peak;
      const bool rest = peak.purpose == MemoryPurpose::kWorkspace;  // what others leave of a peak
      const Bytes taken = rest ? most_waiting(result.trace, peak.stage.index()) : 0.0;
      EXPECT_GE(difference, -kBound) << to_string(peak.purpose);
      EXPECT_LE(difference, purpose_bound + taken / peak.stage_peak) << to_string(peak.purpose);
      worst_purpose = std::max(worst_purpose, std::abs(difference));
    }
  }
  EXPECT_GT(ran, plans / 2);
  EXPECT_GT(around_attention, plans / 8);
  std::printf("%s, %d plans: peaks within %.2f%%, each purpose within %.2f%% of the peak\n",
              ::testing::PrintToString(GetParam()).c_str(), ran, 100.0 * worst_peak,
              100.0 * worst_purpose);
}

// To the byte: what replicas share out of a stage's states is what the cost model takes off.
TEST_P(MemoryByPurpose, ReplicasHoldTheStatesThatTheModelSays) {
  const ProfileOptions options = measured_model(GetParam());
  const Profile profile = estimated_profile(options.engine.model, options.engine.dtype);
  const auto states = [&](int replicas) {  // measured less predicted, by stage
    PlanContext context;
    context.profile = profile;
    context.layers = 4;
    context.layers_per_stage = {2, 2};
    context.parallelism = {kStages, GetParam().shards, replicas};
    PlanRequest request;
    request.sequences = {50, 40, 30, 20, 10};
    const Plan plan =
        make_planner(context, std::make_shared<SimulatorEvaluator>(0.0))->plan(request);
    EngineOptions engine_options = options.engine;
    engine_options.replicas = replicas;
    engine_options.longest = 0;
    Batch batch;
    for (const Tokens length : plan.sequences)
      batch.sequences.emplace_back(static_cast<std::size_t>(length), 5);
    Engine engine(engine_options);
    std::vector<Bytes> beyond(kStages, 0.0);
    const CostModel cost(profile, plan.parallelism, plan.stages);
    for (const MemorySample& sample : engine.run(plan, batch).trace.memory) {
      const auto of = [&](MemoryPurpose purpose) {
        return sample.bytes[static_cast<std::size_t>(purpose)];
      };
      beyond[sample.stage.index()] = of(MemoryPurpose::kWeights) + of(MemoryPurpose::kGradients) +
                                     of(MemoryPurpose::kOptimizer) - cost.state_bytes(sample.stage);
    }
    return beyond;
  };
  const std::vector<Bytes> constant = states(1);
  for (const int replicas : {2, 4}) {
    const std::vector<Bytes> beyond = states(replicas);
    for (std::size_t p = 0; p < kStages; ++p) EXPECT_NEAR(beyond[p], constant[p], 0.01) << p;
  }
}

// ATen's bfloat16 on the processor is slow: a soak alone measures a GPU's path with it.
std::vector<Way> ways() {
  std::vector<Way> all = {{Dtype::kFloat32, false},
                          {Dtype::kBfloat16, false},
                          {Dtype::kFloat32, true},
                          {Dtype::kFloat32, false, 2}};
  if (testing::soak()) all.push_back({Dtype::kBfloat16, true});
  return all;
}
INSTANTIATE_TEST_SUITE_P(Types, MemoryByPurpose, ::testing::ValuesIn(ways()),
                         [](const auto& test) { return ::testing::PrintToString(test.param); });

}  // namespace
}  // namespace infinipipe
