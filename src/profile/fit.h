// From samples to a profile's numbers.
#pragma once

#include <vector>

#include "infinipipe/cost/profile.h"
#include "profile/profile_machine.h"
#include "profile/samples.h"

namespace infinipipe {

// Fills forward, backward, embedding, head and backward_weight of `profile`, stage_speed where the
// stages differ, and, where samples say it, the times of making layers of a level again. `skipped`:
// the share of a layer's work per token that a layer leaves out when all of it runs again.
void fit_times(const std::vector<InstructionSample>& samples, const std::vector<LayerRange>& stages,
               double skipped, Profile& profile);

// Fills memory.layerwise but for what is pending between I and W; the other memory numbers must be
// there. `joins_attention`: chunks with a context hold more for each token than others, as on a
// GPU's path; then the most counts, so that a budget is kept.
void fit_temporaries(const std::vector<InstructionSample>& samples,
                     const std::vector<LayerRange>& stages, bool joins_attention, Profile& profile);

// The profile's prediction of sample.temporary, for a layerwise profile; 0 for a W.
Bytes predicted_temporary(const InstructionSample& sample, const CostModel& cost);
// The error of that prediction. What was measured is only known up to the messages that waited
// (Sample::waited).
Bytes temporary_error(const InstructionSample& sample, Bytes predicted);

// Every sample beside the profile's prediction; fills profile.fit.
std::vector<Residual> residuals_of(const std::vector<InstructionSample>& samples,
                                   const CostModel& cost);

}  // namespace infinipipe
