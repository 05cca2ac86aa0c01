// The estimates that cluster.profile asks for by name.
#pragma once

#include <string>

#include "infinipipe/cost/profile.h"

namespace infinipipe {

// "estimate": estimated_profile(); "estimate:h100": that GPU, from published rates (core/gpus.h,
// docs/profile.md). Throws InputError for a GPU that is not in the table, with all that are, and
// for float64 on a GPU.
Profile named_estimate(const ModelSpec& model, Dtype dtype, const std::string& name);

}  // namespace infinipipe
