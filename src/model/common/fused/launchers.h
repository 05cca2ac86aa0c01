// How fused kernels are started: a table that a build for GPUs fills, and another has not.
#pragma once

#include "model/common/fused/work.h"

namespace infinipipe::fused {

// Each starts its kernels on `stream`, a device's own handle, and returns at once: null, or what
// the device said is wrong. What work.h calls served must be; no rows at all are served. The
// current device must be that of the stream.
struct Launchers {
  template <class Work>
  using Start = const char* (*)(const Work& work, void* stream);

  Start<RmsNormWork> rms_norm = nullptr;
  Start<RmsNormBackwardWork> rms_norm_backward = nullptr;
  Start<RopeSplitWork> rope_split = nullptr;
  Start<RopeMergeWork> rope_merge = nullptr;
  Start<SwigluWork> swiglu = nullptr;
  Start<SwigluBackwardWork> swiglu_backward = nullptr;
  Start<CrossEntropyWork> cross_entropy = nullptr;
  Start<AdamWWork> adamw = nullptr;
  Start<SquaresWork> squares = nullptr;
  Start<TotalWork> total = nullptr;
};

// Those of the current device; null where the build or the device has none. One answer for a
// process: its GPUs are alike.
const Launchers* launchers();

}  // namespace infinipipe::fused
