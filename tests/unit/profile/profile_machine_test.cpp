// A tiny model measured for real, for a second.
#include "profile/profile_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "dist/world.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"
#include "infinipipe/core/validate.h"
#include "profile/fit.h"
#include "profile/samples.h"
#include "profile_testing.h"
#include "runtime/engine.h"

namespace infinipipe {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

ProfileOptions tiny(int stages) {
  ProfileOptions options;
  options.model.vocab_size = 257;
  options.model.hidden_size = 32;
  options.model.intermediate_size = 64;
  options.model.num_hidden_layers = 2;
  options.model.num_attention_heads = 2;
  options.model.num_key_value_heads = 1;
  options.stages = testing::stages_of(stages, 2);
  options.longest = 2048;
  options.seconds = 1.0;
  return options;
}

// What the engine's own meter says of the instructions of a plan that was not measured.
void expect_memory(const ProfileOptions& options, const Profile& profile, Keep level) {
  Engine::Options engine_options;
  engine_options.model = options.model;
  engine_options.stages = options.stages;
  Engine engine(engine_options);
  const auto groups = design_groups(1500, options.stages, Random(77));
  Random random(78);
  const Plan plan = testing::plan_of(groups, options.stages, random, level);
  Batch batch;
  for (const Tokens length : plan.sequences) {
    batch.sequences.emplace_back(static_cast<std::size_t>(length), 5);
  }
  const StepResult result = engine.run(plan, batch);
  const CostModel cost(profile, {.stages = static_cast<int>(options.stages.size())},
                       options.stages);
  int checked = 0;
  const auto samples = samples_of(plan, result.trace, 0);
  for (const InstructionSample& sample : samples) {
    if (sample.shape.tokens < 256 || sample.op == Op::kWeightGrad) continue;
    const Bytes predicted = predicted_temporary(sample, cost);
    SCOPED_TRACE(
        std::string(1, op_letter(sample.op)) + " of " + std::to_string(sample.shape.tokens) +
        " tokens in " + std::to_string(sample.shape.slices) + " slices after " +
        std::to_string(sample.context) + ", stage " + std::to_string(sample.stage.value()) + ", " +
        std::to_string(sample.keeping.remade()) + " recomputed, " +
        std::to_string(sample.shape.cut_tokens) + " of a cut sequence, closes " +
        std::to_string(sample.shape.cut_sequence_tokens));
    EXPECT_LE(temporary_error(sample, predicted), 0.03 * sample.temporary)
        << "predicted " << predicted << ", measured " << sample.temporary << " and up to "
        << sample.waited;
    ++checked;
  }
  EXPECT_GT(checked, 50);
}

class ProfileMachine : public ::testing::TestWithParam<int> {};

TEST_P(ProfileMachine, MeasuresAProfileThatHolds) {
  ProfileOptions options = tiny(GetParam());
  std::vector<double> shares;
  std::string what;
  options.progress = [&](const std::string& now, double share) {
    what = now;
    shares.push_back(share);
  };
  const ProfileResult result = profile_machine(options);
  const Profile& profile = result.profile;
  EXPECT_EQ(profile.source, "measured");
  EXPECT_EQ(profile.machine, machine_name());
  EXPECT_EQ(profile.dtype, "float32");
  EXPECT_GE(result.rounds, 3);
  EXPECT_GT(result.seconds, 0.0);

  // It reads back as it is.
  const Json written = parse_json(profile_to_json(profile).dump(1), "profile.json");
  const Profile read = profile_from_json(written, "profile.json");
  EXPECT_EQ(profile_hash(read), profile_hash(profile));
  EXPECT_EQ(written["fit"]["rounds"], result.rounds);
  EXPECT_EQ(written["fit"]["samples"], result.residuals.size());
  EXPECT_GE(written["fit"]["time_error_p95"], written["fit"]["time_error_median"]);

  // Times are there, and of a processor of this world.
  const CostModel cost(read, {.stages = GetParam()}, options.stages);
  ChunkShape chunk;
  chunk.token2 = 1e6;
  chunk.tokens = 1000;
  chunk.slices = 1;
  for (int p = 0; p < GetParam(); ++p) {
    EXPECT_GT(cost.forward(StageId(p), chunk), 1e-5);
    EXPECT_LT(cost.forward(StageId(p), chunk), 5.0);
    EXPECT_GT(cost.backward(StageId(p), chunk), cost.weight_grad(StageId(p), chunk));
    EXPECT_GE(cost.weight_grad(StageId(p), chunk), 0.0);  // in a second of a busy machine
  }
  EXPECT_GT(profile.step_seconds, 0.0);
  EXPECT_EQ(profile.device_memory_bytes, machine_bytes_per_stage(GetParam()));

  // Every kind of instruction and chunk is among the residuals.
  std::set<std::string> kinds;
  for (const Residual& residual : result.residuals) {
    EXPECT_GT(residual.measured, 0.0) << residual.what;
    EXPECT_GE(residual.predicted, 0.0) << residual.what;
    EXPECT_GT(residual.tokens, 0);
    EXPECT_LT(residual.stage, GetParam());
    kinds.insert(residual.what);
    kinds.insert(residual.kind);
  }
  for (const char* kind : {"forward", "backward", "input gradient", "weight gradient", "recompute",
                           "recompute, around attention", "split", "batched"}) {
    EXPECT_TRUE(kinds.contains(kind)) << kind;
  }

  // What instructions hold for themselves.
  EXPECT_LT(result.memory_error_max, 0.05);  // 0.040 for one of the first groups of one stage
  expect_memory(options, read, Keep::kInput);
  expect_memory(options, read, Keep::kAttention);

  ASSERT_FALSE(shares.empty());
  for (std::size_t i = 1; i < shares.size(); ++i) EXPECT_GE(shares[i], shares[i - 1]);
  EXPECT_LE(shares.back(), 1.0);
  EXPECT_THAT(what, HasSubstr("round"));
}

INSTANTIATE_TEST_SUITE_P(Stages, ProfileMachine, ::testing::Values(1, 2));

TEST(ProfileMachineLimits, ShortDocumentsAreEnough) {
  ProfileOptions options = tiny(2);
  options.longest = 40;
  options.seconds = 0.2;
  const ProfileResult result = profile_machine(options);
  EXPECT_FALSE(result.residuals.empty());
  EXPECT_NO_THROW(profile_from_json(profile_to_json(result.profile), "profile.json"));
}

TEST(ProfileMachineLimits, RefusesWhatCannotBeMeasured) {
  const auto refusal = [](const ProfileOptions& options) -> std::string {
    try {
      profile_machine(options);
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  };
  ProfileOptions options = tiny(1);
  options.seconds = 0.0;
  EXPECT_THAT(refusal(options), HasSubstr("profile: seconds: found 0"));
  options = tiny(1);
  options.longest = 0;
  EXPECT_THAT(refusal(options), HasSubstr("profile: longest document: found 0"));
}

TEST(Machine, HasANameAndMemory) {
  EXPECT_THAT(machine_name(), HasSubstr(" cores, "));
  EXPECT_THAT(machine_name(), AnyOf(HasSubstr("GiB"), HasSubstr("TiB")));
  const Bytes one = machine_bytes_per_stage(1);
  EXPECT_GT(one, 1e8);
  EXPECT_DOUBLE_EQ(machine_bytes_per_stage(4), one / 4);
  EXPECT_DOUBLE_EQ(machine_bytes_per_stage(0), one);
}

TEST(Machine, MostOfAGpuIsForTensors) {
  constexpr Bytes kGiB = 1024.0 * 1024 * 1024;
  EXPECT_DOUBLE_EQ(usable_gpu_bytes(80 * kGiB), 73 * kGiB);
  EXPECT_DOUBLE_EQ(usable_gpu_bytes(2 * kGiB), 1 * kGiB);
}

TEST(Machine, OfSeveralHostsTheOneWithTheLeastForARankCounts) {
  const auto ranks = [](std::vector<std::pair<std::string, Bytes>> hosts) {
    std::vector<RankFacts> facts;
    for (const auto& [host, memory] : hosts) {
      facts.emplace_back().host = host;
      facts.back().memory = memory;
    }
    return facts;
  };
  const auto share = [](const std::vector<RankFacts>& facts) {
    return machine_bytes_per_stage(99, Device::kCpu, facts);
  };
  const Bytes alone = share(ranks({{"a", 64e9}}));
  EXPECT_DOUBLE_EQ(alone, 64e9 * 0.7 - 0.5 * 1024 * 1024 * 1024);
  EXPECT_DOUBLE_EQ(share(ranks({{"a", 64e9}, {"b", 64e9}})), alone);
  EXPECT_DOUBLE_EQ(share(ranks({{"a", 64e9}, {"b", 64e9}, {"a", 64e9}})), alone / 2);
  EXPECT_DOUBLE_EQ(share(ranks({{"a", 256e9}, {"a", 256e9}, {"b", 64e9}})), alone);
}

}  // namespace
}  // namespace infinipipe
