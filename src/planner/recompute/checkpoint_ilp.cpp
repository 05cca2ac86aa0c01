#include "planner/recompute/checkpoint_ilp.h"

#include <algorithm>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

// Writes the programme down. Its variables are one for each diagonal, in the diagonals' order, and
// then one for each (stage, chunk) whose stage has more layers than its diagonal's variable allows.
class Builder final {
 public:
  Builder(const StepLists& steps, const ChunkTable& table, const PipelineStarts& starts)
      : steps_(steps), table_(table) {
    result_.diagonal.assign(table.entries.size(), -1);
    result_.extra.assign(table.entries.size(), -1);
    price_diagonals(number_diagonals(starts));
    add_extra_variables();
    for (int p = 0; p < table.stages; ++p) add_rows(p);
  }

  CheckpointProgram take() { return std::move(result_); }

 private:
  // Says for each (stage, chunk) on which diagonal it lies; returns how many diagonals there are.
  // Diagonals of one pipeline do not reach into the next, as each pipeline has stages - 1 more of
  // them than it has chunks.
  int number_diagonals(const PipelineStarts& starts) {
    std::vector<int> position(static_cast<std::size_t>(table_.chunks));  // f2b, over all chunks
    for (int b = 0; b < table_.chunks; ++b) {
      position[static_cast<std::size_t>(table_.backward[static_cast<std::size_t>(b)])] = b;
    }
    int pipeline = -1;
    for (int k = 0; k < table_.chunks; ++k) {
      const int group = table_.group_of[static_cast<std::size_t>(k)];
      if (pipeline + 1 < static_cast<int>(starts.size()) &&
          group >= starts[static_cast<std::size_t>(pipeline + 1)]) {
        ++pipeline;
      }
      for (int p = 0; p < table_.stages; ++p) {
        result_.diagonal[table_.index(p, k)] = position[static_cast<std::size_t>(k)] +
                                               pipeline * (table_.stages - 1) +
                                               (table_.stages - 1 - p);
      }
    }
    return table_.chunks + (pipeline + 1) * (table_.stages - 1);
  }

  // A diagonal's variable costs its slowest layer, and is at most the fewest layers of its stages.
  void price_diagonals(int count) {
    CoveringProgram& program = result_.program;
    const int most = *std::max_element(table_.layers.begin(), table_.layers.end());
    program.cost.assign(static_cast<std::size_t>(count), 0.0);
    program.upper.assign(static_cast<std::size_t>(count), most);
    for (int p = 0; p < table_.stages; ++p) {
      for (int k = 0; k < table_.chunks; ++k) {
        const auto d = static_cast<std::size_t>(result_.diagonal[table_.index(p, k)]);
        program.cost[d] = std::max(program.cost[d], table_.at(p, k).layer);
        program.upper[d] = std::min(program.upper[d], table_.layers[static_cast<std::size_t>(p)]);
      }
    }
  }

  void add_extra_variables() {
    CoveringProgram& program = result_.program;
    for (int p = 0; p < table_.stages; ++p) {
      for (int k = 0; k < table_.chunks; ++k) {
        const std::size_t i = table_.index(p, k);
        const int rest = table_.layers[static_cast<std::size_t>(p)] -
                         program.upper[static_cast<std::size_t>(result_.diagonal[i])];
        if (rest <= 0) continue;
        result_.extra[i] = static_cast<int>(program.cost.size());
        program.cost.push_back(table_.entries[i].layer);
        program.upper.push_back(rest);
      }
    }
  }

  // One row for each backward of the stage, but for rows that the row before implies.
  //
  // What a step holds while it runs is counted as if its chunk recomputed: which chunks will is not
  // known yet, and to count too much is safe. A forward may hold more than the backwards around it,
  // so the largest of the forwards since the last row is counted with the next backward.
  //
  // A row is implied by the one before where since then no forward ran, and the activations that
  // were freed are at least what is needed beyond the earlier row's bytes: a chunk that is gone
  // cannot have saved more in the earlier row than the activations that it freed.
  void add_rows(int p) {
    const auto s = static_cast<std::size_t>(p);
    const RecomputeMatrix none(table_.entries.size(), 0);
    if (peak_bytes(steps_[s], p, table_, none) <= table_.budget[s]) return;
    std::vector<bool> alive(static_cast<std::size_t>(table_.chunks), false);
    HeldBytes held;          // nothing recomputed
    Bytes last_bytes = 0.0;  // of the last row
    Bytes freed = 0.0;       // activations freed since the last row
    bool grown = true;       // a forward ran since the last row
    Bytes forwards = 0.0;    // the most that one of these forwards held while it ran
    for (const Step& step : steps_[s]) {
      const auto k = static_cast<std::size_t>(step.chunk);
      const ChunkEntry& entry = table_.at(p, step.chunk);
      const MemoryStep kept = entry.memory(step.op, 0);
      const Bytes holds = entry.memory(step.op, 1).holds;
      const Bytes bytes = held.begin(kept);
      if (step.op == Op::kForward) {
        alive[k] = true;
        grown = true;
        forwards = std::max(forwards, holds);
      } else if (starts_backward(step.op)) {
        const Bytes now = bytes + std::max(holds, forwards);
        if (grown || now > last_bytes - freed) {
          add_row(p, alive, now - table_.budget[s]);
          last_bytes = now;
          freed = 0.0;
          grown = false;
          forwards = 0.0;
        }
      }
      held.end(kept);
      if (ends_backward(step.op)) {
        alive[k] = false;
        freed += kept.closes.total();
      }
    }
  }

