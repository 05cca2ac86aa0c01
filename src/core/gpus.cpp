#include "core/gpus.h"

#include "core/names.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

const GpuRow* estimated_gpu(std::string_view profile) {
  INFINIPIPE_ASSERT(is_estimate(profile), "a file is no estimate");
  if (profile == kEstimate) return nullptr;
  return &named(kGpus, profile.substr(kEstimate.size() + 1), "config: cluster.profile",
                "found " + std::string(kEstimate) + " of");
}

}  // namespace infinipipe
