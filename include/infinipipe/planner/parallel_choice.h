// Which parallelism suits a cluster, a model and a corpus: every layout is planned and simulated.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "infinipipe/core/parallel_choice.h"
#include "infinipipe/cost/evaluator.h"
#include "infinipipe/planner/planner.h"

namespace infinipipe {

// All stages x sequence_parallel x data_parallel = `devices` with no more stages than layers, each
// planned by the context's planner on every batch of `sample` (a step's lengths; not empty) and
// judged by the evaluator, with step_overhead() added. `context` names profile, layers, limit and
// planner; its parallelism and layers_per_stage are ignored. Sequence-parallel degrees that are not
// powers of two, or larger than a node and not a multiple of it, are left out.
// A layout is not feasible where a batch does not fit, where the profile lacks a bandwidth for its
// degrees or names the speeds of another number of stages; its note says which.
// Deterministic. Ties go to fewer stages, then to the lower sequence_parallel.
// Throws InputError for devices or devices_per_node < 1 and for an empty sample.
ParallelChoice choose_parallelism(const PlanContext& context, int devices, int devices_per_node,
                                  std::span<const std::vector<Tokens>> sample,
                                  const std::shared_ptr<const Evaluator>& evaluator);

}  // namespace infinipipe
