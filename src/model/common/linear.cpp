#include "model/common/linear.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>

#include <algorithm>

namespace infinipipe::linear {

namespace {

// Small, so that what a call holds for itself is nearly the same for chunks of all sizes.
constexpr std::int64_t kBlockRows = 256;

bool native_bfloat16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;  // a processor with AMX has these as well
#else
  return true;
#endif
}

template <class Block>
void for_blocks(std::int64_t rows, const Block& block) {
  for (std::int64_t begin = 0; begin < rows; begin += kBlockRows)
    block(begin, std::min(kBlockRows, rows - begin));
}

// residual + x M in float32, rounded to bfloat16 once; the residual may be undefined.
at::Tensor widened_product(const at::Tensor& residual, const at::Tensor& x,
                           const at::Tensor& matrix) {
  at::Tensor result = at::empty({x.size(0), matrix.size(1)}, x.options());
  for_blocks(x.size(0), [&](std::int64_t begin, std::int64_t size) {
    at::Tensor part = at::mm(x.narrow(0, begin, size).to(at::kFloat), matrix);
    if (residual.defined()) part.add_(residual.narrow(0, begin, size));
    result.narrow(0, begin, size).copy_(part);
  });
  return result;
}

// True for bfloat16 on a CPU whose matrix products would not be native (no AMX, no AVX512-BF16).
bool widened(const ComputePath& path, const at::Tensor& x) {
  static const bool native = native_bfloat16();
  return x.scalar_type() == at::kBFloat16 && !path.device && !native;
}

// sum += grad^T x with float32 operands, block of rows by block.
void add_widened_product(at::Tensor& sum, const at::Tensor& grad, const at::Tensor& x) {
  for_blocks(x.size(0), [&](std::int64_t begin, std::int64_t size) {
    sum.addmm_(grad.narrow(0, begin, size).to(at::kFloat).t(),
               x.narrow(0, begin, size).to(at::kFloat));
  });
}

// The same with bfloat16 operands, added up in float32: one product on a GPU, which the processor
// has not.
void add_product(at::Tensor& sum, const at::Tensor& grad, const at::Tensor& x) {
  if (sum.device().is_cpu()) return add_widened_product(sum, grad, x);
  at::addmm_out(sum, sum, grad.t(), x, at::kFloat);
}

}  // namespace

at::Tensor apply(const ComputePath& path, const at::Tensor& x, const Weight& weight) {
  if (widened(path, x)) return widened_product({}, x, weight.value.to(at::kFloat).t());
  return at::mm(x, weight.value.t());
}

at::Tensor apply_add(const ComputePath& path, const at::Tensor& residual, const at::Tensor& x,
                     const Weight& weight) {
  if (widened(path, x)) return widened_product(residual, x, weight.value.to(at::kFloat).t());
  return at::addmm(residual, x, weight.value.t());
}

at::Tensor input_grad(const ComputePath& path, const at::Tensor& grad, const Weight& weight) {
  if (widened(path, grad)) return widened_product({}, grad, weight.value.to(at::kFloat));
  return at::mm(grad, weight.value);
}

void weight_grad(const ComputePath& path, const at::Tensor& grad, const at::Tensor& x,
                 Weight& weight) {
  if (weight.grad.scalar_type() == x.scalar_type()) {
    weight.grad.addmm_(grad.t(), x);
  } else if (path.device) {
    add_product(weight.grad, grad, x);
  } else if (widened(path, x)) {
    add_widened_product(weight.grad, grad, x);
  } else {
    weight.grad.add_(at::mm(grad.t(), x));
  }
}

void add_bias(at::Tensor& rows, const Weight& bias) { rows.add_(bias.value); }

void bias_grad(const at::Tensor& grad, Weight& bias) {
  bias.grad.add_(at::sum(grad, {0}, /*keepdim=*/false, bias.grad.scalar_type()));
}

}  // namespace infinipipe::linear
