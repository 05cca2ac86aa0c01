// Tensors of safetensors files as LibTorch's: their dtypes, and values that are read, looked at and
// converted piece by piece, so that memory is bounded by a piece.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <string_view>

#include "data/safetensors.h"
#include "data/weight_dtype.h"

namespace infinipipe {

// How weights of that dtype are spelled, and back from what is stored: throws InputError(where,
// ...) for a dtype that weights never have.
const WeightDtype& row_of(at::ScalarType dtype);
at::ScalarType weight_dtype(std::string_view stored, const std::string& where);

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
