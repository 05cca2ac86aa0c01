#include "trainer/weights.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/names.h"
#include "data/model_folder.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/dtype.h"

namespace infinipipe {
namespace {

struct Row {
  const char* stored;  // in safetensors
  const char* name;    // in config.json
  at::ScalarType value;
};

constexpr std::array<Row, 4> kRows = {{{"F64", to_string(Dtype::kFloat64), at::kDouble},
                                       {"F32", to_string(Dtype::kFloat32), at::kFloat},
                                       {"BF16", to_string(Dtype::kBfloat16), at::kBFloat16},
                                       {"F16", "float16", at::kHalf}}};

constexpr std::int64_t kPiece = std::int64_t{1} << 22;  // values

}  // namespace

const char* safetensors_dtype(at::ScalarType dtype) {
  for (const Row& row : kRows) {
    if (row.value == dtype) return row.stored;
  }
  INFINIPIPE_ASSERT(false, "a dtype that weights never have");
  return "";
}

at::ScalarType weight_dtype(std::string_view dtype, const std::string& where) {
  std::vector<std::string> names;
  for (const Row& row : kRows) {
    if (dtype == row.stored) return row.value;
    names.emplace_back(row.stored);
  }
  throw InputError(where, "found dtype " + std::string(dtype), "expected " + listed(names));
}

const char* dtype_name(std::string_view safetensors) {
  for (const Row& row : kRows) {
    if (safetensors == row.stored) return row.name;
  }
  return nullptr;
}

std::string weight_dtype_names() { return listed(names_of(kRows)); }

const char* safetensors_dtype_named(std::string_view name) {
  for (const Row& row : kRows) {
    if (name == row.name) return row.stored;
  }
  return nullptr;
}

bool all_finite(const at::Tensor& tensor) { return at::isfinite(tensor).all().item<bool>(); }

void read_pieces(const SafetensorsFile& file, const StoredTensor& tensor,
                 const std::function<void(const at::Tensor&)>& visit) {
  const std::string where = file.path() + ": " + tensor.info.name;
  const at::ScalarType dtype = weight_dtype(tensor.info.dtype, where);
  const auto width = static_cast<std::int64_t>(tensor_dtype_width(tensor.info.dtype));
  const auto count = static_cast<std::int64_t>(tensor.bytes) / width;
  std::vector<std::byte> bytes(static_cast<std::size_t>(std::min(count, kPiece) * width));
  for (std::int64_t begin = 0; begin < count; begin += kPiece) {
    const std::int64_t size = std::min(kPiece, count - begin);
    const auto span = std::span(bytes).first(static_cast<std::size_t>(size * width));
    file.read_part(tensor, static_cast<std::uint64_t>(begin * width), span);
    const at::Tensor piece = at::from_blob(span.data(), {size}, at::dtype(dtype));
    if (!all_finite(piece)) {
      throw InputError(where, "found a value that is not finite", "expected finite numbers",
                       "use another checkpoint");
    }
    visit(piece);
  }
}

at::Tensor read_weight(const SafetensorsFile& file, const StoredTensor& tensor,
                       const at::Tensor& like) {
  if (tensor.info.shape != like.sizes().vec()) {
    throw InputError(
        file.path() + ": " + tensor.info.name, "found shape " + shape_text(tensor.info.shape),
        "expected " + shape_text(like.sizes().vec()), "load it into the model it was saved from");
  }
  at::Tensor values = at::empty(like.sizes(), like.options().device(at::kCPU));
  const at::Tensor flat = values.view({-1});
  std::int64_t begin = 0;
  read_pieces(file, tensor, [&](const at::Tensor& piece) {
    flat.narrow(0, begin, piece.numel()).copy_(piece);
    begin += piece.numel();
  });
  return values;
}

}  // namespace infinipipe
