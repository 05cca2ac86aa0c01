// Megatron-LM with dynamic context parallelism: every packed micro-batch of the global batch runs
// on a context group as large as its longest sequence needs, out of the ranks that static degrees
// would fix as data x context parallelism.
#pragma once

#include <memory>

#include "baselines/system.h"

namespace infinipipe {

// Over megatron_layouts(). Throws as make_megatron() does.
std::unique_ptr<System> make_megatron_dcp(const SystemContext& context);

}  // namespace infinipipe
