// What a step costs beside its instructions, as far as the layout decides it. docs/parallelism.md
// explains the model.
#pragma once

#include <string>

#include "infinipipe/core/plan.h"
#include "infinipipe/cost/cost_model.h"

namespace infinipipe {

struct StepOverhead {
  // ZeRO-3's gathers of weights and reductions of gradients within a sequence-parallel group, as
  // far as the compute of chunks is too short to hide them. Of the stage and replica that waits
  // longest.
  Seconds gathers = 0.0;
  // Summing gradients over data-parallel replicas, after the last backward.
  Seconds reduction = 0.0;
  // How much longer attention takes where a group's devices have uneven heads (head_shares.h), over
  // all chunks. Of the stage and replica where this is most. Instructions are timed as if heads
  // were even, so this time comes on top.
  Seconds heads = 0.0;

  Seconds total() const { return gathers + reduction + heads; }
};

// The plan must be valid, `cost` of its layout. Devices are placed so that a sequence-parallel
// group lies within a node where it can, the same stage's replicas beside it in the node, then
// stages. Weights and gradients are each 2 of the 16 bytes of state a parameter has with bfloat16,
// 4 with any other type. A profile without gather bandwidths has no such cost: it is part of its
// per-chunk cost. Throws InputError for a degree that is needed and absent: the group's own within
// a node, sequence_parallel x data_parallel across nodes.
StepOverhead step_overhead(const Plan& plan, const CostModel& cost, int devices_per_node);

// The first bandwidth that step_overhead() of this layout asks for and the profile lacks:
// "profile: links.all_gather: no bandwidth for degree 8". Empty where it has all.
std::string absent_bandwidth(const Profile& profile, const Parallelism& parallelism,
                             int devices_per_node);

// The same machine where nothing hides the gathers of a model of `layers` layers: each chunk pays
// the gather of a stage's weights in its forward, and the gather and the reduction of gradients in
// its backward, as part of the profile's per-chunk constants. These are shared out over the layers,
// so embedding and head are spread over all stages, and a layer that is recomputed pays its
// forward's gather again. Of step_overhead() only `reduction` is then left to add. Throws
// InputError for the group's own degree where it is absent.
Profile with_waited_gathers(Profile profile, const Parallelism& parallelism, int layers,
                            int devices_per_node);

}  // namespace infinipipe
