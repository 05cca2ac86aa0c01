// FlexSP (arXiv 2412.01523): Ulysses groups of different degrees side by side, chosen anew for
// every micro-batch; ZeRO-3 over all devices.
#pragma once

#include <memory>

#include "baselines/flexsp_problem.h"
#include "baselines/system.h"

namespace infinipipe {

struct FlexspOptions {
  int least_degree = 1;
  std::vector<int> recompute;  // empty: recompute_settings
  // Numbers of micro-batches tried, from the least whose token sums fit (the published programme
  // tries five); more only until one of them can be assigned. At least 1.
  int micro_batch_options = 5;
  FlexLimits limits;
};

std::unique_ptr<System> make_flexsp(const SystemContext& context, FlexspOptions options = {});

}  // namespace infinipipe
