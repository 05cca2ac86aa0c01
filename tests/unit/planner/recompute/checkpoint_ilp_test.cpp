#include "planner/recompute/checkpoint_ilp.h"

#include <gtest/gtest.h>

#include <limits>

#include "unit/planner/tables.h"

namespace infinipipe {
namespace {

constexpr SolverLimits kExact{.gap = 0.0, .nodes = 100000, .seconds = 60.0};

// The least objective over every x, or infinity.
double brute_force(const CoveringProgram& program) {
  std::vector<int> x(program.cost.size(), 0);
  double best = std::numeric_limits<double>::infinity();
  while (true) {
    const double objective = program.objective(x);
    if (objective < best && program.feasible(x)) best = objective;
    std::size_t i = 0;
    while (i < x.size() && x[i] == program.upper[i]) x[i++] = 0;
    if (i == x.size()) return best;
    ++x[i];
  }
}

TEST(SolveCovering, EqualsBruteForce) {
  Random random(1);
  for (int round = 0; round < 150; ++round) {
    CoveringProgram program;
    const auto variables = static_cast<std::size_t>(random.between(1, 6));
    for (std::size_t i = 0; i < variables; ++i) {
      program.cost.push_back(0.1 + random.uniform());
      program.upper.push_back(static_cast<int>(random.between(0, 4)));
    }
    for (int r = static_cast<int>(random.between(0, 5)); r > 0; --r) {
      CoveringProgram::Row row;
      double most = 0.0;
      for (std::size_t i = 0; i < variables; ++i) {
        if (random.uniform() < 0.4) continue;
        row.terms.emplace_back(static_cast<int>(i), 0.2 + random.uniform());
        most += row.terms.back().second * program.upper[i];
      }
      row.least = most * random.uniform() * 0.99;
      program.rows.push_back(row);
    }
    const CoveringSolution solution = solve_covering(program, program.upper, kExact);
    EXPECT_TRUE(program.feasible(solution.x));
    const double best = brute_force(program);
    EXPECT_NEAR(program.objective(solution.x), best, 1e-6 + 1e-6 * best) << "round " << round;
    EXPECT_LE(solution.bound, best + 1e-6);
    EXPECT_EQ(solution.report.status, "optimal");
  }
}

TEST(SolveCovering, KeepsAStartThatCannotBeBeaten) {
  CoveringProgram program;
  program.cost = {1.0, 1.0};
  program.upper = {3, 3};
  program.rows = {{.terms = {{0, 1.0}, {1, 1.0}}, .least = 3.0}};
  const CoveringSolution solution = solve_covering(program, {0, 3}, kExact);
  EXPECT_DOUBLE_EQ(program.objective(solution.x), 3.0);
}

TEST(SolveCovering, RefusesAStartThatIsNotFeasible) {
  CoveringProgram program;
  program.cost = {1.0};
  program.upper = {3};
  program.rows = {{.terms = {{0, 1.0}}, .least = 2.0}};
  EXPECT_THROW(solve_covering(program, {1}, kExact), std::logic_error);
}

TEST(SolveCovering, LeavesTheStartOfWhatIsTooLarge) {
  CoveringProgram program;
  program.cost.assign(201, 1.0);
  program.upper.assign(201, 4);
  for (int r = 0; r < 200; ++r) {
    CoveringProgram::Row row{.terms = {}, .least = 2.0};
    for (int v = 0; v < 201; ++v) row.terms.emplace_back(v, v == r ? 2.0 : 0.5);
    program.rows.push_back(std::move(row));
  }
  const std::vector<int> start(201, 1);
  const CoveringSolution solution = solve_covering(program, start, {.gap = 0.0});
  EXPECT_EQ(solution.x, start);
  EXPECT_EQ(solution.report.status, "too large");
  EXPECT_EQ(solution.report.gap, 1.0);
}

TEST(SolveCovering, AnEmergencyStopIsReportedAndLeavesTheStart) {
  Random random(2);
  CoveringProgram program;
  for (int i = 0; i < 200; ++i) {
    program.cost.push_back(0.5 + random.uniform());
    program.upper.push_back(8);
  }
  for (int r = 0; r < 200; ++r) {
    CoveringProgram::Row row{.terms = {}, .least = 37.3};
    for (int i = 0; i < 30; ++i) {
      row.terms.emplace_back(static_cast<int>((r + i * (r % 7 + 1)) % 200), 0.3 + random.uniform());
    }
    program.rows.push_back(row);
  }
  const CoveringSolution solution =
      solve_covering(program, program.upper, {.gap = 0.0, .nodes = 1000000, .seconds = 0.0});
  EXPECT_EQ(solution.report.status, "time limit");
  EXPECT_TRUE(program.feasible(solution.x));
}

TEST(CheckpointProgram, SharesADiagonalBetweenStages) {
  // Two stages, three chunks: (stage 0, chunk k) lies on the diagonal of (stage 1, chunk k + 1).
  ChunkTable table = test::even_table(2, {1, 1, 1});
  table.budget = {10.0, 7.0};
  const auto checkpoint = checkpoint_program(one_f_one_b_steps(table, {0}), table, {0});
  EXPECT_EQ(checkpoint.program.cost.size(), 4u);
  for (int k = 0; k < 2; ++k) {
    EXPECT_EQ(checkpoint.diagonal[table.index(0, k)], checkpoint.diagonal[table.index(1, k + 1)]);
  }
}

TEST(CheckpointProgram, UnevenStagesHaveLayersOfTheirOwn) {
  ChunkTable table = test::even_table(2, {1, 1});
  table.layers = {4, 2};
  table.budget = {10.0, 7.0};
  const auto checkpoint = checkpoint_program(one_f_one_b_steps(table, {0}), table, {0});
  // Chunk 1's diagonal on stage 0 has no other stage on it, so its full 4 layers.
  EXPECT_EQ(
      checkpoint.program.upper[static_cast<std::size_t>(checkpoint.diagonal[table.index(0, 0)])],
      2);
  EXPECT_GE(checkpoint.extra[table.index(0, 0)], 0);
  EXPECT_EQ(checkpoint.extra[table.index(1, 0)], -1);
}

// The programme with every row, straight from the definition, over all (stage, chunk) counts.
double brute_force_orders(const StepLists& steps, const ChunkTable& table,
                          const PipelineStarts& starts) {
  const auto checkpoint = checkpoint_program(steps, table, starts);
  std::vector<int> x(checkpoint.program.cost.size(), 0);
  double best = std::numeric_limits<double>::infinity();
  const RecomputeMatrix none(table.entries.size(), 0);
  std::vector<bool> free(static_cast<std::size_t>(table.stages));
  for (int p = 0; p < table.stages; ++p) {
    const auto s = static_cast<std::size_t>(p);
    free[s] = peak_bytes(steps[s], p, table, none) <= table.budget[s];
  }
  while (true) {
    const double objective = checkpoint.program.objective(x);
    if (objective < best) {
      bool good = true;
      for (int p = 0; p < table.stages && good; ++p) {
        const auto s = static_cast<std::size_t>(p);
        if (free[s]) continue;
        Bytes bytes = 0.0;
        for (const Step& step : steps[s]) {
          const std::size_t i = table.index(p, step.chunk);
          const ChunkEntry& entry = table.entries[i];
          const int r =
              x[static_cast<std::size_t>(checkpoint.diagonal[i])] +
              (checkpoint.extra[i] < 0 ? 0 : x[static_cast<std::size_t>(checkpoint.extra[i])]);
          const Bytes held = entry.activation - r * entry.saved;
          if (step.op == Op::kForward) {
            bytes += held;
            good = good && bytes <= table.budget[s];
          } else {
            bytes += entry.grads_open;
            good = good && bytes + entry.workspace <= table.budget[s];
            bytes -= held + entry.grads_free;
          }
        }
      }
      if (good) best = objective;
    }
    std::size_t i = 0;
    while (i < x.size() && x[i] == checkpoint.program.upper[i]) x[i++] = 0;
    if (i == x.size()) return best;
    ++x[i];
  }
}

TEST(SolveCheckpointing, EqualsBruteForceOnSmallCases) {
  Random random(4);
  int solved = 0;
  for (int round = 0; round < 1500 && solved < 120; ++round) {
    const ChunkTable table = test::random_table(random, 3, 3, 2, random.uniform());
    const auto steps = one_f_one_b_steps(table, {0});
    const auto checkpoint = checkpoint_program(steps, table, {0});
    if (checkpoint.program.rows.empty() || checkpoint.program.cost.size() > 9) continue;
    const double best = brute_force_orders(steps, table, {0});
    const auto solution = solve_checkpointing(steps, table, {0}, kExact);
    ASSERT_EQ(solution.has_value(), best < std::numeric_limits<double>::infinity())
        << "round " << round;
    if (!solution) continue;
    ++solved;
    EXPECT_NEAR(solution->objective, best, 1e-6 * best) << "round " << round;
    EXPECT_LE(solution->bound, best * (1 + 1e-6));
    EXPECT_TRUE(fits(steps, table, solution->recompute));
  }
  EXPECT_EQ(solved, 120);
}

TEST(SolveCheckpointing, NothingToSolveWhereEverythingFits) {
  const ChunkTable table = test::even_table(3, {2, 1, 1});
  const auto solution = solve_checkpointing(one_f_one_b_steps(table, {0}), table, {0}, kExact);
  ASSERT_TRUE(solution);
  EXPECT_EQ(solution->recompute, RecomputeMatrix(table.entries.size(), 0));
  EXPECT_EQ(solution->solver.status, "optimal");
}

TEST(SolveCheckpointing, FitsWheneverFullRecomputationDoes) {
  Random random(8);
  int solved = 0;
  for (int round = 0; round < 150; ++round) {
    const ChunkTable table = test::random_table(random, 4, 6, 4, random.uniform());
    const PipelineStarts starts = table.groups.size() > 2 && random.uniform() < 0.5
                                      ? PipelineStarts{0, 2}
                                      : PipelineStarts{0};
    const auto steps = one_f_one_b_steps(table, starts);
    RecomputeMatrix full(table.entries.size());
    for (std::size_t i = 0; i < full.size(); ++i) {
      full[i] = table.layers[i / static_cast<std::size_t>(table.chunks)];
    }
    const auto solution = solve_checkpointing(steps, table, starts, {.gap = 0.02, .nodes = 50});
    EXPECT_EQ(solution.has_value(), fits(steps, table, full)) << "round " << round;
    if (!solution) continue;
    ++solved;
    EXPECT_TRUE(fits(steps, table, solution->recompute));
    EXPECT_LE(time_steps(steps, table, solution->recompute).seconds,
              time_steps(steps, table, full).seconds * (1 + 1e-12));
    EXPECT_LE(solution->bound, solution->objective * (1 + 1e-9));
  }
  EXPECT_GT(solved, 50);
}

}  // namespace
}  // namespace infinipipe