  void add_row(int p, const std::vector<bool>& alive, Bytes excess) {
    if (excess <= 0.0) return;
    // The row asks for a little more than the excess: for more than the solver's tolerance lets go.
    CoveringProgram::Row row{.terms = {}, .least = excess * (1.0 + 2e-6)};
    for (int k = 0; k < table_.chunks; ++k) {
      if (!alive[static_cast<std::size_t>(k)]) continue;
      const std::size_t i = table_.index(p, k);
      const Bytes saved = table_.entries[i].saved;
      if (saved <= 0.0) continue;
      row.terms.emplace_back(result_.diagonal[i], saved);
      if (result_.extra[i] >= 0) row.terms.emplace_back(result_.extra[i], saved);
    }
    result_.program.rows.push_back(std::move(row));
  }

  const StepLists& steps_;
  const ChunkTable& table_;
  CheckpointProgram result_;
};

RecomputeMatrix matrix_of(const CheckpointProgram& checkpoint, const std::vector<int>& x) {
  RecomputeMatrix recompute(checkpoint.diagonal.size());
  for (std::size_t i = 0; i < recompute.size(); ++i) {
    recompute[i] = x[static_cast<std::size_t>(checkpoint.diagonal[i])];
    if (checkpoint.extra[i] >= 0) recompute[i] += x[static_cast<std::size_t>(checkpoint.extra[i])];
  }
  return recompute;
}

// Diagonals high enough for every entry of `recompute`.
std::vector<int> cover(const CheckpointProgram& checkpoint, const RecomputeMatrix& recompute) {
  std::vector<int> x(checkpoint.program.cost.size(), 0);
  for (std::size_t i = 0; i < recompute.size(); ++i) {
    auto& diagonal = x[static_cast<std::size_t>(checkpoint.diagonal[i])];
    const int most = checkpoint.program.upper[static_cast<std::size_t>(checkpoint.diagonal[i])];
    diagonal = std::max(diagonal, std::min(most, recompute[i]));
  }
  for (std::size_t i = 0; i < recompute.size(); ++i) {
    if (checkpoint.extra[i] < 0) continue;
    const int diagonal = x[static_cast<std::size_t>(checkpoint.diagonal[i])];
    x[static_cast<std::size_t>(checkpoint.extra[i])] = std::max(0, recompute[i] - diagonal);
  }
  return x;
}

}  // namespace

CheckpointProgram checkpoint_program(const StepLists& steps, const ChunkTable& table,
                                     const PipelineStarts& starts) {
  return Builder(steps, table, starts).take();
}

std::optional<CheckpointSolution> solve_checkpointing(const StepLists& steps,
                                                      const ChunkTable& table,
                                                      const PipelineStarts& starts,
                                                      const SolverLimits& limits) {
  const CheckpointProgram checkpoint = checkpoint_program(steps, table, starts);
  CheckpointSolution solution;
  if (checkpoint.program.rows.empty()) {
    solution.recompute.assign(table.entries.size(), 0);
    solution.solver.status = "optimal";
    return solution;
  }
  // Start: a greedy sweep's recomputation where it is feasible and cheaper than recomputing all.
  std::vector<int> start = checkpoint.program.upper;
  if (!checkpoint.program.feasible(start)) return std::nullopt;
  if (const auto least = least_recompute(steps, table)) {
    std::vector<int> greedy = cover(checkpoint, *least);
    if (checkpoint.program.feasible(greedy) &&
        checkpoint.program.objective(greedy) < checkpoint.program.objective(start)) {
      start = std::move(greedy);
    }
  }
  const CoveringSolution solved = solve_covering(checkpoint.program, start, limits);
  solution.solver = solved.report;
  solution.objective = checkpoint.program.objective(solved.x);
  solution.bound = solved.bound;
  solution.recompute = least_recompute_within(steps, table, matrix_of(checkpoint, solved.x));
  if (!fits(steps, table, solution.recompute)) return std::nullopt;
  return solution;
}

}  // namespace infinipipe
