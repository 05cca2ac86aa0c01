#include "infinipipe/cost/cost_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "infinipipe/base/error.h"
#include "support/keeping.h"
#include "support/profiles.h"

namespace infinipipe {
namespace {

using testing::again;
using testing::inputs;

using ::testing::DoubleNear;
using ::testing::HasSubstr;
using testing::profile_path;

std::vector<LayerRange> even_stages(int stages, int layers) {
  std::vector<LayerRange> result;
  for (int p = 0; p < stages; ++p) {
    result.push_back({layers * p / stages, layers * (p + 1) / stages});
  }
  return result;
}

// Numbers small enough to do by hand: 4 layers on 2 stages of 1 and 3, sequence parallel 2.
Profile small_profile() {
  Profile p;
  p.forward = {1.0, 10.0, 1000.0, 100.0};
  p.backward = {2.0, 20.0, 2000.0, 200.0};
  p.embedding = {1.0, 3.0};
  p.head = {5.0, 7.0};
  p.memory.activation_bytes_per_token = 400.0;
  p.memory.input_bytes_per_token = 10.0;
  p.memory.kv_bytes_per_token = 8.0;
  p.memory.kv_grad_bytes_per_token = 16.0;
  p.memory.head_bytes_per_token = 30.0;
  p.memory.workspace_bytes = 77.0;
  p.memory.state_bytes_per_layer = 100.0;
  p.memory.state_embedding_bytes = 40.0;
  p.memory.state_head_bytes = 60.0;
  p.memory.state_constant_bytes = 5.0;
  p.links.p2p_seconds = 0.5;
  p.links.p2p_bytes_per_second = 4.0;
  p.links.p2p_bytes_per_token = 16.0;
  p.links.all_to_all[2] = 10.0;
  p.links.all_to_all_bytes_per_token = 80.0;
  return p;
}

const std::vector<LayerRange> kSmallStages = {{0, 1}, {1, 4}};
const StageId kFirst(0);
const StageId kLast(1);

// Context 4, slice of 2, the tail of a sequence of 6; and a short one of 3.
ChunkShape small_chunk() {
  ChunkShape shape;
  shape.token2 = 36.0 - 16.0 + 9.0;
  shape.tokens = 5;
  shape.slices = 2;
  shape.cut_tokens = 2;
  shape.cut_sequence_tokens = 6;
  return shape;
}

TEST(CostModel, ASlicePaysForTheContextThatItReads) {
  ChunkShape shape = small_chunk();
  shape.context = 4;
  Profile profile = small_profile();
  const CostModel without(profile, {.stages = 2}, kSmallStages);
  profile.forward.seconds_per_context_token = 8.0;  // of 4 layers
  profile.backward.seconds_per_context_token = 20.0;
  const CostModel with(profile, {.stages = 2}, kSmallStages);
  EXPECT_DOUBLE_EQ(with.forward(kFirst, shape) - without.forward(kFirst, shape), 8.0);
  EXPECT_DOUBLE_EQ(with.backward(kLast, shape) - without.backward(kLast, shape), 60.0);
  EXPECT_DOUBLE_EQ(with.recompute_layer(kLast, shape, Keep::kInput) -
                       without.recompute_layer(kLast, shape, Keep::kInput),
                   8.0);
}

TEST(ChunkShape, CountsContextAndCutSequences) {
  const std::vector<Tokens> sequences = {6, 3, 4};
  const std::vector<bool> cut = {true, false, false};
  Chunk hybrid{ChunkKind::kHybrid, {{SequenceId(0), 4, 6}, {SequenceId(1), 0, 3}}, {{}, {}}};
  const ChunkShape shape = chunk_shape(hybrid, sequences, cut);
  EXPECT_EQ(shape.token2, 29.0);
  EXPECT_EQ(shape.context, 4);
  EXPECT_EQ(shape.tokens, 5);
  EXPECT_EQ(shape.slices, 2);
  EXPECT_EQ(shape.cut_tokens, 2);
  EXPECT_EQ(shape.cut_sequence_tokens, 6);

  Chunk split{ChunkKind::kSplit, {{SequenceId(0), 0, 4}}, {{}, {}}};
  const ChunkShape head = chunk_shape(split, sequences, cut);
  EXPECT_EQ(head.token2, 16.0);
  EXPECT_EQ(head.cut_tokens, 4);
  EXPECT_EQ(head.cut_sequence_tokens, 0) << "not its last slice";

  Chunk whole{ChunkKind::kBatched, {{SequenceId(2), 0, 4}}, {{}, {}}};
  const ChunkShape batched = chunk_shape(whole, sequences, cut);
  EXPECT_EQ(batched.cut_tokens, 0);
  EXPECT_EQ(batched.cut_sequence_tokens, 0);
}

TEST(CostModel, TimesByHand) {
  const CostModel cost(small_profile(), {2, 2, 1}, kSmallStages);
  const ChunkShape chunk = small_chunk();
  // (29 x 1 + 5 x 10 + 2 x 100) x 1/4 / 2 + 1000/4 + all-to-all 80 x 5 x 1/4 / 2 / 10
  const double layer = 279.0 / 8 + 250.0 + 5.0;
  EXPECT_DOUBLE_EQ(cost.recompute_layer(kFirst, chunk, Keep::kInput), layer);
  EXPECT_DOUBLE_EQ(cost.recompute(kLast, chunk, inputs(3)), 3 * layer);
  EXPECT_DOUBLE_EQ(cost.forward(kFirst, chunk), layer + 5 * 1.0 / 2);
  EXPECT_DOUBLE_EQ(cost.forward(kLast, chunk), 3 * layer + 5 * 5.0 / 2);
  // (29 x 2 + 5 x 20 + 2 x 200) x 1/4 / 2 + 2000/4 + the same all-to-all
  const double backward = 558.0 / 8 + 500.0 + 5.0;
  EXPECT_DOUBLE_EQ(cost.backward(kFirst, chunk), backward + 5 * 3.0 / 2);
  EXPECT_DOUBLE_EQ(cost.backward(kLast, chunk), 3 * backward + 5 * 7.0 / 2);
  // Half of 20 a token.
  EXPECT_DOUBLE_EQ(cost.weight_grad(kFirst, chunk), 5 * 10.0 / 8);
  EXPECT_DOUBLE_EQ(cost.input_grad(kLast, chunk), cost.backward(kLast, chunk) - 3 * 5 * 10.0 / 8);
  EXPECT_DOUBLE_EQ(cost.transfer(5), 0.5 + 16.0 * 5 / 2 / 4);
}

TEST(CostModel, HeadInForwardMovesBothTimesThere) {
  Profile profile = small_profile();
  const CostModel after(profile, {2, 2, 1}, kSmallStages);
  profile.head_in_forward = true;
  const CostModel inside(profile, {2, 2, 1}, kSmallStages);
  const ChunkShape chunk = small_chunk();
  EXPECT_DOUBLE_EQ(inside.forward(kLast, chunk) - after.forward(kLast, chunk), 5 * 7.0 / 2);
  EXPECT_DOUBLE_EQ(after.backward(kLast, chunk) - inside.backward(kLast, chunk), 5 * 7.0 / 2);
  EXPECT_DOUBLE_EQ(inside.forward(kFirst, chunk), after.forward(kFirst, chunk));
  EXPECT_DOUBLE_EQ(inside.recompute_layer(kLast, chunk, Keep::kInput),
                   after.recompute_layer(kLast, chunk, Keep::kInput))
      << "recomputation never runs the head";
}

TEST(CostModel, StageSpeedDividesComputeOnly) {
  Profile profile = small_profile();
  const CostModel even(profile, {2, 2, 1}, kSmallStages);
  profile.stage_speed = {1.0, 0.5};
  const CostModel slow(profile, {2, 2, 1}, kSmallStages);
  const ChunkShape chunk = small_chunk();
  EXPECT_DOUBLE_EQ(slow.forward(kFirst, chunk), even.forward(kFirst, chunk));
  EXPECT_DOUBLE_EQ(slow.forward(kLast, chunk), 2 * even.forward(kLast, chunk));
  EXPECT_DOUBLE_EQ(slow.backward(kLast, chunk), 2 * even.backward(kLast, chunk));
  EXPECT_DOUBLE_EQ(slow.weight_grad(kLast, chunk), 2 * even.weight_grad(kLast, chunk));
  EXPECT_DOUBLE_EQ(slow.recompute_layer(kLast, chunk, Keep::kInput),
                   2 * even.recompute_layer(kLast, chunk, Keep::kInput));
  EXPECT_DOUBLE_EQ(slow.transfer(5), even.transfer(5));
  EXPECT_DOUBLE_EQ(slow.activation_bytes(kLast, chunk, inputs(1)),
                   even.activation_bytes(kLast, chunk, inputs(1)));
}

TEST(CostModel, PerChunkTimeIsDividedOnlyWhenTheProfileSaysSo) {
  Profile profile = small_profile();
  const ChunkShape chunk = small_chunk();
  const CostModel whole(profile, {2, 2, 1}, kSmallStages);
  profile.seconds_per_chunk_divided = true;
  const CostModel divided(profile, {2, 2, 1}, kSmallStages);
  EXPECT_DOUBLE_EQ(whole.forward(kFirst, chunk) - divided.forward(kFirst, chunk), 125.0);
  EXPECT_DOUBLE_EQ(whole.backward(kFirst, chunk) - divided.backward(kFirst, chunk), 250.0);
}

TEST(CostModel, WeightGradientFromTheProfile) {
  Profile profile = small_profile();
  profile.backward_weight_seconds_per_token = 16.0;
  const CostModel cost(profile, {2, 2, 1}, kSmallStages);
  EXPECT_DOUBLE_EQ(cost.weight_grad(kFirst, small_chunk()), 5 * 16.0 / 8);
  EXPECT_DOUBLE_EQ(cost.weight_grad(kFirst, small_chunk()) + cost.input_grad(kFirst, small_chunk()),
                   cost.backward(kFirst, small_chunk()));
}

TEST(CostModel, BytesByHand) {
  const CostModel cost(small_profile(), {2, 2, 1}, kSmallStages);
  const ChunkShape chunk = small_chunk();
  EXPECT_DOUBLE_EQ(cost.activation_bytes(kFirst, chunk, {}), 5 * 100.0 / 2);
  EXPECT_DOUBLE_EQ(cost.activation_bytes(kLast, chunk, {}), 5 * (300.0 + 30.0) / 2);
  // Two of the last stage's three layers keep 10 instead of 100 bytes, and K and V of 2 tokens.
  EXPECT_DOUBLE_EQ(cost.activation_bytes(kLast, chunk, inputs(2)), 5 * (330.0 - 2 * 90.0) / 2);
  EXPECT_DOUBLE_EQ(cost.kept_kv_bytes(kLast, chunk, inputs(2)), 2 * 8.0 * 2 / 2);
  EXPECT_DOUBLE_EQ(cost.kept_kv_bytes(kLast, chunk, {}), 0.0);
  EXPECT_DOUBLE_EQ(cost.evaluation_kv_bytes(kLast, chunk), 3 * 8.0 * 2 / 2);
  EXPECT_DOUBLE_EQ(cost.kv_grad_bytes(kLast, 6), 3 * 16.0 * 6 / 2);
  EXPECT_DOUBLE_EQ(cost.recompute_workspace_bytes(kLast, chunk), 5 * 100.0 / 2);
  EXPECT_DOUBLE_EQ(cost.workspace_bytes(), 77.0);
  EXPECT_DOUBLE_EQ(cost.state_bytes(kFirst), (100.0 + 40.0) / 2 + 5.0);
  EXPECT_DOUBLE_EQ(cost.state_bytes(kLast), (300.0 + 60.0) / 2 + 5.0);
}

// A group of two keeps attention's output twice; one key-value head of three more than its share,
// with two query heads each, on the device that has two.
TEST(ProfileOfGroup, CountsWhatAGroupKeepsBeyondOneDevice) {
  Profile profile = small_profile();
  profile.memory.attended_bytes_per_token = 12.0;
  profile.remake[index_of(Keep::kAttention)] = RemakeCost{{}, 6.0};
  profile.remake[index_of(Keep::kMlpInput)] = RemakeCost{{}, 50.0};
  const double all = profile.memory.activation_bytes_per_token;
  EXPECT_EQ(profile_of_group(profile, 4, 1).memory.activation_bytes_per_token, all);
  const Profile even = profile_of_group(profile, 4, 2);  // no heads known
  EXPECT_DOUBLE_EQ(even.memory.activation_bytes_per_token, all + 4 * 12.0);
  EXPECT_DOUBLE_EQ(even.memory.kv_bytes_per_token, profile.memory.kv_bytes_per_token);
  EXPECT_DOUBLE_EQ(even.kept_beside_input(Keep::kAttention), 6.0 + 12.0);
  EXPECT_DOUBLE_EQ(even.kept_beside_input(Keep::kMlpInput), 50.0 + 12.0);
  EXPECT_DOUBLE_EQ(even.kept_beside_input(Keep::kInput), 0.0);
  profile.heads = {6, 3};
  const Profile uneven = profile_of_group(profile, 4, 2);
  const double kv = profile.memory.kv_bytes_per_token;
  const double more = 2.0 * 2.0 / 3.0 - 1.0;
  EXPECT_DOUBLE_EQ(uneven.memory.kv_bytes_per_token, kv * (1.0 + more));
  EXPECT_DOUBLE_EQ(uneven.memory.kv_grad_bytes_per_token,
                   profile.memory.kv_grad_bytes_per_token * (1.0 + more));
  EXPECT_DOUBLE_EQ(uneven.memory.activation_bytes_per_token,
                   all + 4 * (12.0 + 2.0 * 12.0 * more + kv * more));
  EXPECT_DOUBLE_EQ(uneven.kept_beside_input(Keep::kAttention), 6.0 + 12.0 * (1.0 + more));
  profile.heads = {4, 1};  // each of four devices has the one of keys and values
  EXPECT_DOUBLE_EQ(profile_of_group(profile, 4, 4).memory.kv_bytes_per_token, 4.0 * kv);
}

TEST(ProfileOfGroup, LayersThatAreMadeAgainExchangeWhatTheyMake) {
  Profile profile = small_profile();
  profile.memory.kv_bytes_per_token = 20.0;                      // K and V
  profile.links.all_to_all_bytes_per_token = 4 * (60.0 + 20.0);  // q and o 30 each, k and v
  EXPECT_DOUBLE_EQ(profile.exchanged_again(Keep::kInput, 4), 80.0);
  EXPECT_DOUBLE_EQ(profile.exchanged_again(Keep::kAttention, 4), 50.0);
  EXPECT_DOUBLE_EQ(profile.exchanged_again(Keep::kMlpInput, 4), 0.0);
}

TEST(StateShards, OfTheOptimizerAloneLeavesWeightsAndGradientsWhole) {
  MemoryCost memory;
  memory.state_optimizer_share = 0.5;
  memory.state_sharding = StateSharding::kOptimizer;
  EXPECT_DOUBLE_EQ(1.0 / state_shards(memory, {4, 2, 2}), 0.5 + 0.5 / 4);
  EXPECT_DOUBLE_EQ(state_shards(memory, {4, 1, 1}), 1.0);
  memory.state_sharding = StateSharding::kSequenceParallel;
  EXPECT_DOUBLE_EQ(1.0 / state_shards(memory, {4, 2, 2}), (0.5 + 0.5 / 2) / 2);
  EXPECT_DOUBLE_EQ(state_shards(memory, {4, 2, 1}), 2.0);
}

// small_profile() layer by layer. Of small_chunk() (5 tokens, 2 of them the tail of a cut sequence
// of 6) on one device of two, a kept layer has 5 x 100 / 2 = 250 bytes, a recomputed one
// 5 x 10 / 2 = 25 and K and V of 2 x 8 / 2 = 8, a message 5 x 16 / 2 = 40; the head leaves
// 5 x 30 / 2 = 75. dK and dV of a layer: 16 / 2 = 8 a token. A layer's forward holds 5 x 40 / 2,
// its backward 5 x 100 / 2 and 7.
Profile layerwise_profile() {
  Profile profile = small_profile();
  profile.memory.layerwise = LayerwiseMemory{.forward_bytes_per_token = 40.0,
                                             .backward_bytes_per_token = 100.0,
                                             .backward_bytes = 7.0,
                                             .pending_bytes_per_token = 22.0,
                                             .head_bytes_per_token = 6.0,
                                             .head_block_tokens = 2.0,
                                             .head_block_bytes_per_token = 18.0};
  return profile;
}

// The slice before the tail: tokens 1 to 4 of the cut sequence.
ChunkShape middle_chunk() {
  ChunkShape shape;
  shape.token2 = 16.0 - 1.0;
  shape.tokens = 3;
  shape.slices = 1;
  shape.cut_tokens = 3;
  return shape;
}

TEST(LayerwiseMemory, ForwardByHand) {
  Profile profile = layerwise_profile();
  const CostModel cost(profile, {2, 2, 1}, kSmallStages);
  const ChunkShape chunk = small_chunk();
  EXPECT_TRUE(cost.layerwise());
  EXPECT_DOUBLE_EQ(cost.forward_temporary(kFirst, chunk, {}), 5 * 40.0 / 2);
  // Its one layer recomputed: while it runs all 250 are there of which 25 and 8 stay.
  EXPECT_DOUBLE_EQ(cost.forward_temporary(kFirst, chunk, inputs(1)), 100.0 + 250.0 - 25.0 - 8.0);
  // The head: 6 x 5 / 2 + 18 x 2; the layers' 100 exceed it less the 75 that the head is yet to
  // leave.
  EXPECT_DOUBLE_EQ(cost.forward_temporary(kLast, chunk, {}), 51.0);
  EXPECT_DOUBLE_EQ(cost.forward_temporary(kLast, chunk, inputs(2)), 51.0)
      << "a kept layer runs last";
  EXPECT_DOUBLE_EQ(cost.forward_temporary(kLast, chunk, inputs(3)), 100.0 + 217.0 - 75.0);
  profile.memory.layerwise->forward_bytes_per_token = 200.0;
  const CostModel large(profile, {2, 2, 1}, kSmallStages);
  EXPECT_DOUBLE_EQ(large.forward_temporary(kLast, chunk, {}), 500.0 - 75.0);
  profile.memory.layerwise->head_block_tokens = 1000.0;
  profile.memory.layerwise->head_block_bytes_per_token = 180.0;
  const CostModel block(profile, {2, 2, 1}, kSmallStages);
  EXPECT_DOUBLE_EQ(block.forward_temporary(kLast, chunk, {}), 15.0 + 180.0 * 5 / 2)
      << "a block has no more tokens than the device has of the chunk";
}

TEST(LayerwiseMemory, BackwardByHand) {
  const CostModel cost(layerwise_profile(), {2, 2, 1}, kSmallStages);
  const ChunkShape chunk = small_chunk();
  // A layer's backward 250 + 7 and the gradient that came in, 40; the tail opens accumulators of
  // the 4 tokens before it, 32.
  EXPECT_DOUBLE_EQ(cost.backward_temporary(kFirst, chunk, {}), 257.0 + 40.0 + 32.0);
  // The head's gradient is kept since the forward. Later layers have 250 - 32 less a layer.
  EXPECT_DOUBLE_EQ(cost.backward_temporary(kLast, chunk, {}), 257.0 + 32.0);
  // Recomputed: 225 come back, then its backward beside them, which is more than its forward.
  EXPECT_DOUBLE_EQ(cost.backward_temporary(kFirst, chunk, inputs(1)), 225.0 + 257.0 + 40.0 + 32.0);
  // The middle slice has its accumulators, 24, in place of gradients; K and V of 3 tokens, 12, go
  // when a recomputed layer's backward begins. Message 24, kept layer 150, its input 15.
  const ChunkShape middle = middle_chunk();
  EXPECT_DOUBLE_EQ(cost.backward_temporary(kFirst, middle, {}), 157.0 + 24.0 - 24.0);
  EXPECT_DOUBLE_EQ(cost.backward_temporary(kFirst, middle, inputs(1)),
                   135.0 + 157.0 + 24.0 - 24.0 - 12.0);
  // Two of three recomputed: the kept one frees 150 + 24 before, so its own backward has the most.
  EXPECT_DOUBLE_EQ(cost.backward_temporary(kLast, middle, inputs(2)), 157.0 - 24.0);
}

// Of a stage's recomputed layers the first ones keep their attention.
TEST(LayerwiseMemory, RecomputationAroundAttentionByHand) {
  Profile profile = layerwise_profile();
  profile.remake[index_of(Keep::kAttention)] =
      RemakeCost{{.seconds_per_token = 0.5, .seconds_per_chunk = 2.0}, 6.0};
  const CostModel cost(profile, {2, 2, 1}, kSmallStages);
  const ChunkShape chunk = middle_chunk();
  const auto tokens = static_cast<double>(chunk.tokens);
  const Bytes attention = 3.0 * tokens;  // 6 bytes a token on two devices
  EXPECT_DOUBLE_EQ(cost.activation_bytes(kLast, chunk, again(2, 1)),
                   cost.activation_bytes(kLast, chunk, inputs(2)) + attention);
  EXPECT_DOUBLE_EQ(cost.activation_bytes(kLast, chunk, again(3, 3)),
                   cost.activation_bytes(kLast, chunk, inputs(3)) + 3 * attention);
  // Not made again in the backward, whose own peak is as before.
  EXPECT_DOUBLE_EQ(cost.backward_temporary(kFirst, chunk, again(1, 1)),
                   cost.backward_temporary(kFirst, chunk, inputs(1)) - attention);
  // The last of three layers has the most while the forward runs: there only if it keeps it too.
  EXPECT_DOUBLE_EQ(cost.forward_temporary(kFirst, chunk, again(1, 1)),
                   cost.forward_temporary(kFirst, chunk, inputs(1)) - attention);
  EXPECT_DOUBLE_EQ(cost.forward_temporary(kLast, chunk, again(3, 2)),
                   cost.forward_temporary(kLast, chunk, inputs(3)));
  const Seconds whole = cost.recompute_layer(kLast, chunk, Keep::kInput);
  const Seconds around = cost.recompute_layer(kLast, chunk, Keep::kAttention);
  EXPECT_LT(around, whole);
  EXPECT_DOUBLE_EQ(cost.recompute(kLast, chunk, again(3, 1)), 2 * whole + around);
  EXPECT_DOUBLE_EQ(cost.recompute(kLast, chunk, inputs(3)), 3 * whole);
  // Half a second a token and two a chunk, of all layers; of an all-to-all queries, keys and
  // values.
  Profile none = profile;
  none.remake[index_of(Keep::kAttention)]->cost = {};
  const Seconds all_to_all =
      CostModel(none, {2, 2, 1}, kSmallStages).recompute_layer(kLast, chunk, Keep::kAttention);
  EXPECT_NEAR(around, (0.5 * tokens / 2.0 + 2.0) / cost.total_layers() + all_to_all, 1e-9);
}

TEST(PlanCost, TakesThePlansPaceAndLayoutAndKnowsWhatItKeeps) {
  Profile profile = small_profile();
  Plan plan;
  plan.parallelism = {2, 2, 1};
  plan.stages = kSmallStages;
  plan.stage_pace = {1.0, 2.0};
  const ChunkShape chunk = small_chunk();
  const CostModel plain(profile, plan.parallelism, plan.stages);
  const CostModel paced = plan_cost(profile, plan);
  EXPECT_DOUBLE_EQ(paced.backward(kFirst, chunk), plain.backward(kFirst, chunk));
  EXPECT_DOUBLE_EQ(paced.backward(kLast, chunk), 2.0 * plain.backward(kLast, chunk));
  EXPECT_DOUBLE_EQ(paced.recompute_layer(kLast, chunk, Keep::kInput),
                   2.0 * plain.recompute_layer(kLast, chunk, Keep::kInput));
  Chunk& first = plan.replicas.emplace_back().pipelines.emplace_back().chunks.emplace_back();
  first.keeping = inputs({1, 2});
  EXPECT_NO_THROW(plan_cost(profile, plan));
  first.keeping = {again(1, 1), again(2, 2)};
  try {
    plan_cost(profile, plan);
    FAIL() << "nothing is known of it";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "profile: recompute_around_attention: found none, expected it, as the plan has 3 "
                 "recomputed layers that keep their attention; use the profile that the plan was "
                 "made with");
  }
  profile.remake[index_of(Keep::kAttention)] = RemakeCost{{.seconds_per_token = 0.5}, 6.0};
  EXPECT_DOUBLE_EQ(plan_cost(profile, plan).recompute_layer(kLast, chunk, Keep::kAttention),
                   2.0 * CostModel(profile, {2, 2, 1}, kSmallStages)
                             .recompute_layer(kLast, chunk, Keep::kAttention));
}

// A short tail of a long sequence opens more in every layer than the layer frees.
TEST(LayerwiseMemory, AccumulatorsThatOutgrowActivationsPeakAtTheFirstLayer) {
  const CostModel cost(layerwise_profile(), {2, 2, 1}, kSmallStages);
  ChunkShape tail = small_chunk();
  tail.cut_sequence_tokens = 102;  // opens 800 a layer
  EXPECT_DOUBLE_EQ(cost.backward_temporary(kLast, tail, {}), 2 * (800.0 - 250.0) + 257.0 + 800.0);
  // Kept, then two recomputed: 550, then 800 less its input 25 and K and V 8, then 225 again.
  EXPECT_DOUBLE_EQ(cost.backward_temporary(kLast, tail, inputs(2)),
                   550.0 + (800.0 - 33.0) + 225.0 + 257.0 + 800.0);
  // Until W a kept layer leaves 5 x 11.
  EXPECT_DOUBLE_EQ(cost.backward_temporary(kLast, tail, {}, Op::kInputGrad),
                   2 * (800.0 - 250.0 + 55.0) + 257.0 + 800.0);
  EXPECT_DOUBLE_EQ(cost.backward_temporary(kLast, tail, inputs(2), Op::kInputGrad),
                   550.0 + 55.0 + (800.0 - 33.0) + 225.0 + 257.0 + 800.0);
  EXPECT_DOUBLE_EQ(cost.backward_temporary(kLast, tail, inputs(3), Op::kInputGrad),
                   cost.backward_temporary(kLast, tail, inputs(3)))
      << "recomputed layers leave nothing";
}

TEST(LayerwiseMemory, PendingAndMessagesByHand) {
  const CostModel cost(layerwise_profile(), {2, 2, 1}, kSmallStages);
  const ChunkShape chunk = small_chunk();
  EXPECT_DOUBLE_EQ(cost.pending_bytes(kLast, chunk, {}), 3 * 11.0 * 5);
  EXPECT_DOUBLE_EQ(cost.pending_bytes(kLast, chunk, inputs(2)), 11.0 * 5);
  EXPECT_DOUBLE_EQ(cost.pending_bytes(kLast, chunk, inputs(3)), 0.0);
  EXPECT_DOUBLE_EQ(cost.message_bytes(5), 40.0);
}

// The bound holds for whatever is recomputed, with accumulators and the recomputed layer's
// activations beside it.
TEST(LayerwiseMemory, BoundHoldsForEveryRecomputation) {
  const CostModel cost(layerwise_profile(), {2, 2, 1}, kSmallStages);
  const ChunkShape small = small_chunk();
  EXPECT_DOUBLE_EQ(cost.temporary_bound(kFirst, small), 257.0 + 40.0);
  EXPECT_DOUBLE_EQ(cost.temporary_bound(kLast, small), 257.0);
  for (const StageId stage : {kFirst, kLast}) {
    for (ChunkShape chunk : {small, middle_chunk()}) {
      for (const Tokens whole : {chunk.cut_sequence_tokens, 10 * chunk.cut_sequence_tokens}) {
        chunk.cut_sequence_tokens = whole;
        const Bytes grads = cost.kv_grad_bytes(stage, whole);
        for (int r = 0; r <= cost.layers(stage); ++r) {
          const Bytes again = r > 0 ? cost.recompute_workspace_bytes(stage, chunk) : 0.0;
          const Bytes bound = cost.temporary_bound(stage, chunk) + again;
          EXPECT_LE(cost.backward_temporary(stage, chunk, inputs(r)), bound + grads);
          EXPECT_LE(cost.forward_temporary(stage, chunk, inputs(r)), bound);
        }
      }
    }
  }
}

TEST(LayerwiseMemory, OtherProfilesHaveNone) {
  const CostModel cost(small_profile(), {2, 2, 1}, kSmallStages);
  const ChunkShape chunk = small_chunk();
  EXPECT_FALSE(cost.layerwise());
  EXPECT_EQ(cost.forward_temporary(kLast, chunk, inputs(1)), 0.0);
  EXPECT_EQ(cost.backward_temporary(kLast, chunk, inputs(1)), 0.0);
  EXPECT_EQ(cost.pending_bytes(kLast, chunk, inputs(1)), 0.0);
  EXPECT_EQ(cost.temporary_bound(kLast, chunk), 0.0);
  EXPECT_EQ(cost.message_bytes(5), 0.0);
}

TEST(CostModel, PaceStretchesComputeOfItsStage) {
  const ChunkShape chunk = small_chunk();
  const CostModel even(small_profile(), {2, 2, 1}, kSmallStages);
  const CostModel paced(at_pace(small_profile(), {1.0, 1.25}), {2, 2, 1}, kSmallStages);
  EXPECT_DOUBLE_EQ(paced.forward(kFirst, chunk), even.forward(kFirst, chunk));
  EXPECT_DOUBLE_EQ(paced.forward(kLast, chunk), 1.25 * even.forward(kLast, chunk));
  EXPECT_DOUBLE_EQ(paced.backward(kLast, chunk), 1.25 * even.backward(kLast, chunk));
  Profile slow = small_profile();
  slow.stage_speed = {1.0, 0.5};
  const CostModel both(at_pace(slow, {3.0, 3.0}, 2.0), {2, 2, 1}, kSmallStages);
  EXPECT_DOUBLE_EQ(both.forward(kFirst, chunk), 1.5 * even.forward(kFirst, chunk));
  EXPECT_DOUBLE_EQ(both.forward(kLast, chunk), 3.0 * even.forward(kLast, chunk));
  EXPECT_TRUE(at_pace(small_profile(), {}).stage_speed.empty());
}

TEST(CostModel, StatesShardedOverAllDevices) {
  Profile profile = small_profile();
  profile.memory.state_sharding = StateSharding::kAll;
  const CostModel cost(profile, {2, 2, 3}, kSmallStages);
  EXPECT_DOUBLE_EQ(cost.state_bytes(kFirst), (100.0 + 40.0) / 12 + 5.0);
}

TEST(CostModel, ReplicasShareOutTheOptimizersStatesAlone) {
  Profile profile = small_profile();
  const auto first_stage = [&](int replicas) {
    const Parallelism parallelism{2, 2, replicas};
    return CostModel(profile, parallelism, kSmallStages).state_bytes(kFirst);
  };
  const Bytes whole = (100.0 + 40.0) / 2.0;
  EXPECT_DOUBLE_EQ(first_stage(4), whole + 5.0) << "the profile does not say what is whose";
  profile.memory.state_optimizer_share = 0.5;
  EXPECT_DOUBLE_EQ(first_stage(1), whole + 5.0);
  EXPECT_DOUBLE_EQ(first_stage(4), 0.5 * whole + 0.5 * whole / 4.0 + 5.0);
  profile.memory.state_sharding = StateSharding::kAll;
  EXPECT_DOUBLE_EQ(first_stage(4), whole / 2.0 / 4.0 + 5.0);
}

TEST(CostModel, OneStageHasEmbeddingAndHead) {
  const CostModel cost(small_profile(), {1, 1, 1}, {{0, 4}});
  const ChunkShape chunk = small_chunk();
  EXPECT_DOUBLE_EQ(cost.forward(StageId(0), chunk), 279.0 + 1000.0 + 5 * (1.0 + 5.0));
  EXPECT_DOUBLE_EQ(cost.state_bytes(StageId(0)), 400.0 + 40.0 + 60.0 + 5.0);
}

// The published machine, computed apart from this code (docs/profile.md's formulas in Python).
TEST(CostModel, Llama7bNumbers) {
  const CostModel cost(read_profile(profile_path("llama-7b-a800.json")), {4, 8, 1},
                       even_stages(4, 32));
  const Chunk chunk{
      ChunkKind::kHybrid, {{SequenceId(0), 4900, 8192}, {SequenceId(1), 0, 113}}, {{}, {}, {}, {}}};
  const ChunkShape shape = chunk_shape(chunk, {8192, 113}, {true, false});
  const auto near = [](double value) { return DoubleNear(value, 1e-12 * value); };
  EXPECT_EQ(shape.token2, 43111633.0);
  EXPECT_THAT(cost.forward(StageId(1), shape), near(0.012376614285445824));
  EXPECT_THAT(cost.backward(StageId(1), shape), near(0.0252250985155461));
  EXPECT_THAT(cost.forward(StageId(3), shape), near(0.014683790464105874));
  EXPECT_THAT(cost.backward(StageId(3), shape), near(0.0298394508728662));
  EXPECT_THAT(cost.weight_grad(StageId(1), shape), near(0.007124560039702233));
  EXPECT_THAT(cost.input_grad(StageId(1), shape), near(0.018100538475843867));
  EXPECT_THAT(cost.recompute_layer(StageId(1), shape, Keep::kInput), near(0.001547076785680728));
  EXPECT_THAT(cost.transfer(shape.tokens), near(0.0010578751999999999));
  EXPECT_THAT(cost.activation_bytes(StageId(1), shape, {}), near(495114240.0));
  EXPECT_THAT(cost.activation_bytes(StageId(1), shape, inputs(3)), near(319906560.0));
  EXPECT_THAT(cost.activation_bytes(StageId(3), shape, {}), near(713034240.0));
  EXPECT_THAT(cost.kept_kv_bytes(StageId(1), shape, inputs(3)), near(20226048.0));
  EXPECT_THAT(cost.kv_grad_bytes(StageId(1), shape.cut_sequence_tokens), near(134217728.0));
  EXPECT_THAT(cost.recompute_workspace_bytes(StageId(1), shape), near(61889280.0));
  EXPECT_THAT(cost.state_bytes(StageId(0)), near(6286578688.0));
  EXPECT_THAT(cost.state_bytes(StageId(1)), near(5238002688.0));
}

// The fit's authors' own arithmetic for one group of degree 64 (docs/profile.md).
TEST(CostModel, PublishedFitOfGpt67b) {
  const CostModel cost(read_profile(profile_path("gpt-6.7b-a100-40gb.json")), {1, 64, 1},
                       {{0, 32}});
  ChunkShape chunk;
  const double n = 20000.0;
  chunk.token2 = n * n;
  chunk.tokens = 20000;
  chunk.slices = 1;
  const double milliseconds = 5.128e-6 * n * n / 64 + 0.1839576 * n / 64 + 629.3563 +
                              n * 4 * 2 * 2 * 32 * 4096 / (1 << 20) / 64 / 4.87;
  const double seconds = cost.forward(StageId(0), chunk) + cost.backward(StageId(0), chunk);
  EXPECT_NEAR(seconds, milliseconds / 1000.0, 1e-9);
}

TEST(CostModel, AbsentDegreeIsRefused) {
  try {
    CostModel(small_profile(), {2, 4, 1}, kSmallStages);
    FAIL() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("links.all_to_all"));
    EXPECT_THAT(error.what(), HasSubstr("degree 4"));
  }
  EXPECT_NO_THROW(CostModel(small_profile(), {2, 1, 1}, kSmallStages)) << "degree 1 needs none";
}

