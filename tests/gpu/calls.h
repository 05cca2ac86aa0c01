// The operations of src/model as a stage on the setting's device calls them: the one place that
// knows how they are told what to run.
#pragma once

#include "gpu/check.h"
#include "model/common/attention/attention.h"
#include "model/common/compute_path.h"
#include "model/common/head.h"
#include "model/common/kernels.h"
#include "model/common/linear.h"
#include "runtime/engine_options.h"

namespace infinipipe::gpu_check {

// A dry run takes the path of a GPU, on the processor's tensors; what is compared with does not.
inline ComputePath path_of(const Setting& setting) {
  return setting.gpu() ? ComputePath::of(setting.tensors()) : ComputePath{.device = !setting.plain};
}
inline StageContext head_context(const Setting& setting) {
  return {path_of(setting), nullptr, setting.tensors()};
}
inline void take_path(EngineOptions& options, const Setting& setting) {
  options.path = path_of(setting);
}

// Each function with the setting in front.
#define INFINIPIPE_ON_DEVICE(space, name)                                       \
  template <class... Arguments>                                                 \
  decltype(auto) name(const Setting& setting, Arguments&&... arguments) {       \
    return space name(path_of(setting), std::forward<Arguments>(arguments)...); \
  }
namespace on_device {
INFINIPIPE_ON_DEVICE(infinipipe::, attention_forward)
INFINIPIPE_ON_DEVICE(infinipipe::, attention_backward)
INFINIPIPE_ON_DEVICE(kernels::, rms_norm)
INFINIPIPE_ON_DEVICE(kernels::, rms_norm_again)
INFINIPIPE_ON_DEVICE(kernels::, rms_norm_backward)
INFINIPIPE_ON_DEVICE(kernels::, rope_split)
INFINIPIPE_ON_DEVICE(kernels::, rope_merge)
INFINIPIPE_ON_DEVICE(kernels::, swiglu)
INFINIPIPE_ON_DEVICE(kernels::, swiglu_backward)
INFINIPIPE_ON_DEVICE(kernels::, cross_entropy)
INFINIPIPE_ON_DEVICE(linear::, apply)
INFINIPIPE_ON_DEVICE(linear::, input_grad)
INFINIPIPE_ON_DEVICE(linear::, weight_grad)
}  // namespace on_device
#undef INFINIPIPE_ON_DEVICE

}  // namespace infinipipe::gpu_check
