// Chooses the parallelism for a cluster, a model and a corpus: every layout is planned and
// simulated.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/parallel_choice.h"
#include "infinipipe/cost/evaluator.h"
#include "infinipipe/planner/planner.h"

namespace infinipipe {

// All cluster_layouts() (cost/layouts.h), each possible one planned by the context's planner on
// every batch of `sample` (a step's lengths; not empty) and judged by the evaluator, with
// step_overhead() added. `context` names profile, layers, limit and planner; its parallelism and
// layers_per_stage are ignored. A layout is not feasible where it is left out of that list or where
// a batch does not fit; its note says why.
// Deterministic. Ties go to fewer stages, then to the lower sequence_parallel.
// Throws InputError for devices or devices_per_node < 1 and for an empty sample.
ParallelChoice choose_parallelism(const PlanContext& context, int devices, int devices_per_node,
                                  std::span<const std::vector<Tokens>> sample,
                                  const std::shared_ptr<const Evaluator>& evaluator);

}  // namespace infinipipe
