// Fused kernels for tensors in the processor's memory, on host threads: what stands between tensors
// and kernels is then tested without a GPU.
#pragma once

#include "model/common/fused/choose.h"
#include "model/common/fused/launchers.h"
#include "support/host_block.h"

namespace infinipipe::testing {

template <class Work>
const char* start_on_host(const Work& work, void* /*stream*/) {
  fused::launch(work, HostRun{});
  return nullptr;
}

inline const fused::Launchers& host_launchers() {
  static constexpr fused::Launchers kTable{
      .rms_norm = start_on_host<fused::RmsNormWork>,
      .rms_norm_backward = start_on_host<fused::RmsNormBackwardWork>,
      .rope_split = start_on_host<fused::RopeSplitWork>,
      .rope_merge = start_on_host<fused::RopeMergeWork>,
      .swiglu = start_on_host<fused::SwigluWork>,
      .swiglu_backward = start_on_host<fused::SwigluBackwardWork>,
      .cross_entropy = start_on_host<fused::CrossEntropyWork>,
      .adamw = start_on_host<fused::AdamWWork>,
      .squares = start_on_host<fused::SquaresWork>,
      .total = start_on_host<fused::TotalWork>,
  };
  return kTable;
}

}  // namespace infinipipe::testing
