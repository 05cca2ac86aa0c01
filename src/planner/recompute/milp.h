// Small integer programmes of the covering kind. Owner of the HiGHS dependency (its C API).
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "infinipipe/core/plan.h"

namespace infinipipe {

// Minimise cost . x over whole x with 0 <= x <= upper and, for each row, terms . x >= least.
struct CoveringProgram {
  struct Row {
    std::vector<std::pair<int, double>> terms;  // (variable, factor >= 0)
    double least = 0.0;
  };
  std::vector<double> cost;  // >= 0
  std::vector<int> upper;
  std::vector<Row> rows;

  double objective(const std::vector<int>& x) const;
  bool feasible(const std::vector<int>& x) const;
};

struct SolverLimits {
  double gap = 0.02;  // (objective - bound) / objective at which to stop
  int nodes = 200;
  Seconds seconds = 10.0;  // an emergency stop; status says so
};

struct CoveringSolution {
  std::vector<int> x;
  double bound = 0.0;  // proven: no feasible x costs less
  // Status "optimal" (within the gap), "node limit", "time limit", "too large" (the start was
  // returned) or "fallback" (the solver failed, likewise).
  SolverReport report;
};

// Starts from `start`, which must be feasible, and never returns a solution that costs more. It
// runs on one thread with a fixed seed: the answer is the same on every machine unless the
// emergency stop is hit. Larger programmes get fewer nodes; one of more than 20,000 terms is not
// solved at all.
CoveringSolution solve_covering(const CoveringProgram& program, const std::vector<int>& start,
                                const SolverLimits& limits);

}  // namespace infinipipe