TEST(CostModel, SpeedsOfAnotherNumberOfStagesAreRefused) {
  Profile profile = small_profile();
  profile.stage_speed = {1.0, 1.0, 1.0};
  EXPECT_THROW(CostModel(profile, {2, 1, 1}, kSmallStages), InputError);
}

// Sub-groups of 1 and 2 of 4 devices: sequences of 3 and 2 tokens beside one of 4.
Chunk grouped_chunk(int degree, std::vector<int> groups) {
  return {.kind = ChunkKind::kBatched,
          .slices = {{SequenceId(0), 0, 3}, {SequenceId(1), 0, 2}, {SequenceId(2), 0, 4}},
          .keeping = {},
          .degree = degree,
          .groups = std::move(groups)};
}
const std::vector<Tokens> kGroupedLengths = {3, 2, 4};

Profile grouped_profile() {
  Profile profile = small_profile();
  profile.links.all_to_all[4] = 20.0;
  profile.memory.attended_bytes_per_token = 6.0;
  return profile;
}

TEST(CostModel, AShapeHasTheSubGroupsOfAChunk) {
  const std::vector<bool> cut(3, false);
  const ChunkShape shape = chunk_shape(grouped_chunk(2, {2, 1}), kGroupedLengths, cut);
  EXPECT_EQ(shape.degree, 2);
  EXPECT_EQ(shape.tokens, 9);
  EXPECT_EQ(shape.token2, 9.0 + 4.0 + 16.0);
  ASSERT_EQ(shape.parts.size(), 2u);
  EXPECT_EQ(shape.parts[0].tokens, 5);
  EXPECT_EQ(shape.parts[0].token2, 13.0);
  EXPECT_EQ(shape.parts[0].slices, 2);
  EXPECT_EQ(shape.parts[1].tokens, 4);
  // The one with most tokens comes first, and those without slices are left out.
  const ChunkShape spread = chunk_shape(grouped_chunk(1, {0, 2, 0, 1}), kGroupedLengths, cut, 2);
  ASSERT_EQ(spread.parts.size(), 2u);
  EXPECT_EQ(spread.parts[0].tokens, 5);
  EXPECT_EQ(spread.parts[0].token2, (4.0 + 3.0) + 4.0) << "as the window leaves them";
  EXPECT_TRUE(chunk_shape(grouped_chunk(0, {}), kGroupedLengths, cut).parts.empty());
}

