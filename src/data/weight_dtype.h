// The dtypes that weights are stored in, as safetensors and as config.json spell them.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "infinipipe/core/dtype.h"

namespace infinipipe {

struct WeightDtype {
  const char* stored;  // in safetensors
  const char* name;    // in config.json
};

inline constexpr std::array<WeightDtype, 4> kWeightDtypes = {{{"BF16", to_string(Dtype::kBfloat16)},
                                                              {"F16", "float16"},
                                                              {"F32", to_string(Dtype::kFloat32)},
                                                              {"F64", to_string(Dtype::kFloat64)}}};

// Its place in the table of what is stored so. Throws InputError(where, ...) for a dtype that
// weights never have.
std::size_t require_weight_dtype(std::string_view stored, const std::string& where);

}  // namespace infinipipe
