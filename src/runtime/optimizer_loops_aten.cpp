#include "runtime/optimizer_loops_aten.h"

#include <ATen/ops/dot.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "model/common/fused/choose.h"
#include "model/common/fused/tensors.h"

namespace infinipipe::device_loops {

namespace {

bool serves(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kFloat && tensor.is_contiguous();
}

template <class Block>
void in_blocks(std::int64_t count, const Block& block) {
  for (std::int64_t begin = 0; begin < count; begin += kBlockElements)
    block(begin, std::min(kBlockElements, count - begin));
}

}  // namespace

void adamw(const fused::Launchers* launchers, const at::Tensor& weight, const at::Tensor& grad,
           const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq, const at::Tensor& copy,
           const loops::AdamWNumbers& numbers) {
  const bool copied =
      !copy.defined() || (copy.scalar_type() == at::kBFloat16 && copy.is_contiguous());
  if (launchers != nullptr && copied && serves(weight) && serves(grad)) {
    const auto data = [](const at::Tensor& tensor) { return tensor.mutable_data_ptr<float>(); };
    fused::start(launchers->adamw,
                 fused::AdamWWork{.weight = data(weight),
                                  .grad = grad.const_data_ptr<float>(),
                                  .exp_avg = data(exp_avg),
                                  .exp_avg_sq = data(exp_avg_sq),
                                  .copy = copy.defined() ? copy.mutable_data_ptr() : nullptr,
                                  .count = weight.numel(),
                                  .factor = numbers.factor,
                                  .beta1 = numbers.beta1,
                                  .beta2 = numbers.beta2,
                                  .eps = numbers.eps,
                                  .keep = numbers.keep,
                                  .rate = numbers.rate,
                                  .root = numbers.root},
                 weight);
    return;
  }
  in_blocks(weight.numel(), [&](std::int64_t begin, std::int64_t size) {
    const auto part = [&](const at::Tensor& x) { return x.view(-1).narrow(0, begin, size); };
    const at::Tensor gradient = part(grad), mean = part(exp_avg), square = part(exp_avg_sq);
    mean.mul_(numbers.beta1).add_(gradient, (1.0 - numbers.beta1) * numbers.factor);
    square.mul_(numbers.beta2)
        .addcmul_(gradient, gradient, (1.0 - numbers.beta2) * numbers.factor * numbers.factor);
    const at::Tensor denominator = at::sqrt(square).mul_(numbers.root).add_(numbers.eps);
    part(weight).mul_(numbers.keep).addcdiv_(mean, denominator, -numbers.rate);
  });
  if (copy.defined()) copy.copy_(weight);
}

double sum_of_squares(const fused::Launchers* launchers, std::span<const at::Tensor> tensors) {
  if (tensors.empty()) return 0.0;
  if (launchers == nullptr || !std::ranges::all_of(tensors, serves)) {
    at::Tensor sum = at::zeros({}, tensors[0].options().dtype(at::kDouble));
    for (const at::Tensor& each : tensors) {
      in_blocks(each.numel(), [&](std::int64_t begin, std::int64_t size) {
        const at::Tensor exact = each.view(-1).narrow(0, begin, size).to(at::kDouble);
        sum.add_(at::dot(exact, exact));
      });
    }
    return sum.item<double>();
  }
  std::int64_t parts = 0;
  for (const at::Tensor& each : tensors) parts += fused::squares_parts(each.numel());
  const auto exact = tensors[0].options().dtype(at::kDouble);
  const at::Tensor partial = at::empty({parts}, exact), total = at::empty({1}, exact);
  auto* at = partial.mutable_data_ptr<double>();
  for (const at::Tensor& each : tensors) {
    const std::int64_t count = each.numel();
    fused::start(launchers->squares, fused::SquaresWork{each.const_data_ptr<float>(), at, count},
                 each);
    at += fused::squares_parts(count);
  }
  fused::start(
      launchers->total,
      fused::TotalWork{partial.const_data_ptr<double>(), total.mutable_data_ptr<double>(), parts},
      total);
  return total.item<double>();
}

}  // namespace infinipipe::device_loops
