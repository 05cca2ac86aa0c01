#include "model/common/dtype.h"

#include "infinipipe/base/error.h"

namespace infinipipe {

at::ScalarType parse_dtype(std::string_view name) {
  if (name == "float64") return at::kDouble;
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  throw InputError("config: training.dtype", "found " + std::string(name),
                   "expected float64, float32 or bfloat16");
}

}  // namespace infinipipe
