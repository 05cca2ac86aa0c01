#include "runtime/batch.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "infinipipe/base/error.h"
#include "support/keeping.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

// Sequence 0: 5 tokens in slices of 3 and 2; sequence 1: 2 tokens beside the tail.
struct Fixture {
  Plan plan;
  Batch batch;

  Fixture() {
    plan.sequences = {5, 2};
    plan.stages = {{0, 1}, {1, 3}};
    Replica& replica = plan.replicas.emplace_back();
    Pipeline& pipeline = replica.pipelines.emplace_back();
    pipeline.chunks = {{ChunkKind::kSplit, {{SequenceId(0), 0, 3}}, testing::inputs({1, 0})},
                       {ChunkKind::kHybrid,
                        {{SequenceId(0), 3, 5}, {SequenceId(1), 0, 2}},
                        testing::inputs({0, 2})}};
    pipeline.backward = {1, 0};
    replica.instructions = {{{Op::kForward, {}, {}}, {Op::kBackward, {}, {}}}, {}};
    batch.sequences = {{10, 11, 12, 13, 14}, {20, 21}};
  }
  const Chunk& chunk(std::size_t i) const { return plan.replicas[0].pipelines[0].chunks[i]; }
};

std::vector<std::int64_t> ids(const at::Tensor& x) {
  return {x.const_data_ptr<std::int64_t>(), x.const_data_ptr<std::int64_t>() + x.numel()};
}
std::vector<double> numbers(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kDouble);
  return {wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + wide.numel()};
}

TEST(Batch, TargetWeightCountsPredictions) {
  Batch batch;
  batch.sequences = {{1, 2, 3}, {4}, {}, {5, 6}};
  EXPECT_EQ(batch.target_weight(), 3.0);
  batch.weights = {{9.0F, 0.5F, 0.0F}, {}, {}, {}};
  EXPECT_EQ(batch.target_weight(), 1.5);
}

TEST(ChunkWork, SaysWhatIsCutAndLast) {
  const Fixture f;
  const StepInput input(f.plan, f.batch);
  const ChunkWork head = chunk_work(input, f.chunk(0), StageId(0));
  EXPECT_TRUE(head.slices[0].cut);
  EXPECT_FALSE(head.slices[0].last);
  EXPECT_EQ(head.keeping.remade(), 1);
  const ChunkWork tail = chunk_work(input, f.chunk(1), StageId(1));
  EXPECT_TRUE(tail.slices[0].cut);
  EXPECT_TRUE(tail.slices[0].last);
  EXPECT_FALSE(tail.slices[1].cut);
  EXPECT_TRUE(tail.slices[1].last);
  EXPECT_EQ(tail.keeping.remade(), 2);
  EXPECT_EQ(tail.tokens(), 4);
}

// Six sequences in three sub-groups of two shards: two, none and four of them.
TEST(ChunkWork, OfASubGroupHasItsSlicesAlone) {
  Plan plan;
  plan.sequences = {3, 4, 5, 6, 7, 8};
  plan.parallelism.sequence_parallel = 6;
  Batch batch;
  Chunk chunk;
  for (int i = 0; i < 6; ++i) {
    const Tokens length = plan.sequences[static_cast<std::size_t>(i)];
    batch.sequences.emplace_back(static_cast<std::size_t>(length), i);
    chunk.slices.push_back({SequenceId(i), 0, length});
  }
  chunk.keeping = {Keeping{}};
  chunk.degree = 2;
  chunk.groups = {2, 0, 4};
  const StepInput input(plan, batch);
  EXPECT_EQ(sharing_degree(chunk, 6), 2);
  const std::vector<Tokens> tokens = {7, 7, 0, 0, 26, 26};
  for (int shard = 0; shard < 6; ++shard) {
    const ChunkWork work = chunk_work(input, chunk, StageId(0), shard, 6);
    EXPECT_EQ(work.tokens(), tokens[static_cast<std::size_t>(shard)]) << shard;
  }
  EXPECT_EQ(chunk_work(input, chunk, StageId(0), 5, 6).slices[0].sequence, SequenceId(2));
  chunk.degree = 0;
  EXPECT_EQ(sharing_degree(chunk, 6), 6);
  EXPECT_EQ(chunk_work(input, chunk, StageId(0), 5, 6).tokens(), 33);
}

