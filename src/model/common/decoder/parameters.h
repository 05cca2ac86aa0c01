// A decoder layer's weights: fused as the kernels want them.
#pragma once

#include "model/common/parameters.h"

namespace infinipipe::decoder {

struct LayerParameters {
  Weight input_norm;   // [D]
  Weight qkv;          // [Q + 2 KV, D]: rows of q, then k, then v
  Weight output;       // [D, Q]
  Weight middle_norm;  // [D]
  Weight gate_up;      // [2 I, D]: rows of gate, then up
  Weight down;         // [D, I]
  // Of some families alone (model/qwen2, model/qwen3); else their tensors are not defined.
  Weight qkv_bias;    // [Q + 2 KV]
  Weight query_norm;  // [head_dim], before RoPE
  Weight key_norm;    // [head_dim]
};

// Of layer `index` of the model, under Hugging Face's names: matrices normal(0, initializer_range),
// o_proj and down_proj scaled by 1 / sqrt(2 x layers of the model), norms 1. Leaves out what some
// families alone have.
LayerParameters make_parameters(const ModelSpec& model, int index, ParameterMaker& make);

}  // namespace infinipipe::decoder
