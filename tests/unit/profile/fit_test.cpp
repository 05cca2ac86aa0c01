#include "profile/fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "profile_testing.h"

namespace infinipipe {
namespace {

using testing::plan_of;
using testing::planted_samples;
using testing::stages_of;

// A machine about as this project's runs on one core, 8 layers; layer by layer.
Profile planted() {
  ModelSpec model;
  model.num_hidden_layers = 8;
  Profile profile = estimated_profile(model, Dtype::kFloat32);
  profile.forward = {6e-9, 1.2e-4, 2e-3, 4e-5};
  profile.backward = {1.5e-8, 2.6e-4, 3e-3, 6e-5};
  profile.embedding = {2e-6, 3e-6};
  profile.head = {1e-5, 2e-5};
  profile.head_in_forward = true;
  profile.backward_weight_seconds_per_token = 9e-5;
  profile.memory.layerwise = LayerwiseMemory{.forward_bytes_per_token = 9000.0,
                                             .backward_bytes_per_token = 7000.0,
                                             .backward_bytes = 90000.0,
                                             .pending_bytes_per_token = 5000.0,
                                             .head_bytes_per_token = 3000.0,
                                             .head_block_tokens = 512.0,
                                             .head_block_bytes_per_token = 12000.0};
  return profile;
}

struct Case {
  std::vector<LayerRange> stages;
  Plan plan;
  std::vector<InstructionSample> samples;
};

Case measure(const Profile& profile, int stages, double noise, Tokens longest = 8192) {
  Case result;
  result.stages = stages_of(stages, 8);
  Random random(11);
  const auto groups = design_groups(longest, result.stages, Random(5));
  result.plan = plan_of(groups, result.stages, random);
  result.samples = planted_samples(result.plan, plan_cost(profile, result.plan), noise, random);
  if (profile.remake[index_of(Keep::kAttention)]) {
    const Plan around = plan_of(groups, result.stages, random, Keep::kAttention);
    for (const InstructionSample& sample :
         planted_samples(around, plan_cost(profile, around), noise, random)) {
      result.samples.push_back(sample);
    }
  }
  return result;
}

Profile fitted(const Case& c) {
  Profile profile = planted();
  profile.forward = profile.backward = {};
  profile.embedding = profile.head = {};
  profile.backward_weight_seconds_per_token = -1.0;
  profile.memory.layerwise = LayerwiseMemory{
      .pending_bytes_per_token = planted().memory.layerwise->pending_bytes_per_token};
  fit_times(c.samples, c.stages, 0.0, profile);
  fit_temporaries(c.samples, c.stages, false, profile);
  return profile;
}

std::vector<Residual> residuals(const Case& c, const Profile& profile) {
  return residuals_of(c.samples,
                      CostModel(profile, {.stages = static_cast<int>(c.stages.size())}, c.stages));
}

// The error that so many of the residuals stay below.
double error_of(const std::vector<Residual>& residuals, double share) {
  std::vector<double> errors;
  for (const Residual& r : residuals) {
    errors.push_back(std::abs(r.predicted / r.measured - 1.0));
  }
  std::sort(errors.begin(), errors.end());
  return errors[static_cast<std::size_t>(share * static_cast<double>(errors.size() - 1))];
}
double worst(const std::vector<Residual>& residuals) { return error_of(residuals, 1.0); }
double most(const std::vector<Residual>& residuals) { return error_of(residuals, 0.9); }

// Bytes of every instruction of at least 256 tokens, as predicted by the fit.
void expect_bytes(const Case& c, const Profile& profile, double share) {
  const CostModel cost(profile, {.stages = static_cast<int>(c.stages.size())}, c.stages);
  for (const InstructionSample& sample : c.samples) {
    if (sample.op == Op::kWeightGrad || sample.shape.tokens < 256) continue;
    const Bytes predicted = predicted_temporary(sample, cost);
    EXPECT_NEAR(predicted, sample.temporary, share * sample.temporary)
        << op_letter(sample.op) << " of " << sample.shape.tokens << " tokens after "
        << sample.context << " on stage " << sample.stage.value() << ", " << sample.keeping.remade()
        << " recomputed, closes " << sample.shape.cut_sequence_tokens;
  }
}

TEST(FitTimes, RecoversWhatWasPlanted) {
  const Profile truth = planted();
  for (const int stages : {1, 2, 4}) {
    const Case c = measure(truth, stages, 0.0);
    const Profile profile = fitted(c);
    EXPECT_LT(worst(residuals(c, profile)), 0.01) << stages << " stages";
    EXPECT_TRUE(profile.stage_speed.empty()) << "all alike";
    EXPECT_TRUE(profile.head_in_forward);
    const auto near = [](double found, double expected, double share, const char* what) {
      EXPECT_NEAR(found, expected, share * expected) << what;
    };
    near(profile.forward.seconds_per_token2, 6e-9, 0.02, "forward token2");
    near(profile.backward.seconds_per_token2, 1.5e-8, 0.02, "backward token2");
    near(profile.backward.seconds_per_token, 2.6e-4, 0.03, "backward token");
    near(profile.backward_weight_seconds_per_token, 9e-5, 0.03, "weight");
    if (stages == 1) continue;  // embedding and head are on the same stage
    near(profile.forward.seconds_per_token, 1.2e-4, 0.02, "forward token");
    near(profile.head.forward_seconds_per_token + profile.head.backward_seconds_per_token, 3e-5,
         0.05, "head");
    near(profile.embedding.forward_seconds_per_token, 2e-6, 0.5, "embedding");
  }
}

// Short slices behind long contexts: a seventh of their time that (C+s)^2 - C^2 does not know.
TEST(FitTimes, FindsWhatAContextCosts) {
  Profile truth = planted();
  EXPECT_LT(fitted(measure(truth, 2, 0.0)).forward.seconds_per_context_token, 3e-9);
  truth.forward.seconds_per_context_token = 3e-7;
  truth.backward.seconds_per_context_token = 8e-7;
  const Case c = measure(truth, 2, 0.0);
  const Profile profile = fitted(c);
  EXPECT_LT(worst(residuals(c, profile)), 0.01);
  EXPECT_NEAR(profile.forward.seconds_per_context_token, 3e-7, 3e-8);
  EXPECT_NEAR(profile.backward.seconds_per_context_token, 8e-7, 8e-8);
}

TEST(FitTimes, FindsWhatRecomputingAroundAttentionTakes) {
  EXPECT_FALSE(fitted(measure(planted(), 2, 0.0)).knows(Keep::kAttention)) << "never seen";
  Profile truth = planted();
  truth.remake[index_of(Keep::kAttention)] =
      RemakeCost{{.seconds_per_token = 7e-5, .seconds_per_chunk = 1e-3}, 4096.0};
  const Case c = measure(truth, 2, 0.0);
  Profile profile = fitted(c);
  ASSERT_TRUE(profile.remake[index_of(Keep::kAttention)]);
  EXPECT_NEAR(profile.remake[index_of(Keep::kAttention)]->cost.seconds_per_token, 7e-5, 7e-7);
  EXPECT_NEAR(profile.remake[index_of(Keep::kAttention)]->cost.seconds_per_chunk, 1e-3, 3e-5);
  EXPECT_EQ(profile.remake[index_of(Keep::kAttention)]->cost.seconds_per_token2, 0.0);
  EXPECT_NEAR(profile.forward.seconds_per_token, 1.2e-4, 2e-6) << "the forward's own";
  EXPECT_LT(worst(residuals(c, profile)), 0.01);
  profile.remake[index_of(Keep::kAttention)]->kept_bytes_per_token = 4096.0;
  expect_bytes(c, profile, 0.01);
}

TEST(FitTimes, NoiseAveragesOut) {
  const Case c = measure(planted(), 2, 0.05);
  const Profile profile = fitted(c);
  const Case exact = measure(planted(), 2, 0.0);
  EXPECT_LT(most(residuals(exact, profile)), 0.04) << "against what is true, not what was read";
}

TEST(FitTimes, DisturbedMeasurementsDoNotCount) {
  Case c = measure(planted(), 2, 0.01);
  Random random(2);
  for (InstructionSample& sample : c.samples) {
    if (random.uniform() < 0.08) sample.seconds *= 2.0 + 4.0 * random.uniform();
  }
  const Case exact = measure(planted(), 2, 0.0);
  EXPECT_LT(most(residuals(exact, fitted(c))), 0.04);
}

TEST(FitTimes, TellsSlowStagesApart) {
  Profile truth = planted();
  truth.stage_speed = {1.0, 0.8};
  const Case c = measure(truth, 2, 0.0);
  const Profile profile = fitted(c);
  ASSERT_EQ(profile.stage_speed.size(), 2u);
  EXPECT_NEAR(profile.stage_speed[1] / profile.stage_speed[0], 0.8, 0.02);
  EXPECT_LT(worst(residuals(c, profile)), 0.04);
}

TEST(FitTemporaries, RecoversWhatWasPlanted) {
  const LayerwiseMemory truth = *planted().memory.layerwise;
  for (const int stages : {1, 2, 4}) {
    const Case c = measure(planted(), stages, 0.0);
    const Profile profile = fitted(c);
    const LayerwiseMemory& memory = *profile.memory.layerwise;
    EXPECT_NEAR(memory.forward_bytes_per_token, truth.forward_bytes_per_token, 1.0);
    EXPECT_NEAR(memory.backward_bytes_per_token, truth.backward_bytes_per_token, 70.0);
    EXPECT_NEAR(memory.backward_bytes, truth.backward_bytes, 10000.0);
    EXPECT_EQ(memory.head_block_tokens, truth.head_block_tokens);
    EXPECT_EQ(memory.pending_bytes_per_token, truth.pending_bytes_per_token) << "left alone";
    expect_bytes(c, profile, 0.01);
  }
}

// A short last slice of a long document opens more accumulators in a layer than the layer frees;
// the fit must not take them for temporaries.
TEST(FitTemporaries, KnowsWhatAccumulatorsOpen) {
  Profile truth = planted();
  truth.memory.kv_grad_bytes_per_token *= 20.0;
  const Case c = measure(truth, 2, 0.0);
  Profile profile = truth;
  profile.memory.layerwise =
      LayerwiseMemory{.pending_bytes_per_token = truth.memory.layerwise->pending_bytes_per_token};
  fit_temporaries(c.samples, c.stages, false, profile);
  EXPECT_NEAR(profile.memory.layerwise->backward_bytes_per_token,
              truth.memory.layerwise->backward_bytes_per_token, 100.0);
  expect_bytes(c, profile, 0.01);
}

// Small chunks hold constants besides; they must not pass for a small block of the head.
TEST(FitTemporaries, SmallChunksDoNotHideTheHeadsBlock) {
  Case c = measure(planted(), 2, 0.0);
  for (InstructionSample& sample : c.samples) {
    if (sample.op == Op::kForward && sample.shape.tokens < 256) sample.temporary += 3e5;
  }
  const Profile profile = fitted(c);
  EXPECT_EQ(profile.memory.layerwise->head_block_tokens,
            planted().memory.layerwise->head_block_tokens);
  expect_bytes(c, profile, 0.01);
}

// A message that came in the middle of an instruction, say. Where attention joins pieces such a one
// is what a budget must hold.
TEST(FitTemporaries, OneThatHoldsMoreCountsWhereAttentionJoinsPieces) {
  Case c = measure(planted(), 2, 0.0);
  InstructionSample* more = nullptr;
  for (InstructionSample& sample : c.samples) {
    if (sample.op == Op::kBackward && sample.shape.tokens > 1000) more = &sample;
  }
  ASSERT_NE(more, nullptr);
  more->temporary *= 1.3;
  const auto backward = [&](bool joins_attention) {
    Profile profile = planted();
    profile.memory.layerwise.reset();
    fit_temporaries(c.samples, c.stages, joins_attention, profile);
    return profile.memory.layerwise->backward_bytes_per_token;
  };
  const double truth = planted().memory.layerwise->backward_bytes_per_token;
  EXPECT_NEAR(backward(false), truth, 0.02 * truth);
  EXPECT_GT(backward(true), 1.1 * truth);
}

TEST(FitTemporaries, NothingMeasuredLeavesNothing) {
  Profile profile = planted();
  profile.memory.layerwise.reset();
  fit_temporaries({}, stages_of(2, 8), false, profile);
  ASSERT_TRUE(profile.memory.layerwise);
  EXPECT_EQ(profile.memory.layerwise->backward_bytes_per_token, 0.0);
  EXPECT_EQ(profile.memory.layerwise->forward_bytes_per_token, 0.0);
}

TEST(Residuals, OneForEachInstructionAndRecomputation) {
  const Case c = measure(planted(), 2, 0.0);
  const auto all = residuals(c, planted());
  std::size_t expected = 0;
  for (const InstructionSample& sample : c.samples) {
    const bool gradient = sample.op == Op::kBackward || sample.op == Op::kInputGrad;
    expected += gradient && sample.keeping.remade() > 0 ? 2 : 1;
  }
  EXPECT_EQ(all.size(), expected);
  std::map<std::string, int> count;
  Tokens longest_context = 0;
  for (const Residual& r : all) {
    EXPECT_NEAR(r.predicted, r.measured, 1e-12 * r.measured) << r.what;
    ++count[r.what];
    longest_context = std::max(longest_context, r.context);
  }
  for (const char* what :
       {"forward", "backward", "input gradient", "weight gradient", "recompute"}) {
    EXPECT_GT(count[what], 10) << what;
  }
  EXPECT_GT(longest_context, 4000);
}

}  // namespace
}  // namespace infinipipe
