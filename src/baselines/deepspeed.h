// DeepSpeed: Ulysses sequence parallelism of one degree for all, ZeRO-3 over all devices.
#pragma once

#include <memory>

#include "baselines/system.h"

namespace infinipipe {

struct DeepspeedOptions {
  std::vector<int> degrees;    // empty: all that the devices allow
  std::vector<int> recompute;  // empty: recompute_settings
  // Parts of a group's capacity that a bin is filled to, best fit decreasing; the best is kept.
  std::vector<double> fill = {1.0, 0.9};
  bool balance = true;  // also try as many bins of near equal time
};

std::unique_ptr<System> make_deepspeed(const SystemContext& context, DeepspeedOptions options = {});

}  // namespace infinipipe
