#include "planner/schedules/held_weights.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/random.h"
#include "infinipipe/core/validate.h"
#include "planner/chunking/chunk_table.h"
#include "planner/chunking/ordinary_cutting.h"
#include "planner/ordinary/ordinary_planner.h"
#include "planner/schedules/stage_steps.h"

namespace infinipipe {
namespace {

// F 1 s, B 2 s a token and layer, of which W 1 s; transfers take no time.
Profile unit_profile(int layers) {
  Profile profile;
  profile.forward.seconds_per_token = layers;
  profile.backward.seconds_per_token = 2.0 * layers;
  profile.memory.activation_bytes_per_token = 10.0 * layers;
  profile.memory.input_bytes_per_token = 1.0;
  profile.links.p2p_bytes_per_second = 1.0;
  return profile;
}

std::vector<LayerRange> one_layer_each(int stages) {
  std::vector<LayerRange> ranges;
  for (int p = 0; p < stages; ++p) ranges.push_back({p, p + 1});
  return ranges;
}

Pipeline pipeline_of(const std::vector<Tokens>& lengths, Tokens size, const CostModel& cost,
                     int recompute = 0) {
  std::vector<Chunk> chunks = uniform_slices(lengths, size, chunk_seconds(cost)).chunks;
  for (Chunk& chunk : chunks) {
    chunk.keeping.assign(static_cast<std::size_t>(cost.stage_count()),
                         Keeping::of(Keep::kInput, recompute));
  }
  return make_pipeline(std::move(chunks));
}

std::string text(const std::vector<Instruction>& list) {
  std::string out;
  for (const Instruction& i : list) out += (out.empty() ? "" : " ") + to_string(i);
  return out;
}

Plan plan_of(const Pipeline& pipeline, const std::vector<Tokens>& lengths, const CostModel& cost,
             const InstructionLists& lists) {
  Plan plan;
  plan.sequences = lengths;
  plan.parallelism = cost.parallelism();
  plan.stages = cost.stages();
  plan.replicas = {{.pipelines = {pipeline}, .instructions = lists}};
  return plan;
}

// The planner's clock on these lists.
Seconds seconds_of(const Pipeline& pipeline, const std::vector<Tokens>& lengths,
                   const CostModel& cost, const InstructionLists& lists) {
  Chunking chunking;
  chunking.chunks = pipeline.chunks;
  for (int k = 0; k < static_cast<int>(pipeline.chunks.size()); ++k) {
    if (k > 0 && pipeline.chunks[static_cast<std::size_t>(k)].context() > 0) {
      chunking.groups.back().end = k + 1;
    } else {
      chunking.groups.push_back({k, k + 1});
    }
  }
  const ChunkTable table(chunking, lengths, cost, 0.0);
  StepLists steps;
  for (const auto& list : lists) {
    steps.emplace_back();
    for (const Instruction& i : list) steps.back().push_back({i.op, i.chunk.value()});
  }
  RecomputeMatrix recompute(table.entries.size());
  for (int p = 0; p < table.stages; ++p) {
    for (int k = 0; k < table.chunks; ++k) {
      recompute[table.index(p, k)] = pipeline.chunks[static_cast<std::size_t>(k)]
                                         .keeping[static_cast<std::size_t>(p)]
                                         .remade();
    }
  }
  return time_steps(steps, table, recompute).seconds;
}

TEST(HeldWeights, ByHand) {
  const CostModel cost(unit_profile(2), {.stages = 2}, one_layer_each(2));
  const Pipeline pipeline = pipeline_of({1, 1, 1}, 1, cost);
  const InstructionLists none = one_f_one_b_held(pipeline, {1, 1, 1}, cost, 0);
  EXPECT_EQ(text(none[0]), "F0.0 F0.1 I0.0 W0.0 F0.2 I0.1 W0.1 I0.2 W0.2");
  EXPECT_EQ(text(none[1]), "F0.0 I0.0 W0.0 F0.1 I0.1 W0.1 F0.2 I0.2 W0.2");
  // Stage 0 waits from 6 to 7 for the gradient of chunk 2: there goes W0.
  const InstructionLists any = one_f_one_b_held(pipeline, {1, 1, 1}, cost, -1);
  EXPECT_EQ(text(any[0]), "F0.0 F0.1 I0.0 F0.2 I0.1 W0.0 I0.2 W0.1 W0.2");
  EXPECT_EQ(text(any[1]), "F0.0 I0.0 F0.1 I0.1 F0.2 I0.2 W0.0 W0.1 W0.2");
  EXPECT_DOUBLE_EQ(seconds_of(pipeline, {1, 1, 1}, cost, any), 10.0);
  EXPECT_DOUBLE_EQ(seconds_of(pipeline, {1, 1, 1}, cost, none), 11.0);
}

TEST(HeldWeights, NothingHeldIs1F1BWithSplitBackwards) {
  Random random(4);
  for (int round = 0; round < 100; ++round) {
    const int stages = static_cast<int>(random.between(1, 5));
    const CostModel cost(unit_profile(stages), {.stages = stages}, one_layer_each(stages));
    std::vector<Tokens> lengths(static_cast<std::size_t>(random.between(1, 12)));
    for (Tokens& n : lengths) n = random.between(1, 40);
    const Pipeline pipeline = pipeline_of(lengths, random.between(1, 20), cost);
    const InstructionLists order = one_f_one_b({pipeline}, stages);
    const InstructionLists lists = one_f_one_b_held(pipeline, lengths, cost, 0);
    for (std::size_t p = 0; p < lists.size(); ++p) {
      std::vector<Instruction> expected;
      for (const Instruction& i : order[p]) {
        if (i.op == Op::kForward) {
          expected.push_back(i);
          continue;
        }
        expected.push_back({Op::kInputGrad, i.pipeline, i.chunk});
        expected.push_back({Op::kWeightGrad, i.pipeline, i.chunk});
      }
      ASSERT_EQ(text(lists[p]), text(expected));
    }
    // Gradients go on before the weights' are made.
    EXPECT_LE(seconds_of(pipeline, lengths, cost, lists),
              seconds_of(pipeline, lengths, cost, order) * (1.0 + 1e-9));
  }
}

TEST(HeldWeights, KeepsTheOrderHoldsNoMoreThanToldAndIsProven) {
  Random random(5);
  for (int round = 0; round < 300; ++round) {
    const int stages = static_cast<int>(random.between(1, 5));
    Profile profile = unit_profile(stages);
    profile.forward.seconds_per_token2 = 0.1 * random.uniform();
    profile.backward.seconds_per_token2 = 0.3 * random.uniform();
    profile.links.p2p_seconds = random.uniform();
    const CostModel cost(profile, {.stages = stages}, one_layer_each(stages));
    std::vector<Tokens> lengths(static_cast<std::size_t>(random.between(1, 12)));
    for (Tokens& n : lengths) n = random.between(1, 40);
    const Pipeline pipeline =
        pipeline_of(lengths, random.between(1, 20), cost, static_cast<int>(random.between(0, 1)));
    const int held = static_cast<int>(random.between(-1, 4));
    const InstructionLists lists = one_f_one_b_held(pipeline, lengths, cost, held);
    const Plan plan = plan_of(pipeline, lengths, cost, lists);
    const auto fault = validate(plan);
    ASSERT_FALSE(fault) << fault->message;
    const InstructionLists order = one_f_one_b({pipeline}, stages);
    for (std::size_t p = 0; p < lists.size(); ++p) {
      std::vector<Instruction> chain;
      int waiting = 0;
      for (const Instruction& i : lists[p]) {
        if (i.op == Op::kWeightGrad) {
          --waiting;
          continue;
        }
        // Before anything else runs, no more than `held` may be left.
        EXPECT_TRUE(held < 0 || waiting <= held);
        waiting += i.op == Op::kInputGrad ? 1 : 0;
        chain.push_back({i.op == Op::kInputGrad ? Op::kBackward : i.op, i.pipeline, i.chunk});
      }
      EXPECT_EQ(waiting, 0);
      ASSERT_EQ(text(chain), text(order[p]));
    }
  }
}

// All ways to place the weight gradients among a stage's F and I, every stage by itself.
void all_placements(const std::vector<Instruction>& chain, std::size_t at,
                    std::vector<Instruction>& waiting, std::vector<Instruction>& list,
                    std::vector<std::vector<Instruction>>& found) {
  if (at == chain.size() && waiting.empty()) {
    found.push_back(list);
    return;
  }
  if (!waiting.empty()) {
    const Instruction weight = waiting.front();
    waiting.erase(waiting.begin());
    list.push_back(weight);
    all_placements(chain, at, waiting, list, found);
    list.pop_back();
    waiting.insert(waiting.begin(), weight);
  }
  if (at == chain.size()) return;
  list.push_back(chain[at]);
  if (chain[at].op == Op::kInputGrad) {
    waiting.push_back({Op::kWeightGrad, chain[at].pipeline, chain[at].chunk});
    all_placements(chain, at + 1, waiting, list, found);
    waiting.pop_back();
  } else {
    all_placements(chain, at + 1, waiting, list, found);
  }
  list.pop_back();
}

TEST(HeldWeights, NearTheBestOfAllPlacements) {
  Random random(6);
  double worst = 1.0;
  double sum = 0.0;
  constexpr int kRounds = 40;
  for (int round = 0; round < kRounds; ++round) {
    Profile profile = unit_profile(2);
    profile.forward.seconds_per_token2 = 0.05 * random.uniform();
    profile.backward.seconds_per_token2 = 0.15 * random.uniform();
    profile.links.p2p_seconds = 2.0 * random.uniform();
    const CostModel cost(profile, {.stages = 2}, one_layer_each(2));
    std::vector<Tokens> lengths(static_cast<std::size_t>(random.between(2, 3)));
    for (Tokens& n : lengths) n = random.between(1, 12);
    const Pipeline pipeline = pipeline_of(lengths, 8, cost);
    if (pipeline.chunks.size() > 4) continue;
    Seconds best = 1e30;
    std::vector<std::vector<std::vector<Instruction>>> placements;
    const InstructionLists order = one_f_one_b_held(pipeline, lengths, cost, 0);
    for (const auto& list : order) {
      std::vector<Instruction> chain;
      for (const Instruction& i : list) {
        if (i.op != Op::kWeightGrad) chain.push_back(i);
      }
      std::vector<Instruction> waiting;
      std::vector<Instruction> built;
      placements.emplace_back();
      all_placements(chain, 0, waiting, built, placements.back());
    }
    for (const auto& first : placements[0]) {
      for (const auto& second : placements[1]) {
        best = std::min(best, seconds_of(pipeline, lengths, cost, {first, second}));
      }
    }
    Seconds ours = 1e30;
    for (const int held : {0, 1, 2, 4, -1}) {
      ours = std::min(ours, seconds_of(pipeline, lengths, cost,
                                       one_f_one_b_held(pipeline, lengths, cost, held)));
    }
    ASSERT_GE(ours, best * (1.0 - 1e-9));
    worst = std::max(worst, ours / best);
    sum += ours / best / kRounds;
  }
  EXPECT_LE(worst, 1.08);
  EXPECT_LE(sum, 1.005);
}

}  // namespace
}  // namespace infinipipe
