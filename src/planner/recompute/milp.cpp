#include "planner/recompute/milp.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "infinipipe/base/error.h"
#include "interfaces/highs_c_api.h"

namespace infinipipe {

namespace {

// Rows are checked to this fraction of their right-hand side: the solver's own tolerance.
constexpr double kTolerance = 1e-6;

struct HighsDeleter {
  void operator()(void* highs) const { Highs_destroy(highs); }
};
using HighsPointer = std::unique_ptr<void, HighsDeleter>;

// Programmes with more terms than this are not handed to the solver: their root node alone would
// take seconds.
constexpr std::size_t kMostTerms = 20'000;
// Nodes x terms. So that many nodes are left to small programmes only.
constexpr std::size_t kMostWork = 40'000;

HighsPointer make_solver(const SolverLimits& limits, std::size_t terms) {
  const int affordable = static_cast<int>(kMostWork / std::max<std::size_t>(terms, 1));
  HighsPointer highs(Highs_create());
  INFINIPIPE_ASSERT(highs != nullptr, "HiGHS could not be started");
  Highs_setBoolOptionValue(highs.get(), "output_flag", 0);
  Highs_setIntOptionValue(highs.get(), "threads", 1);
  Highs_setStringOptionValue(highs.get(), "parallel", "off");
  Highs_setIntOptionValue(highs.get(), "random_seed", 0);
  Highs_setDoubleOptionValue(highs.get(), "mip_rel_gap", std::max(0.0, limits.gap));
  Highs_setIntOptionValue(highs.get(), "mip_max_nodes",
                          std::max(1, std::min(limits.nodes, affordable)));
  // These never find anything here: rows are intervals of one order, and the start is good.
  Highs_setBoolOptionValue(highs.get(), "mip_heuristic_run_feasibility_jump", 0);
  Highs_setBoolOptionValue(highs.get(), "mip_detect_symmetry", 0);
  Highs_setDoubleOptionValue(highs.get(), "time_limit", std::max(0.0, limits.seconds));
  return highs;
}

bool pass_program(void* highs, const CoveringProgram& program) {
  const auto columns = static_cast<HighsInt>(program.cost.size());
  const auto rows = static_cast<HighsInt>(program.rows.size());
  const double infinity = Highs_getInfinity(highs);
  const std::vector<double> lower(program.cost.size(), 0.0);
  const std::vector<double> upper(program.upper.begin(), program.upper.end());
  std::vector<double> row_lower;
  const std::vector<double> row_upper(program.rows.size(), infinity);
  std::vector<HighsInt> start;
  std::vector<HighsInt> index;
  std::vector<double> value;
  for (const CoveringProgram::Row& row : program.rows) {
    start.push_back(static_cast<HighsInt>(index.size()));
    // Bytes are scaled to the order of one, where the solver's tolerances are meant.
    const double scale = row.least > 0.0 ? 1.0 / row.least : 1.0;
    row_lower.push_back(row.least * scale);
    for (const auto& [variable, factor] : row.terms) {
      index.push_back(variable);
      value.push_back(factor * scale);
    }
  }
  const std::vector<HighsInt> whole(program.cost.size(), kHighsVarTypeInteger);
  return Highs_passMip(highs, columns, rows, static_cast<HighsInt>(index.size()),
                       kHighsMatrixFormatRowwise, kHighsObjSenseMinimize, 0.0, program.cost.data(),
                       lower.data(), upper.data(), row_lower.data(), row_upper.data(), start.data(),
                       index.data(), value.data(), whole.data()) != kHighsStatusError;
}

const char* status_text(HighsInt status) {
  if (status == kHighsModelStatusOptimal) return "optimal";
  if (status == kHighsModelStatusTimeLimit) return "time limit";
  if (status == kHighsModelStatusSolutionLimit || status == kHighsModelStatusIterationLimit) {
    return "node limit";
  }
  return "fallback";
}

}  // namespace

double CoveringProgram::objective(const std::vector<int>& x) const {
  double sum = 0.0;
  for (std::size_t i = 0; i < cost.size(); ++i) sum += cost[i] * x[i];
  return sum;
}

bool CoveringProgram::feasible(const std::vector<int>& x) const {
  for (std::size_t i = 0; i < cost.size(); ++i) {
    if (x[i] < 0 || x[i] > upper[i]) return false;
  }
  return std::all_of(rows.begin(), rows.end(), [&](const Row& row) {
    double sum = 0.0;
    for (const auto& [variable, factor] : row.terms) {
      sum += factor * x[static_cast<std::size_t>(variable)];
    }
    return sum >= row.least * (1.0 - kTolerance);
  });
}

CoveringSolution solve_covering(const CoveringProgram& program, const std::vector<int>& start,
                                const SolverLimits& limits) {
  INFINIPIPE_ASSERT(program.feasible(start), "the solver's start is not feasible");
  const auto began = std::chrono::steady_clock::now();
  CoveringSolution solution{.x = start, .bound = 0.0, .report = {}};
  solution.report.status = "fallback";
  std::size_t terms = 0;
  for (const CoveringProgram::Row& row : program.rows) terms += row.terms.size();
  if (terms > kMostTerms) solution.report.status = "too large";
  const HighsPointer highs = make_solver(limits, terms);
  if (terms <= kMostTerms && !program.cost.empty() && pass_program(highs.get(), program)) {
    std::vector<double> values(start.begin(), start.end());
    Highs_setSolution(highs.get(), values.data(), nullptr, nullptr, nullptr);
    if (Highs_run(highs.get()) != kHighsStatusError) {
      solution.report.status = status_text(Highs_getModelStatus(highs.get()));
      double bound = 0.0;
      Highs_getDoubleInfoValue(highs.get(), "mip_dual_bound", &bound);
      if (std::isfinite(bound)) solution.bound = std::max(0.0, bound);
      std::vector<double> rows(program.rows.size());
      if (Highs_getSolution(highs.get(), values.data(), nullptr, rows.data(), nullptr) !=
          kHighsStatusError) {
        std::vector<int> x;
        for (const double v : values) x.push_back(static_cast<int>(std::lround(v)));
        // Checked from scratch: what the solver's tolerances let through is not taken.
        if (program.feasible(x) && program.objective(x) <= program.objective(start)) {
          solution.x = std::move(x);
        } else if (solution.report.status == std::string("optimal")) {
          solution.report.status = "fallback";
        }
      }
    }
  }
  const double objective = program.objective(solution.x);
  solution.report.gap = objective > 0.0 ? std::max(0.0, 1.0 - solution.bound / objective) : 0.0;
  solution.report.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return solution;
}

}  // namespace infinipipe
