// Compute dtypes by the names that configurations use.
#pragma once

#include <c10/core/ScalarType.h>

#include <string_view>

namespace infinipipe {

// "float64", "float32", "bfloat16". Throws InputError for any other name.
at::ScalarType parse_dtype(std::string_view name);

}  // namespace infinipipe
