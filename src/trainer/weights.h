// Tensors of safetensors files as LibTorch's: their dtypes, and values that are read, looked at and
// converted piece by piece, so that memory is bounded by a piece.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <string_view>

#include "data/safetensors.h"

namespace infinipipe {

// "F32" of at::kFloat, and back. Throws InputError(where, ...) for a dtype that weights never have.
const char* safetensors_dtype(at::ScalarType dtype);
at::ScalarType weight_dtype(std::string_view dtype, const std::string& where);
// "float32" of "F32", as config.json spells it, and back; null for another one.
const char* dtype_name(std::string_view safetensors);
const char* safetensors_dtype_named(std::string_view name);
std::string weight_dtype_names();  // "float64, float32, bfloat16 or float16"

// Calls `visit` with one flat piece after the other, in the file's dtype, on the CPU; the piece is
// valid during the call. Throws InputError naming the tensor where a value is not finite.
void read_pieces(const SafetensorsFile& file, const StoredTensor& tensor,
                 const std::function<void(const at::Tensor&)>& visit);

// The whole tensor, rounded to the dtype and in the shape of `like`, on the CPU. Throws InputError
// for another shape.
at::Tensor read_weight(const SafetensorsFile& file, const StoredTensor& tensor,
                       const at::Tensor& like);

bool all_finite(const at::Tensor& tensor);

}  // namespace infinipipe
