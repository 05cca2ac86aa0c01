#include "planner/schedules/one_f_one_b.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "infinipipe/core/validate.h"
#include "planner/chunking/sequence_processor.h"

namespace infinipipe {
namespace {

// A plan over `stages` stages of one layer each, of pipelines whose chunks come from the processor.
Plan plan_of(const std::vector<Tokens>& sequences, int stages, int slices, bool forward_only,
             bool gpipe) {
  Plan plan;
  plan.sequences = sequences;
  plan.parallelism.stages = stages;
  for (int p = 0; p < stages; ++p) plan.stages.push_back({p, p + 1});
  Chunking chunking =
      process_sequences(sequences, {.per_token2 = 1e-6, .per_token = 1e-3, .per_chunk = 1e-2},
                        {.slices = slices, .pack_tokens = 500});
  for (Chunk& chunk : chunking.chunks) chunk.keeping.resize(static_cast<std::size_t>(stages));
  Replica replica;
  replica.pipelines.push_back(make_pipeline(chunking.chunks, forward_only));
  replica.instructions = gpipe ? all_forward_all_backward(replica.pipelines, stages)
                               : one_f_one_b(replica.pipelines, stages);
  plan.replicas.push_back(std::move(replica));
  return plan;
}

std::string text(const std::vector<Instruction>& list) {
  std::string out;
  for (const Instruction& i : list) out += (out.empty() ? "" : " ") + to_string(i);
  return out;
}

Chunk split(int sequence, Tokens begin, Tokens end) {
  return {.kind = ChunkKind::kSplit, .slices = {{SequenceId(sequence), begin, end}}, .keeping = {}};
}
Chunk batched(int sequence, Tokens end) {
  return {.kind = ChunkKind::kBatched, .slices = {{SequenceId(sequence), 0, end}}, .keeping = {}};
}

TEST(BackwardOrder, ReversesEachCutSequence) {
  const std::vector<Chunk> chunks = {split(3, 0, 2), split(3, 2, 4), split(3, 4, 5), split(1, 0, 2),
                                     split(1, 2, 3), batched(0, 2),  batched(2, 1)};
  EXPECT_EQ(backward_order(chunks), (std::vector<int>{2, 1, 0, 4, 3, 5, 6}));
  EXPECT_EQ(longest_run(chunks), 3);
  EXPECT_EQ(longest_run({}), 1);
}

TEST(OneFOneB, TheListsOfASmallExample) {
  const Pipeline pipeline =
      make_pipeline({split(0, 0, 2), split(0, 2, 4), batched(1, 2), batched(2, 2)});
  const auto lists = one_f_one_b({pipeline}, 2);
  EXPECT_EQ(pipeline.warmup_slices, 2);
  EXPECT_EQ(text(lists[0]), "F0.0 F0.1 F0.2 B0.1 F0.3 B0.0 B0.2 B0.3");
  EXPECT_EQ(text(lists[1]), "F0.0 F0.1 B0.1 F0.2 B0.0 F0.3 B0.2 B0.3");
}

TEST(OneFOneB, PipelinesFollowEachOther) {
  const auto lists =
      one_f_one_b({make_pipeline({batched(0, 1)}), make_pipeline({batched(1, 1)})}, 1);
  EXPECT_EQ(text(lists[0]), "F0.0 B0.0 F1.0 B1.0");
}

TEST(OneFOneB, ForwardOnlyHasForwardsOnly) {
  const auto lists = one_f_one_b({make_pipeline({split(0, 0, 2), split(0, 2, 3)}, true)}, 3);
  for (const auto& list : lists) EXPECT_EQ(text(list), "F0.0 F0.1");
}

TEST(Gpipe, AllForwardsFirst) {
  const auto lists =
      all_forward_all_backward({make_pipeline({split(0, 0, 2), split(0, 2, 3), batched(1, 1)})}, 2);
  for (const auto& list : lists) EXPECT_EQ(text(list), "F0.0 F0.1 F0.2 B0.1 B0.0 B0.2");
}

TEST(OneFOneB, RandomPlansAreValid) {
  Random random(11);
  for (int round = 0; round < 300; ++round) {
    std::vector<Tokens> sequences(static_cast<std::size_t>(random.between(1, 30)));
    for (Tokens& s : sequences) {
      s = random.between(0, 4) == 0 ? random.between(1, 5000) : random.between(1, 300);
    }
    const Plan plan = plan_of(sequences, static_cast<int>(random.between(1, 6)),
                              static_cast<int>(random.between(1, 9)), random.between(0, 5) == 0,
                              random.between(0, 3) == 0);
    const auto problem = validate(plan);
    ASSERT_FALSE(problem) << problem->message;
  }
}

}  // namespace
}  // namespace infinipipe
