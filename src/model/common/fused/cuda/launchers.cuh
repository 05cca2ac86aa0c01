// The launchers of each file beside this one.
#pragma once

#include "model/common/fused/work.h"

namespace infinipipe::fused {

const char* start_rms_norm(const RmsNormWork& work, void* stream);
const char* start_rms_norm_backward(const RmsNormBackwardWork& work, void* stream);
const char* start_rope_split(const RopeSplitWork& work, void* stream);
const char* start_rope_merge(const RopeMergeWork& work, void* stream);
const char* start_swiglu(const SwigluWork& work, void* stream);
const char* start_swiglu_backward(const SwigluBackwardWork& work, void* stream);
const char* start_cross_entropy(const CrossEntropyWork& work, void* stream);
const char* start_adamw(const AdamWWork& work, void* stream);
const char* start_squares(const SquaresWork& work, void* stream);
const char* start_total(const TotalWork& work, void* stream);

}  // namespace infinipipe::fused
