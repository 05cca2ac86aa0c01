// A stage's weights: fused storage as the kernels want it, and the logical views by name.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/common/stage_model.h"

namespace infinipipe {

// One stored matrix or vector. `value` is what the forward multiplies (compute dtype; norms: the
// master itself), `master` what the optimizer updates, `grad` the main gradient.
struct Weight {
  at::Tensor value;
  at::Tensor master;
  at::Tensor grad;
};

struct LayerParameters {
  Weight input_norm;   // [D]
  Weight qkv;          // [Q + 2 KV, D]: rows of q, then k, then v
  Weight output;       // [D, Q]
  Weight middle_norm;  // [D]
  Weight gate_up;      // [2 I, D]: rows of gate, then up
  Weight down;         // [D, I]
};

struct StageParameters {
  Weight embedding;  // [V, D]; first stage
  std::vector<LayerParameters> layers;
  Weight final_norm;  // [D]; last stage
  Weight head;        // [V, D]; last stage; the embedding itself if tied and on the same stage
  std::vector<Parameter> list;  // logical tensors in model order

  // Fused tensors, each once.
  std::vector<Weight*> stored();
};

// Allocates and initialises: matrices normal(0, initializer_range), o_proj and down_proj scaled by
// 1 / sqrt(2 x layers of the model), norms 1. Element values depend on (seed, name) only: not on
// the stage split, the dtype or the thread count. Gradients are zero.
StageParameters make_parameters(const StageModel::Options& options);

// float64 keeps its dtype, all else accumulates in float32.
at::ScalarType accumulate_dtype(at::ScalarType dtype);

}  // namespace infinipipe
