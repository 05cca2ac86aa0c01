// What every balancer of context parallelism would like to be: the batch in equal micro-batches,
// the attention of each shared out over all ranks in equal parts, and no exchange that takes time.
#pragma once

#include <memory>

#include "baselines/system.h"

namespace infinipipe {

// Over megatron_layouts(). Throws as make_megatron() does.
std::unique_ptr<System> make_attention_balanced(const SystemContext& context);

}  // namespace infinipipe
