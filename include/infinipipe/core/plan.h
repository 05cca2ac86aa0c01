// A plan: everything that one training step does, as a plain value. Planners make it, validate()
// proves it, the simulator predicts it, the runtime executes it, reports show it.
// JSON form: infinipipe/core/plan_json.h. The method: docs/planner.md (arXiv 2509.21275 §4-§5).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "infinipipe/base/ids.h"
#include "infinipipe/base/units.h"
#include "infinipipe/core/keeping.h"
#include "infinipipe/core/passes.h"

namespace infinipipe {

// Tokens [begin, end) of one sequence; begin tokens of context precede it.
struct Slice {
  SequenceId sequence;
  Tokens begin = 0;
  Tokens end = 0;

  Tokens tokens() const { return end - begin; }
  bool operator==(const Slice&) const = default;
};

enum class ChunkKind {
  kSplit,    // one slice of a cut sequence
  kHybrid,   // the last slice of a cut sequence, then whole short sequences
  kBatched,  // whole sequences only
};

const char* to_string(ChunkKind kind);  // "split", "hybrid", "batched"

// The unit that is pipelined. Its tokens are its slices' tokens, one after the other; no slice
// attends to another of the same chunk.
struct Chunk {
  ChunkKind kind = ChunkKind::kBatched;
  std::vector<Slice> slices;     // of a split or hybrid chunk, slices[0] is the cut sequence's
  std::vector<Keeping> keeping;  // per stage: what its layers keep until the backward
  // Ranks of each sub-group that runs a part of a batched chunk by itself: a divisor of
  // sequence_parallel that is less than it. 0: the whole sequence-parallel group shares the chunk.
  int degree = 0;
  // With a degree: how many of the slices each sub-group has, one count for each of the
  // sequence_parallel / degree sub-groups, 0 allowed. The slices of a sub-group stand side by side,
  // in the order of sub-groups. Rank s is member s % degree of sub-group s / degree, and the
  // members share the sub-group's tokens as the ranks of a whole group share a chunk's.
  std::vector<int> groups{};

  const Keeping& kept_on(StageId stage) const { return keeping[stage.index()]; }
  Tokens context() const { return kind == ChunkKind::kBatched ? 0 : slices.at(0).begin; }
  Tokens tokens() const;
  bool operator==(const Chunk&) const = default;
};

// Chunks in forward order on every stage, and the order of their backwards.
struct Pipeline {
  int warmup_slices = 1;  // slices of its longest sequence (N_split)
  std::vector<Chunk> chunks;
  std::vector<int> backward;  // permutation of forward positions; empty in an evaluation plan

  bool operator==(const Pipeline&) const = default;
};

enum class Op {
  kForward,     // F
  kBackward,    // B: input and weight gradients
  kInputGrad,   // I
  kWeightGrad,  // W
};

char op_letter(Op op);

// B or I: it needs the chunk's gradient, recomputes what was not kept and makes the input gradient.
constexpr bool starts_backward(Op op) { return op == Op::kBackward || op == Op::kInputGrad; }
// B or W: with it the chunk's backward is done.
constexpr bool ends_backward(Op op) { return op == Op::kBackward || op == Op::kWeightGrad; }

struct Instruction {
  Op op = Op::kForward;
  PipelineId pipeline;
  ChunkId chunk;

  bool operator==(const Instruction&) const = default;
};

std::string to_string(const Instruction& instruction);  // "F0.3"

// One data-parallel replica's share of the batch.
struct Replica {
  std::vector<Pipeline> pipelines;
  // Per stage, in execution order, over all pipelines. Sends and receives follow from it:
  // a forward's output goes to the next stage, an input gradient to the one before.
  std::vector<std::vector<Instruction>> instructions;

  const Chunk& chunk(const Instruction& i) const {
    return pipelines[i.pipeline.index()].chunks[i.chunk.index()];
  }
  bool operator==(const Replica&) const = default;
};

struct LayerRange {
  int begin = 0;
  int end = 0;