TEST(CostModel, ASubGroupCostsWhatItsSlicesCostOnAGroupOfItsSize) {
  const Profile profile = grouped_profile();
  const std::vector<bool> cut(3, false);
  const CostModel cost(profile, {2, 4, 1}, kSmallStages);
  EXPECT_EQ(cost.degrees(), (std::vector<int>{1, 2}));
  for (const int degree : {1, 2}) {
    const CostModel alone(profile, {2, degree, 1}, kSmallStages);
    const std::vector<int> groups = degree == 1 ? std::vector{2, 0, 0, 1} : std::vector{2, 1};
    const ChunkShape shape = cost.shape(grouped_chunk(degree, groups), kGroupedLengths, cut);
    const ChunkShape& five = shape.parts[0];  // tokens
    const ChunkShape& four = shape.parts[1];
    for (const StageId stage : {kFirst, kLast}) {
      for (const Op op : {Op::kForward, Op::kBackward, Op::kInputGrad, Op::kWeightGrad}) {
        EXPECT_EQ(cost.seconds(op, stage, shape),
                  std::max(alone.seconds(op, stage, five), alone.seconds(op, stage, four)));
      }
      EXPECT_EQ(cost.recompute_layer(stage, shape, Keep::kInput),
                std::max(alone.recompute_layer(stage, five, Keep::kInput),
                         alone.recompute_layer(stage, four, Keep::kInput)));
      EXPECT_EQ(cost.activation_bytes(stage, shape, inputs(1)),
                alone.activation_bytes(stage, five, inputs(1)));
      EXPECT_EQ(cost.recompute_workspace_bytes(stage, shape),
                alone.recompute_workspace_bytes(stage, five));
    }
    EXPECT_EQ(cost.transfer(shape), alone.transfer(5));
    EXPECT_EQ(cost.sent_bytes(shape), 16.0 * 5 / degree);
  }
  // The stage's states are the whole group's.
  EXPECT_EQ(cost.state_bytes(kFirst),
            CostModel(profile, {2, 4, 1}, kSmallStages).state_bytes(kFirst));
  EXPECT_EQ(cost.state_bytes(kFirst), 140.0 / 4.0 + 5.0);
}

