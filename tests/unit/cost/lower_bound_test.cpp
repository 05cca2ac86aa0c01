#include "cost/lower_bound.h"

#include <gtest/gtest.h>

#include "infinipipe/base/error.h"
#include "support/profiles.h"

namespace infinipipe {
namespace {

using testing::profile_path;

// Two layers: forward a second a token and layer, backward two of which W is one; 100 bytes a token
// and layer, of which recomputation leaves 10.
Profile plain_profile() {
  Profile p;
  p.forward.seconds_per_token = 2.0;
  p.backward.seconds_per_token = 4.0;
  p.memory.activation_bytes_per_token = 200.0;
  p.memory.input_bytes_per_token = 10.0;
  p.links.p2p_bytes_per_second = 1.0;
  return p;
}

// On one stage: all layers there are.
LowerBound on_one_stage(const Profile& profile, const std::vector<Tokens>& lengths, Bytes limit) {
  return lower_bound(CostModel(profile, {1, 1, 1}, {{0, 2}}), lengths, limit);
}

constexpr double kNear = 1e-9;

TEST(LowerBound, WorkOverStagesAndFillingByHand) {
  const std::vector<Tokens> lengths = {30, 70};
  const LowerBound one = lower_bound(plain_profile(), {1, 1, 1}, 2, lengths, 0.0);
  EXPECT_NEAR(one.seconds, 600.0, 600 * kNear);
  EXPECT_EQ(one.chunks, 1);
  EXPECT_TRUE(one.fits);
  // Each stage 300; the last waits for a token's forward. Its gradient's way up hides behind W.
  const LowerBound two = lower_bound(plain_profile(), {2, 1, 1}, 2, lengths, 0.0);
  EXPECT_NEAR(two.seconds, 301.0, 301 * kNear);
  EXPECT_GE(two.chunks, 2) << "one chunk would run through both stages alone";
}

TEST(LowerBound, LinksFillThePipeline) {
  Profile profile = plain_profile();
  profile.links.p2p_seconds = 10.0;
  const std::vector<Tokens> lengths = {30, 70};
  EXPECT_NEAR(lower_bound(profile, {2, 1, 1}, 2, lengths, 0.0).seconds, 311.0, 1e-6);
}

TEST(LowerBound, ReplicasShareWorkButNotASequence) {
  const std::vector<Tokens> even(8, 50);
  EXPECT_NEAR(lower_bound(plain_profile(), {1, 1, 2}, 2, even, 0.0).seconds, 1200.0, 1e-6);
  const std::vector<Tokens> giant = {400, 10};
  EXPECT_NEAR(lower_bound(plain_profile(), {1, 1, 2}, 2, giant, 0.0).seconds, 2400.0, 1e-6);
}

TEST(LowerBound, HeadGoesWhereTheLayersLeaveRoom) {
  Profile profile = plain_profile();
  profile.head = {2.0, 4.0};  // as much as both layers
  const std::vector<Tokens> lengths(20, 5);
  // Layer by layer on three stages of the four layers' work: 4 layers of 150 s, and a head of 600.
  const LowerBound any = lower_bound(profile, {2, 1, 1}, 4, lengths, 0.0);
  // Best: three layers (450) and one with the head (750), not two (300) and two (900).
  EXPECT_NEAR(any.work, 750.0 + 0.5, 1e-6);
  const CostModel even(profile, {2, 1, 1}, {{0, 2}, {2, 4}});
  EXPECT_NEAR(lower_bound(even, lengths, 0.0).work, 900.0 + 1.0, 1e-6);
}

TEST(LowerBound, ChunkCostsCountOnceAtLeast) {
  Profile profile = plain_profile();
  profile.forward.seconds_per_chunk = 50.0;
  const std::vector<Tokens> lengths = {30, 70};
  EXPECT_NEAR(lower_bound(profile, {1, 1, 1}, 2, lengths, 0.0).seconds, 650.0, 1e-6);
}

TEST(LowerBound, MemoryNeedsChunksAndRecomputation) {
  Profile profile = plain_profile();
  profile.forward.seconds_per_chunk = 50.0;
  const std::vector<Tokens> lengths(10, 10);
  // A token recomputed in both layers: two inputs and a layer's activations, 120 bytes; 30 tokens a
  // chunk, so four chunks.
  const LowerBound packed = on_one_stage(profile, lengths, 3600.0);
  EXPECT_EQ(packed.chunks, 4);
  EXPECT_NEAR(packed.seconds, 800.0, 1e-6);
  EXPECT_EQ(packed.recompute, 0.0) << "a chunk of one sequence fits as it is";

  // One sequence of 10 needs 2000 bytes. In 1500 it is recomputed: whole, with both layers (each
  // saves 900, and the backward takes 1000 more); cut, by 500 bytes of 90 a layer and token.
  const std::vector<Tokens> single = {10};
  const LowerBound tight = on_one_stage(plain_profile(), single, 1500.0);
  EXPECT_NEAR(tight.recompute, 500.0 / 90.0, 1e-6);
  EXPECT_NEAR(tight.seconds, 60.0 + 500.0 / 90.0, 1e-6);
  EXPECT_TRUE(tight.fits);
  const LowerBound none = on_one_stage(plain_profile(), single, 2000.0);
  EXPECT_EQ(none.recompute, 0.0);
}

TEST(LowerBound, GradientAccumulatorsForceMore) {
  Profile profile = plain_profile();
  profile.memory.kv_bytes_per_token = 40.0;
  profile.memory.kv_grad_bytes_per_token = 10.0;
  const std::vector<Tokens> single = {10};
  // Whole: kept 2000 > 1900, so both layers: 200 and a layer of 1000 fit: 20 s. Cut: 2200 - 1900
  // bytes at 50 a layer and token: 6 s.
  const LowerBound bound = on_one_stage(profile, single, 1900.0);
  EXPECT_NEAR(bound.recompute, 6.0, 1e-6);
}

TEST(LowerBound, TellsWhereNothingFits) {
  const std::vector<Tokens> single = {10};
  const LowerBound bound = lower_bound(plain_profile(), {1, 1, 1}, 2, single, 150.0);
  EXPECT_FALSE(bound.fits);
  EXPECT_NEAR(bound.seconds, 60.0, 1e-6) << "then memory is ignored";
  const LowerBound states = lower_bound(plain_profile(), {1, 1, 1}, 2, single, 1.0);
  EXPECT_FALSE(states.fits);
}

TEST(LowerBound, EmptyBatchTakesNoTime) {
  EXPECT_EQ(lower_bound(plain_profile(), {1, 1, 1}, 2, {}, 0.0).seconds, 0.0);
}

TEST(LowerBound, NeedsTheBandwidthThatACostModelNeeds) {
  const std::vector<Tokens> single = {10};
  EXPECT_THROW(lower_bound(plain_profile(), {1, 3, 1}, 2, single, 0.0), InputError);
}

TEST(LowerBound, EvaluationCountsForwardsOnly) {
  const std::vector<Tokens> lengths = {30, 70};
  EXPECT_NEAR(lower_bound(plain_profile(), {1, 1, 1}, 2, lengths, 0.0, true).seconds, 200.0, 1e-6);
}

// 512 sequences on the published machine: fast, and close to the work's average.
TEST(LowerBound, Llama7bOnFourStages) {
  const Profile profile = read_profile(profile_path("llama-7b-a800.json"));
  std::vector<Tokens> lengths;
  for (int i = 0; i < 512; ++i) lengths.push_back(i % 32 == 0 ? 49152 : 700 + i);
  const LowerBound any = lower_bound(profile, {4, 8, 1}, 32, lengths, profile.device_memory_bytes);
  double work = 0.0;
  for (const Tokens n : lengths) {
    const auto t = static_cast<double>(n);
    work += (6.681631267511268e-09 * t * t + (0.00020086865310173695 + 1.6262e-05) * t) / 8 / 4;
  }
  EXPECT_GT(any.seconds, work);
  EXPECT_LT(any.seconds, 1.12 * work);
}

// Deep models cost no more than the logarithm of their layers.
TEST(LowerBound, ManyLayers) {
  const std::vector<Tokens> lengths = {30000, 2000, 1500, 700, 400};
  const LowerBound any = lower_bound(plain_profile(), {128, 1, 1}, 100000, lengths, 0.0);
  const double work = 6.0 * 34600.0;
  EXPECT_GT(any.seconds, work / 128);
  EXPECT_LT(any.seconds, work);
}

}  // namespace
}  // namespace infinipipe
