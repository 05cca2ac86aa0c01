// Samples of stages whose shards share each chunk, and what exchanges between these took.
#pragma once

#include <vector>

#include "infinipipe/cost/profile.h"
#include "profile/samples.h"

namespace infinipipe {

// Bytes a second of a device's part of an exchange, between `degree` shards while they compute:
// waiting for each other is part of the time. `profile` says how many bytes there are. 0 where
// nothing was exchanged.
double exchange_rate(const std::vector<InstructionSample>& samples,
                     const std::vector<LayerRange>& stages, const Profile& profile, int degree);

// The samples as those of one device that has its part of each chunk to itself: shapes over the
// degree, and times without what exchanges took at links.all_to_all's rate. Chunks with fewer
// tokens than shards are left out.
std::vector<InstructionSample> of_one_device(const std::vector<InstructionSample>& samples,
                                             const std::vector<LayerRange>& stages,
                                             const Profile& profile, int degree);

}  // namespace infinipipe