  int count() const { return end - begin; }
  bool operator==(const LayerRange&) const = default;
};

struct Parallelism {
  int stages = 1;
  int sequence_parallel = 1;
  int data_parallel = 1;

  bool operator==(const Parallelism&) const = default;
};

std::string to_string(const Parallelism& parallelism);  // "4 x 8 x 1", in the order above

struct SolverReport {
  std::string status = "none";
  double gap = 0.0;  // (objective - bound) / objective
  Seconds seconds = 0.0;
};

// A plan that was considered and how it simulated.
struct Candidate {
  std::string schedule;  // a name of planner/schedules/schedules.h
  int slices = 0;
  Tokens chunk_tokens = 0;
  int pipelines = 0;
  int chunks = 0;
  Seconds seconds = 0.0;
  std::string note;  // why it lost or won, one phrase
};

// Of the planner's table of schedules: what a plan that names none runs.
inline constexpr const char* kDefaultSchedule = "1f1b";

struct PlannerReport {
  std::string name;
  int slices = 1;  // K
  std::string schedule = kDefaultSchedule;
  Seconds seconds = 0.0;  // wall time of planning
  SolverReport solver;
  double chunk_spread = 0.0;          // slowest chunk / mean chunk - 1, without recomputation
  std::string spread_cause;           // why it is above 5%, one phrase; else empty
  std::vector<Candidate> candidates;  // the winner first
  std::vector<PassReport> passes;     // of the elastic planner, in the order in which they ran
};

struct StagePrediction {
  Seconds compute = 0.0;  // without recomputation
  Seconds recompute = 0.0;
  Seconds wait = 0.0;
  Bytes peak_bytes = 0.0;
};

// The idle share of one replica's stages while its instructions run: 1 - (compute + recompute of
// all stages) / (stages x seconds); 0 where nothing runs. This is what "bubble" means everywhere.
// Of a plan or a step with several replicas it is the slowest one's, as the stages that predictions
// show are; what a step takes outside its instructions is not part of `seconds`.
double bubble(const std::vector<StagePrediction>& stages, Seconds seconds);

struct Prediction {
  Seconds seconds = 0.0;  // first forward's start to last instruction's end
  Seconds lower_bound = 0.0;
  double bubble = 0.0;  // infinipipe::bubble() of the two
  Seconds step_overhead = 0.0;
  std::vector<StagePrediction> stages;  // of the slowest replica
};

struct Plan {
  PlannerReport planner;
  int step = 0;
  std::vector<Tokens> sequences;  // length of each sequence of the batch
  // The model's sliding_window, by which attention's work was counted; 0: none, or one that hides
  // nothing of these sequences.
  Tokens sliding_window = 0;
  Parallelism parallelism;
  std::vector<LayerRange> stages;  // contiguous from 0
  std::vector<Replica> replicas;
  std::optional<Prediction> predicted;
  Bytes bytes_per_stage = 0.0;  // memory limit; 0 = none
  std::string profile_hash;     // empty: none used
  // Each stage's pace when the plan was made: the time that it took over the time that the profile
  // says (1.1: a tenth longer). `predicted` counts with it. Empty: every stage as the profile says.
  std::vector<double> stage_pace;

  int stage_count() const { return static_cast<int>(stages.size()); }
  int layer_count() const { return stages.empty() ? 0 : stages.back().end; }
  Tokens total_tokens() const;
  // More than one slice of this sequence stands in the plan. Whole-plan scan: keep the result.
  std::vector<bool> cut_sequences() const;
  // No instruction but forwards.
  bool forward_only() const;
  // Some chunk runs in sub-groups (Chunk::degree).
  bool in_sub_groups() const;
  // Layers that run again, summed over all chunks and stages: all of them, and by what they keep.
  struct Recomputed {
    std::int64_t layers = 0;
    ByRemadeLevel<std::int64_t> by_level{};
  };
  Recomputed recomputed() const;
};

}  // namespace infinipipe