TEST(ChunkTokens, StandOneSliceAfterTheOther) {
  const Fixture f;
  const StepInput input(f.plan, f.batch);
  EXPECT_EQ(ids(chunk_tokens(input, chunk_work(input, f.chunk(0), StageId(0)))),
            (std::vector<std::int64_t>{10, 11, 12}));
  EXPECT_EQ(ids(chunk_tokens(input, chunk_work(input, f.chunk(1), StageId(0)))),
            (std::vector<std::int64_t>{13, 14, 20, 21}));
}

TEST(ChunkTargets, ReachIntoTheNextSliceAndEndWithTheSequence) {
  const Fixture f;
  const StepInput input(f.plan, f.batch);
  const ChunkTargets head =
      chunk_targets(input, chunk_work(input, f.chunk(0), StageId(0)), at::kFloat);
  EXPECT_EQ(ids(head.target), (std::vector<std::int64_t>{11, 12, 13}));
  EXPECT_EQ(numbers(head.weight), (std::vector<double>{1, 1, 1}));
  const ChunkTargets tail =
      chunk_targets(input, chunk_work(input, f.chunk(1), StageId(0)), at::kDouble);
  EXPECT_EQ(ids(tail.target), (std::vector<std::int64_t>{14, 0, 21, 0}));
  EXPECT_EQ(numbers(tail.weight), (std::vector<double>{1, 0, 1, 0}));
  EXPECT_EQ(tail.normalizer, 5.0);
  EXPECT_EQ(tail.weight.scalar_type(), at::kDouble);
}

TEST(ChunkTargets, CarryWeights) {
  Fixture f;
  f.batch.weights = {{8, 0.25F, 0.5F, 0.0F, 2.0F}, {}};
  const StepInput input(f.plan, f.batch);
  EXPECT_EQ(
      numbers(chunk_targets(input, chunk_work(input, f.chunk(0), StageId(0)), at::kFloat).weight),
      (std::vector<double>{0.25, 0.5, 0.0}));
  const ChunkTargets tail =
      chunk_targets(input, chunk_work(input, f.chunk(1), StageId(0)), at::kFloat);
  EXPECT_EQ(numbers(tail.weight), (std::vector<double>{2.0, 0, 1, 0}));
  EXPECT_EQ(tail.normalizer, 3.75);
}

template <class Change>
std::string refusal(const Change& change) {
  Fixture f;
  change(f.batch);
  try {
    require_fits(f.batch, f.plan, 22);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(RequireFits, NamesWhatDoesNotFit) {
  EXPECT_EQ(refusal([](Batch&) {}), "accepted");
  EXPECT_THAT(refusal([](Batch& b) { b.sequences.pop_back(); }),
              HasSubstr("found 1 sequences, the plan has 2"));
  EXPECT_THAT(refusal([](Batch& b) { b.sequences[1].push_back(3); }),
              HasSubstr("sequence 1: found 3 tokens, the plan has 2"));
  EXPECT_THAT(refusal([](Batch& b) { b.sequences[0][4] = 22; }),
              HasSubstr("sequence 0: found token id 22 at position 4, expected ids from 0 to 21"));
  EXPECT_THAT(refusal([](Batch& b) { b.sequences[0][1] = -1; }), HasSubstr("token id -1"));
  EXPECT_THAT(refusal([](Batch& b) { b.weights = {{1.0F}, {}}; }), HasSubstr("found 1 weights"));
  EXPECT_THAT(refusal([](Batch& b) { b.weights = {{}}; }), HasSubstr("found 1 lists"));
}

}  // namespace
}  // namespace infinipipe
