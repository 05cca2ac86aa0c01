// 1F1B over slices with split backwards, weight gradients held back to fill waits: the schedule of
// MEPipe (EuroSys 2025) on one chunk of layers a stage.
#pragma once

#include <vector>

#include "infinipipe/cost/cost_model.h"
#include "planner/schedules/one_f_one_b.h"

namespace infinipipe {

// The order of one_f_one_b() with `I` for `B`. Forwards and input gradients keep that order; a
// stage that would wait for its next one runs held weight gradients, oldest first, while at least
// half of each fits in the wait. No stage holds back more than `held` of them (0: each W follows
// its I; -1: any number), since what they keep in memory is freed late; what is left runs at the
// end. Waits are foreseen on a simulated clock (docs/profile.md's rules), with each chunk's own
// `recompute`. `pipeline` must be free of deadlock under 1F1B; `sequences` are the lengths that its
// slices name. O(instructions x stages).
InstructionLists one_f_one_b_held(const Pipeline& pipeline, const std::vector<Tokens>& sequences,
                                  const CostModel& cost, int held);

}  // namespace infinipipe
