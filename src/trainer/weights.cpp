#include "trainer/weights.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "data/model_folder.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// In the order of kWeightDtypes.
constexpr std::array<at::ScalarType, kWeightDtypes.size()> kValues = {at::kBFloat16, at::kHalf,
                                                                      at::kFloat, at::kDouble};

constexpr std::int64_t kPiece = std::int64_t{1} << 22;  // values

}  // namespace

const WeightDtype& row_of(at::ScalarType dtype) {
  const auto found = std::find(kValues.begin(), kValues.end(), dtype);
  INFINIPIPE_ASSERT(found != kValues.end(), "a dtype that weights never have");
  return kWeightDtypes[static_cast<std::size_t>(found - kValues.begin())];
}

at::ScalarType weight_dtype(std::string_view stored, const std::string& where) {
  return kValues[require_weight_dtype(stored, where)];
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