TEST(CostModel, DevicesOfDegreeOneExchangeNothing) {
  Profile profile = grouped_profile();
  const std::vector<bool> cut(3, false);
  const ChunkShape shape = CostModel(profile, {2, 4, 1}, kSmallStages)
                               .shape(grouped_chunk(1, {1, 1, 1, 0}), kGroupedLengths, cut);
  const Seconds with = CostModel(profile, {2, 4, 1}, kSmallStages).forward(kFirst, shape);
  profile.links.all_to_all_bytes_per_token = 0.0;
  EXPECT_EQ(CostModel(profile, {2, 4, 1}, kSmallStages).forward(kFirst, shape), with);
  // 4 tokens of one sequence on one device: 16 + 4 * 10 + 100 a quarter, and 250 for the chunk;
  // and the embedding.
  EXPECT_DOUBLE_EQ(with, (16.0 + 40.0 + 100.0) / 4.0 + 250.0 + 4.0);
}

TEST(CostModel, OffersTheSubGroupsThatTheProfileKnows) {
  Profile profile = grouped_profile();
  profile.links.all_to_all[8] = 20.0;
  profile.links.all_to_all[12] = 20.0;
  EXPECT_EQ(sub_group_degrees(profile, 1), (std::vector<int>{}));
  EXPECT_EQ(sub_group_degrees(profile, 2), (std::vector<int>{1}));
  EXPECT_EQ(sub_group_degrees(profile, 8), (std::vector<int>{1, 2, 4}));
  EXPECT_EQ(sub_group_degrees(profile, 12), (std::vector<int>{1, 2, 4})) << "none of 3 and 6";
  profile.heads = {12, 3};
  EXPECT_EQ(sub_group_degrees(profile, 12), (std::vector<int>{1, 2})) << "3 heads on 4 devices";
}

TEST(CostModel, RefusesAPlanWithSubGroupsThatTheProfileDoesNotKnow) {
  Profile profile = grouped_profile();
  Plan plan;
  plan.parallelism = {2, 4, 1};
  plan.stages = kSmallStages;
  plan.replicas.resize(1);
  plan.replicas[0].pipelines.resize(1);
  plan.replicas[0].pipelines[0].chunks = {grouped_chunk(2, {2, 1})};
  EXPECT_NO_THROW(plan_cost(profile, plan));
  profile.links.all_to_all.erase(2);
  try {
    plan_cost(profile, plan);
    ADD_FAILURE() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("links.all_to_all: found no degree 2, expected what the "
                                        "plan's sub-groups of 2 ranks need"));
  }
}

}  // namespace
}  // namespace infinipipe
