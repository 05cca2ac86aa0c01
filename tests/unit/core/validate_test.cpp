#include "infinipipe/core/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <limits>
#include <set>

#include "base/random.h"
#include "infinipipe/base/error.h"
#include "support/keeping.h"
#include "unit/core/test_plans.h"

namespace infinipipe {
namespace {

using testing::BackwardStyle;
using testing::make_plan;
using testing::PlanShape;

std::string problem_of(const Plan& plan) {
  const auto problem = validate(plan);
  return problem ? std::string(to_string(problem->fault)) + ": " + problem->message : "valid";
}

TEST(Validate, AcceptsEveryShapeOfGoodPlan) {
  int plans = 0;
  for (const int stages : {1, 2, 4}) {
    for (const int replicas : {1, 2}) {
      for (const int pipelines : {1, 2, 3}) {
        for (const int slices : {1, 2, 5}) {
          for (const bool interleaved : {false, true}) {
            for (const auto style : {BackwardStyle::kWhole, BackwardStyle::kSplit,
                                     BackwardStyle::kDelayed, BackwardStyle::kNone}) {
              const Plan plan =
                  make_plan({stages, 2, replicas, pipelines, slices, 3, interleaved, style});
              EXPECT_EQ(problem_of(plan), "valid")
                  << stages << " stages, " << replicas << " replicas, " << pipelines
                  << " pipelines, K " << slices << ", interleaved " << interleaved;
              EXPECT_EQ(plan.forward_only(), style == BackwardStyle::kNone);
              ++plans;
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(plans, 3 * 2 * 3 * 3 * 2 * 4);
}

// Chunk 3, of one sequence, in sub-groups of 2 of 8 ranks.
Plan grouped_plan() {
  Plan plan = make_plan({.shorts = 5});
  plan.parallelism.sequence_parallel = 8;
  Chunk& chunk = plan.replicas[0].pipelines[0].chunks[3];
  chunk.degree = 2;
  chunk.groups = {0, 1, 0, 0};
  return plan;
}

TEST(Validate, AcceptsSubGroupsOfWholeSequences) {
  Plan plan = grouped_plan();
  EXPECT_EQ(problem_of(plan), "valid");
  EXPECT_TRUE(plan.in_sub_groups());
  EXPECT_FALSE(make_plan().in_sub_groups());
  Chunk& chunk = plan.replicas[0].pipelines[0].chunks[3];
  chunk.degree = 1;
  chunk.groups = {0, 0, 0, 0, 0, 0, 0, 1};
  EXPECT_EQ(problem_of(plan), "valid");
  plan.parallelism.sequence_parallel = 6;
  chunk.degree = 3;
  chunk.groups = {1, 0};
  EXPECT_EQ(problem_of(plan), "valid");
}

TEST(Validate, NamesWhatIsWrongWithSubGroups) {
  const auto problem = [](int degree, std::vector<int> groups, std::size_t number = 3) {
    Plan plan = grouped_plan();
    Chunk& chunk = plan.replicas[0].pipelines[0].chunks[number];
    chunk.degree = degree;
    chunk.groups = std::move(groups);
    return problem_of(plan);
  };
  const std::string at = "degree: replica 0, pipeline 0, chunk ";
  EXPECT_EQ(problem(0, {1}),
            at + "3: 1 sub-groups without a degree, expected a degree with them, or none of both");
  EXPECT_EQ(problem(8, {1}), at + "3: degree 8, expected none: it is the whole group's");
  for (const int degree : {3, 16, -2}) {
    EXPECT_EQ(problem(degree, {1}), at + "3: degree " + std::to_string(degree) +
                                        ", expected a divisor of the group's 8 ranks");
  }
  EXPECT_EQ(problem(4, {1, 0}, 1),
            at + "1: degree 4 of a split chunk, expected the whole group, as it has a slice of a "
                 "cut sequence");
  EXPECT_EQ(problem(4, {1, 1}, 2),
            at + "2: degree 4 of a hybrid chunk, expected the whole group, as it has a slice of a "
                 "cut sequence");
  EXPECT_EQ(problem(2, {1, 0}),
            at + "3: 2 sub-groups of degree 2, expected 4 of the group's 8 ranks");
  EXPECT_EQ(problem(2, {}), at + "3: 0 sub-groups of degree 2, expected 4 of the group's 8 ranks");
  EXPECT_EQ(problem(4, {2, -1}), at + "3: a sub-group of -1 slices, expected at least 0");
  EXPECT_EQ(problem(4, {1, 1}), at + "3: sub-groups of 2 slices in all, expected the chunk's 1");
  constexpr int kMost = std::numeric_limits<int>::max();
  EXPECT_EQ(problem(4, {kMost, kMost}),
            at + "3: sub-groups of 4294967294 slices in all, expected the chunk's 1");
  // A part of a sequence is found before its sub-groups are looked at.
  Plan plan = grouped_plan();
  plan.replicas[0].pipelines[0].chunks[0].kind = ChunkKind::kBatched;
  plan.replicas[0].pipelines[0].chunks[0].degree = 4;
  plan.replicas[0].pipelines[0].chunks[0].groups = {1, 0};
  EXPECT_EQ(problem_of(plan),
            "kind: replica 0, pipeline 0, chunk 0: batched with a part of "
            "sequence 0, expected whole sequences");
  // A group of one rank has no sub-groups.
  plan = grouped_plan();
  plan.parallelism.sequence_parallel = 1;
  plan.replicas[0].pipelines[0].chunks[3].degree = 1;
  EXPECT_EQ(problem_of(plan), at + "3: degree 1, expected none: it is the whole group's");
}

TEST(Validate, AcceptsABatchOfNothing) {
  EXPECT_EQ(problem_of(make_plan({.pipelines = 0})), "valid");
  EXPECT_EQ(problem_of(make_plan({.replicas = 3, .pipelines = 0})), "valid");
}

TEST(Validate, AcceptsStagesThatSplitTheBackwardDifferently) {
  Plan plan = make_plan();
  auto& list = plan.replicas[0].instructions[1];
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].op != Op::kBackward) continue;
    list[i].op = Op::kInputGrad;
    list.insert(list.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                {Op::kWeightGrad, list[i].pipeline, list[i].chunk});
  }
  EXPECT_EQ(problem_of(plan), "valid");
}

// One way to break make_plan()'s plan (2 stages of 2 layers, 2 pipelines: chunks 0-2 the slices of
// a sequence of 300 tokens, chunk 2 with a short one, chunks 3 and 4 a short one each).
struct Breakage {
  const char* name;
  PlanFault fault;
  std::function<void(Plan&)> apply;
  const char* message;  // part of it
};

std::vector<Instruction>& list(Plan& plan, std::size_t stage) {
  return plan.replicas[0].instructions[stage];
}
Pipeline& pipeline(Plan& plan, std::size_t number = 0) {
  return plan.replicas[0].pipelines[number];
}
Chunk& chunk(Plan& plan, std::size_t number) { return pipeline(plan).chunks[number]; }

std::size_t position(const Plan& plan, std::size_t stage, const std::string& name) {
  const auto& instructions = plan.replicas[0].instructions[stage];
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    if (to_string(instructions[i]) == name) return i;
  }
  ADD_FAILURE() << name << " is not in the plan";
  return 0;
}
void swap_on(Plan& plan, std::size_t stage, const std::string& a, const std::string& b) {
  std::swap(list(plan, stage)[position(plan, stage, a)],
            list(plan, stage)[position(plan, stage, b)]);
}
void erase_on(Plan& plan, std::size_t stage, const std::string& name) {
  list(plan, stage)
      .erase(list(plan, stage).begin() + static_cast<std::ptrdiff_t>(position(plan, stage, name)));
}
Instruction op(Op what, int pipeline_number, int chunk_number) {
  return {what, PipelineId(pipeline_number), ChunkId(chunk_number)};
}

const std::vector<Breakage>& breakages() {
  using enum PlanFault;
  static const std::vector<Breakage> kBreakages = {
      {"no stages", kShape, [](Plan& p) { p.stages.clear(); }, "stages: none"},
      {"parallelism of other stages", kShape, [](Plan& p) { p.parallelism.stages = 3; },
       "stages: 2 stages, expected parallelism.stages = 3"},
      {"sequence parallel 0", kShape, [](Plan& p) { p.parallelism.sequence_parallel = 0; },
       "sequence_parallel: 0"},
      {"sequence parallel 5000", kShape, [](Plan& p) { p.parallelism.sequence_parallel = 5000; },
       "sequence_parallel: 5000, expected 1 to 4096"},
      {"replica missing", kShape, [](Plan& p) { p.parallelism.data_parallel = 2; },
       "replicas: 1 replicas, expected parallelism.data_parallel = 2"},
      {"negative data parallel", kShape, [](Plan& p) { p.parallelism.data_parallel = -1; },
       "replicas"},
      {"list missing", kShape, [](Plan& p) { p.replicas[0].instructions.pop_back(); },
       "replica 0: 1 instruction lists, expected one per stage (2)"},
      {"list too many", kShape, [](Plan& p) { p.replicas[0].instructions.emplace_back(); },
       "3 instruction lists"},
      {"recompute of another stage count", kShape, [](Plan& p) { chunk(p, 1).keeping.pop_back(); },
       "chunk 1: 1 recompute counts"},
      {"chunk without slices", kShape, [](Plan& p) { chunk(p, 3).slices.clear(); },
       "chunk 3: no slices"},

      {"layers begin late", kLayers, [](Plan& p) { p.stages[0].begin = 1; },
       "stage 0: layers [1, 2), expected to begin at layer 0"},
      {"layers with a hole", kLayers, [](Plan& p) { p.stages[1].begin = 3; }, "stage 1: layers [3"},
      {"layers overlap", kLayers, [](Plan& p) { p.stages[1].begin = 1; }, "begin at layer 2"},
      {"stage without layers", kLayers, [](Plan& p) { p.stages[1].end = 2; }, "at least one layer"},
      {"layers run back", kLayers, [](Plan& p) { p.stages[1].end = -5; }, "layers [2, -5)"},

      {"unknown sequence", kSlice, [](Plan& p) { chunk(p, 3).slices[0].sequence = SequenceId(99); },
       "chunk 3: a slice of sequence 99, expected one of the batch's 8 sequences"},
      {"negative sequence", kSlice,
       [](Plan& p) { chunk(p, 3).slices[0].sequence = SequenceId(-1); }, "sequence -1"},
      {"empty slice", kSlice, [](Plan& p) { chunk(p, 0).slices[0].end = 0; }, "tokens [0, 0)"},
      {"slice past the end", kSlice, [](Plan& p) { chunk(p, 2).slices[0].end = 301; },
       "tokens [200, 301) of sequence 0, expected a part of [0, 300)"},
      {"negative begin", kSlice, [](Plan& p) { chunk(p, 0).slices[0].begin = -1; }, "tokens [-1"},

      {"hole in the middle", kCoverage, [](Plan& p) { chunk(p, 1).slices[0].begin = 101; },
       "sequence 0: tokens [100, 101) in no slice"},
      {"overlap", kCoverage, [](Plan& p) { chunk(p, 1).slices[0].begin = 99; },
       "tokens [99, 100) in two slices (replica 0, pipeline 0, chunk 0 and replica 0, pipeline 0, "
       "chunk 1)"},
      {"end missing", kCoverage, [](Plan& p) { chunk(p, 2).slices[0].end = 299; },
       "tokens [299, 300) in no slice"},
      {"sequence in no chunk", kCoverage, [](Plan& p) { p.sequences.push_back(7); },
       "sequence 8: tokens [0, 7) in no slice"},
      {"sequence twice", kCoverage, [](Plan& p) { chunk(p, 4).slices = chunk(p, 3).slices; },
       "in two slices"},

      {"split of two", kKind, [](Plan& p) { chunk(p, 2).kind = ChunkKind::kSplit; },
       "chunk 2: split with 2 slices, expected one"},
      {"split of a whole sequence", kKind, [](Plan& p) { chunk(p, 3).kind = ChunkKind::kSplit; },
       "split with the whole of sequence 2"},
      {"hybrid alone", kKind, [](Plan& p) { chunk(p, 1).kind = ChunkKind::kHybrid; },
       "hybrid with one slice"},
      {"hybrid of a middle slice", kKind,
       [](Plan& p) {
         chunk(p, 1).kind = ChunkKind::kHybrid;
         chunk(p, 1).slices.push_back(chunk(p, 2).slices[1]);
         chunk(p, 2).kind = ChunkKind::kSplit;
         chunk(p, 2).slices.pop_back();
       },
       "hybrid with a middle slice of sequence 0, expected its last slice"},
      {"hybrid with the cut one last", kKind,
       [](Plan& p) { std::swap(chunk(p, 2).slices[0], chunk(p, 2).slices[1]); },
       "hybrid with the whole of sequence 1"},
      {"batched with a part", kKind, [](Plan& p) { chunk(p, 0).kind = ChunkKind::kBatched; },
       "batched with a part of sequence 0, expected whole sequences"},
      {"two tails in a chunk", kKind,
       [](Plan& p) {
         Pipeline& other = pipeline(p, 1);
         const Slice tail = other.chunks[2].slices[0];
         other.chunks[2].slices.erase(other.chunks[2].slices.begin());
         other.chunks[2].kind = ChunkKind::kBatched;
         chunk(p, 2).slices.push_back(tail);
         other.chunks[0].slices = {chunk(p, 3).slices[0]};
         other.chunks[0].kind = ChunkKind::kBatched;
         chunk(p, 3).slices = {{tail.sequence, 0, 100}};
         chunk(p, 3).kind = ChunkKind::kSplit;
         other.chunks[1].slices = {chunk(p, 4).slices[0]};
         other.chunks[1].kind = ChunkKind::kBatched;
         chunk(p, 4).slices = {{tail.sequence, 100, 200}};
         chunk(p, 4).kind = ChunkKind::kSplit;
       },
       "hybrid with a part of sequence 4"},

      {"slices in two pipelines", kSequenceScattered,
       [](Plan& p) { std::swap(chunk(p, 0).slices, pipeline(p, 1).chunks[0].slices); },
       "sequence 0: slices in replica 0, pipeline 1, chunk 0 and in replica 0, pipeline 0, chunk "
       "1"},

      {"sub-groups of a group of one rank", kDegree,
       [](Plan& p) {
         chunk(p, 3).degree = 1;
         chunk(p, 3).groups = {1};
       },
       "chunk 3: degree 1, expected none: it is the whole group's"},

      {"recompute too many", kRecompute,
       [](Plan& p) { chunk(p, 1).keeping[1] = testing::inputs(3); },
       "chunk 1: stage 1 recomputes 3 layers, expected 0 to 2"},
      {"recompute negative", kRecompute,
       [](Plan& p) { chunk(p, 1).keeping[0] = testing::inputs(-1); }, "recomputes -1 layers"},
      {"attention of too many", kRecompute,
       [](Plan& p) {
         chunk(p, 1).keeping = {testing::again(1, 1), testing::again(1, 2)};
       },
       "chunk 1: stage 1 has attention_kept 2 of 1 recomputed layers, expected 0 to 1"},

      {"chunk out of range", kUnknownChunk, [](Plan& p) { list(p, 1)[0].chunk = ChunkId(5); },
       "replica 0, stage 1: F0.5, expected a chunk of the replica's pipelines"},
      {"pipeline out of range", kUnknownChunk,
       [](Plan& p) { list(p, 1)[0].pipeline = PipelineId(2); }, "F2.0"},
      {"negative chunk", kUnknownChunk, [](Plan& p) { list(p, 1)[0].chunk = ChunkId(-1); },
       "F0.-1"},

      {"forward missing", kMissingInstruction, [](Plan& p) { erase_on(p, 0, "F0.3"); },
       "replica 0, stage 0: no F0.3"},
      {"backward missing", kMissingInstruction, [](Plan& p) { erase_on(p, 1, "B1.4"); },
       "stage 1: no B1.4, expected it once, or I and W"},
      {"stage does nothing", kMissingInstruction, [](Plan& p) { list(p, 1).clear(); },
       "stage 1: no F0.0"},
      {"evaluation on one stage alone", kMissingInstruction,
       [](Plan& p) {
         std::erase_if(list(p, 0), [](const Instruction& i) { return i.op != Op::kForward; });
       },
       "stage 0: no B0.0"},

      {"forward twice", kDuplicateInstruction,
       [](Plan& p) { list(p, 0).push_back(op(Op::kForward, 0, 1)); },
       "stage 0: F0.1 twice, expected it once"},
      {"backward twice", kDuplicateInstruction,
       [](Plan& p) { list(p, 1).push_back(op(Op::kBackward, 1, 0)); }, "B1.0 twice"},

      {"B and I", kMixedBackward, [](Plan& p) { list(p, 0).push_back(op(Op::kInputGrad, 0, 1)); },
       "stage 0: B0.1 and I0.1, expected either B, or I and W"},
      {"B and W", kMixedBackward, [](Plan& p) { list(p, 0).push_back(op(Op::kWeightGrad, 0, 1)); },
       "B0.1 and W0.1"},
      {"I without W", kMixedBackward,
       [](Plan& p) { list(p, 0)[position(p, 0, "B0.1")].op = Op::kInputGrad; },
       "I0.1 without W0.1"},
      {"W without I", kMixedBackward,
       [](Plan& p) { list(p, 0)[position(p, 0, "B0.1")].op = Op::kWeightGrad; },
       "W0.1 without I0.1"},

      {"slices in the wrong chunks", kForwardOrder,
       [](Plan& p) { std::swap(chunk(p, 0).slices, chunk(p, 1).slices); },
       "tokens from 100 of sequence 0 before its tokens from 0 in chunk 1"},
      {"forwards swapped on a stage", kForwardOrder, [](Plan& p) { swap_on(p, 1, "F0.1", "F0.2"); },
       "stage 1: F0.2, expected F0.1 (chunk order)"},

      {"backward too short", kBackwardOrder, [](Plan& p) { pipeline(p).backward.pop_back(); },
       "pipeline 0, backward: 4 chunks, expected each of the 5 chunks once"},
      {"backward absent", kBackwardOrder, [](Plan& p) { pipeline(p).backward.clear(); },
       "0 chunks"},
      {"backward names a chunk twice", kBackwardOrder, [](Plan& p) { pipeline(p).backward[4] = 3; },
       "chunk 3 at position 4"},
      {"backward out of range", kBackwardOrder, [](Plan& p) { pipeline(p).backward[4] = 5; },
       "chunk 5 at position 4"},
      {"backward negative", kBackwardOrder, [](Plan& p) { pipeline(p).backward[4] = -1; },
       "chunk -1"},
      {"backward in slice order", kBackwardOrder,
       [](Plan& p) { std::swap(pipeline(p).backward[0], pipeline(p).backward[2]); },
       "chunk 0 before chunk 1, expected the later slice of sequence 0 first"},
      {"stages do otherwise than backward", kBackwardOrder,
       [](Plan& p) { std::swap(pipeline(p).backward[3], pipeline(p).backward[4]); },
       "stage 0: B0.3, expected B0.4 (the pipeline's backward order)"},
      {"backwards swapped on a stage", kBackwardOrder,
       [](Plan& p) { swap_on(p, 0, "B0.2", "B0.1"); }, "stage 0: B0.1, expected B0.2"},
      {"backward before its forward", kBackwardOrder,
       [](Plan& p) { swap_on(p, 1, "B0.2", "F0.2"); }, "stage 1: B0.2 before F0.2"},
      {"W before its I", kBackwardOrder,
       [](Plan& p) {
         p = make_plan({.style = BackwardStyle::kSplit});
         swap_on(p, 1, "I0.2", "W0.2");
       },
       "stage 1: W0.2 before I0.2, expected it after"},

      {"pipelines in another order on one stage", kChannelOrder,
       [](Plan& p) {
         p = make_plan({.pipelines = 2, .slices = 1, .shorts = 0, .style = BackwardStyle::kNone});
         std::swap(list(p, 1)[0], list(p, 1)[1]);
       },
       "replica 0, stage 1: F1.0 where stage 0 sends F0.0, expected both in one order"},
      {"pipelines' backwards in another order", kChannelOrder,
       [](Plan& p) {
         p = make_plan({.pipelines = 2, .slices = 1, .shorts = 0});
         for (const std::size_t stage : {0, 1}) {
           const int first = stage == 0 ? 1 : 0;
           list(p, stage) = {op(Op::kForward, 0, 0), op(Op::kForward, 1, 0),
                             op(Op::kBackward, first, 0), op(Op::kBackward, 1 - first, 0)};
         }
       },
       "stage 0: B1.0 where stage 1 sends B0.0"},

      {"backward awaited before its forward was sent", kDeadlock,
       [](Plan& p) {
         // Stage 0 wants pipeline 0's gradient before it sends the forward that stage 1 runs first.
         p = make_plan({.pipelines = 2, .slices = 1, .shorts = 0});
         list(p, 0) = {op(Op::kForward, 0, 0), op(Op::kBackward, 0, 0), op(Op::kForward, 1, 0),
                       op(Op::kBackward, 1, 0)};
         list(p, 1) = {op(Op::kForward, 0, 0), op(Op::kForward, 1, 0), op(Op::kBackward, 0, 0),
                       op(Op::kBackward, 1, 0)};
       },
       "replica 0: stage 0 waits at B0.0 for stage 1; stage 1 waits at F1.0 for stage 0, expected "
       "every stage to reach its end"},
      {"warm-up too short for the slices", kDeadlock,
       [](Plan& p) {
         // Chunk 2's backward is first in order, but stage 0 waits for it after two forwards.
         p = make_plan({.pipelines = 1, .slices = 2, .shorts = 2});
         p.replicas[0].instructions[0] = {op(Op::kForward, 0, 0),  op(Op::kForward, 0, 1),
                                          op(Op::kBackward, 0, 1), op(Op::kBackward, 0, 0),
                                          op(Op::kForward, 0, 2),  op(Op::kBackward, 0, 2)};
         p.replicas[0].instructions[1] = {op(Op::kForward, 0, 0),  op(Op::kForward, 0, 1),
                                          op(Op::kForward, 0, 2),  op(Op::kBackward, 0, 1),
                                          op(Op::kBackward, 0, 0), op(Op::kBackward, 0, 2)};
       },
       "stage 0 waits at B0.1 for stage 1; stage 1 waits at F0.2 for stage 0"},
  };
  return kBreakages;
}

TEST(Validate, NamesEveryFault) {
  ASSERT_EQ(problem_of(make_plan()), "valid");
  std::set<PlanFault> found;
  for (const Breakage& breakage : breakages()) {
    Plan plan = make_plan();
    breakage.apply(plan);
    const auto problem = validate(plan);
    ASSERT_TRUE(problem.has_value()) << breakage.name;
    EXPECT_STREQ(to_string(problem->fault), to_string(breakage.fault))
        << breakage.name << ": " << problem->message;
    EXPECT_THAT(problem->message, ::testing::HasSubstr(breakage.message)) << breakage.name;
    EXPECT_EQ(problem->message.find('\n'), std::string::npos);
    found.insert(problem->fault);
  }
  EXPECT_EQ(found.size(), static_cast<std::size_t>(PlanFault::kDeadlock) + 1)
      << "a fault that no breakage shows";
}

TEST(Validate, LooksAtEveryReplica) {
  for (const Breakage& breakage : breakages()) {
    Plan plan = make_plan();
    breakage.apply(plan);
    if (breakage.fault == PlanFault::kShape || plan.replicas.size() != 1 ||
        plan.sequences.size() != 8 || plan.stages.size() != 2) {
      continue;  // about the whole plan, or of its own plan
    }
    // The broken replica second, a good one of other sequences first.
    Plan both = make_plan({.replicas = 2});
    both.stages = plan.stages;
    both.replicas[1] = plan.replicas[0];
    for (Pipeline& p : both.replicas[1].pipelines) {
      for (Chunk& c : p.chunks) {
        for (Slice& s : c.slices) s.sequence = SequenceId(s.sequence.value() + 8);
      }
    }
    const auto problem = validate(both);
    ASSERT_TRUE(problem.has_value()) << breakage.name;
    if (breakage.fault != PlanFault::kSlice) {  // sequence -1 becomes 7
      EXPECT_STREQ(to_string(problem->fault), to_string(breakage.fault)) << breakage.name;
    }
  }
}

TEST(Validate, RequireValidThrowsARunError) {
  EXPECT_NO_THROW(require_valid(make_plan()));
  Plan plan = make_plan();
  plan.stages[0].begin = 1;
  try {
    require_valid(plan, "broken.json");
    FAIL() << "accepted";
  } catch (const RunError& error) {
    EXPECT_STREQ(error.what(),
                 "broken.json: layers: stage 0: layers [1, 2), expected to begin at layer 0");
  }
}

// Runs a replica's lists naively, with messages that carry their chunk; true if all ends well.
bool runs(const Replica& replica) {
  const std::size_t stages = replica.instructions.size();
  using Message = std::pair<int, int>;
  std::vector<std::deque<Message>> down(stages);
  std::vector<std::deque<Message>> up(stages);
  std::vector<std::set<Message>> forwarded(stages);
  std::vector<std::size_t> next(stages, 0);
  for (bool progress = true; progress;) {
    progress = false;
    for (std::size_t p = 0; p < stages; ++p) {
      if (next[p] == replica.instructions[p].size()) continue;
      const Instruction& i = replica.instructions[p][next[p]];
      const Message message{i.pipeline.value(), i.chunk.value()};
      const bool forward = i.op == Op::kForward;
      auto* inbox = forward ? (p > 0 ? &down[p] : nullptr) : (p + 1 < stages ? &up[p] : nullptr);
      if (i.op == Op::kWeightGrad) inbox = nullptr;
      if (inbox != nullptr) {
        if (inbox->empty()) continue;
        if (inbox->front() != message) return false;
        inbox->pop_front();
      }
      if (!forward && !forwarded[p].contains(message)) return false;
      if (forward) {
        // Its sequence's earlier slices have left their keys and values on this stage.
        const Chunk& chunk = replica.chunk(i);
        for (int c = 0; c < static_cast<int>(replica.pipelines[i.pipeline.index()].chunks.size());
             ++c) {
          const Chunk& other = replica.pipelines[i.pipeline.index()].chunks[std::size_t(c)];
          if (other.slices[0].sequence == chunk.slices[0].sequence &&
              other.slices[0].begin < chunk.slices[0].begin &&
              !forwarded[p].contains({message.first, c})) {
            return false;
          }
        }
        forwarded[p].insert(message);
        if (p + 1 < stages) down[p + 1].push_back(message);
      } else if (i.op != Op::kWeightGrad && p > 0) {
        up[p - 1].push_back(message);
      }
      ++next[p];
      progress = true;
    }
  }
  for (std::size_t p = 0; p < stages; ++p) {
    if (next[p] != replica.instructions[p].size()) return false;
  }
  return true;
}

TEST(Validate, WhatItAcceptsRuns) {
  Random random(7);
  int accepted = 0;
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    const PlanShape shape{.stages = static_cast<int>(random.between(1, 3)),
                          .pipelines = static_cast<int>(random.between(1, 3)),
                          .slices = static_cast<int>(random.between(1, 2)),
                          .shorts = static_cast<int>(random.between(0, 2)),
                          .interleaved = random.between(0, 1) == 1,
                          .style = static_cast<BackwardStyle>(random.between(0, 3))};
    Plan plan = make_plan(shape);
    for (std::int64_t moves = random.between(1, 3); moves > 0; --moves) {
      // Take one instruction out and put it back elsewhere on the stage.
      auto& instructions =
          list(plan, static_cast<std::size_t>(random.between(0, shape.stages - 1)));
      const auto last = static_cast<std::int64_t>(instructions.size()) - 1;
      const auto from = instructions.begin() + random.between(0, last);
      const Instruction moved = *from;
      instructions.erase(from);
      instructions.insert(instructions.begin() + random.between(0, last), moved);
    }
    if (validate(plan)) {
      ++refused;
    } else {
      ++accepted;
      ASSERT_TRUE(runs(plan.replicas[0]));
    }
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 1000);
}

TEST(Validate, GrowsWithThePlanOnly) {
  // Many stages and many pipelines without chunks: nothing may loop over their product.
  Plan plan = make_plan({.stages = 1000, .layers_per_stage = 1, .pipelines = 0});
  plan.replicas[0].pipelines.resize(2000000);
  EXPECT_EQ(problem_of(plan), "valid");
}

}  // namespace
}  // namespace infinipipe
