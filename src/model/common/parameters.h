// A stage's weights: fused storage as the kernels want it, and the logical views by name.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
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

struct StageParameters {
  Weight embedding;   // [V, D]; first stage
  Weight final_norm;  // [D]; last stage
  Weight head;        // [V, D]; last stage; the embedding itself if tied and on the same stage
  std::vector<Weight> stored;   // every fused tensor once, layers' too; shares their storage
  std::vector<Parameter> list;  // logical tensors in model order
};

// Allocates and initialises a stage's weights, in model order, and enters them in `result`, which
// must outlive it. Element values depend on (seed, name) only: not on the stage split, the dtype or
// the thread count. Gradients are zero.
class ParameterMaker final {
 public:
  ParameterMaker(const StageModel::Options& options, StageParameters& result)
      : options_(options), result_(result) {}

  struct Part {
    std::string name;
    std::int64_t rows;
  };
  // A matrix made of row blocks with a name each, normal(0, deviation).
  Weight matrix(const std::vector<Part>& parts, std::int64_t columns, double deviation);
  // A norm's vector of ones.
  Weight norm(const std::string& name, std::int64_t size);
  // A bias of zeros, made of parts with a name each.
  Weight bias(const std::vector<Part>& parts);

  // What stands before and after the layers of every family.
  void embedding();
  void head();

 private:
  Weight matrix(const std::vector<Part>& parts, std::int64_t columns, double deviation,
                bool tied_copy, std::string_view init_name);
  Weight wrap(const at::Tensor& host);
  void enter(const std::vector<Part>& parts, const Weight& weight, bool decay, bool tied_copy);

  const StageModel::Options& options_;
  StageParameters& result_;
};

// float64 keeps its dtype, all else accumulates in float32.
at::ScalarType accumulate_dtype(at::ScalarType dtype);

}  // namespace infinipipe
