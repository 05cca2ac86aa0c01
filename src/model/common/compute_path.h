// Which implementation a stage's operations have: the processor's own loops, or what a GPU runs.
// Chosen once, where the stage is made, and handed on. What is below asks where a tensor lies for
// nothing but a call that only one kind of device has.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

#include "model/common/fused/launchers.h"

namespace infinipipe {

struct ComputePath {
  // What a GPU runs: fused kernels or composed operations, attention in blocks, the optimizer's
  // device loops. With tensors of the processor ATen's CPU operations stand in for the calls that
  // only a GPU has: slower, but all that is around those calls is the same. So tests run it.
  bool device = false;
  // Of the tensors' device. Null: composed operations.
  const fused::Launchers* launchers = nullptr;
  // Most keys of its context that one call of attention in blocks takes, so that what a call holds
  // for itself is bounded. A GPU is busy with far fewer.
  std::int64_t attention_keys = 8192;

  // What tensors of that device take by themselves. Asks the current GPU.
  static ComputePath of(c10::Device device) {
    return device.is_cpu() ? ComputePath{} : ComputePath{true, fused::launchers()};
  }
};

}  // namespace infinipipe
