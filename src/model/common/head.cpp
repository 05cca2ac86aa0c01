#include "model/common/head.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "infinipipe/base/error.h"
#include "model/common/kernels.h"
#include "model/common/linear.h"

namespace infinipipe {

Head::Head(const ModelSpec& model, Weight& norm, Weight& projection, Tokens block_tokens,
           const WorkClock& clock)
    : eps_(model.rms_norm_eps),
      block_(std::clamp(kBlockLogits / model.vocab_size, kLeastBlock,
                        std::max(kLeastBlock, block_tokens))),
      norm_(norm),
      projection_(projection),
      clock_(clock) {}

Head::Result Head::loss(const at::Tensor& hidden, const ChunkTargets& targets, bool gradient) {
  const auto timer = clock_.head();
  const std::int64_t count = hidden.size(0);
  INFINIPIPE_ASSERT(targets.target.size(0) == count && targets.weight.size(0) == count,
                    "targets do not match the chunk's tokens");
  Result result;
  if (gradient) result.hidden_grad = at::empty_like(hidden);
  if (!gradient) result.terms = at::empty({count}, at::dtype(at::kDouble));
  for (std::int64_t begin = 0; begin < count; begin += block_) {
    const std::int64_t size = std::min(block_, count - begin);
    const auto rows = [&](const at::Tensor& x) { return x.narrow(0, begin, size); };
    const kernels::Normed normed = kernels::rms_norm(rows(hidden), norm_.value, eps_);
    at::Tensor logits = linear::apply(normed.value, projection_);
    at::Tensor terms;
    result.loss +=
        kernels::cross_entropy(logits, rows(targets.target), rows(targets.weight),
                               1.0 / targets.normalizer, gradient, gradient ? nullptr : &terms);
    if (!gradient) {
      rows(result.terms).copy_(terms);
      continue;
    }
    linear::weight_grad(logits, normed.value, projection_);
    at::Tensor grad = linear::input_grad(logits, projection_);
    kernels::rms_norm_backward(grad, rows(hidden), normed.rstd, norm_.value, /*residual=*/{},
                               norm_.grad);
    rows(result.hidden_grad).copy_(grad);
  }
  return result;
}

at::Tensor Head::logits(const at::Tensor& hidden) const {
  const kernels::Normed normed = kernels::rms_norm(hidden, norm_.value, eps_);
  return linear::apply(normed.value, projection_).to(accumulate_dtype(hidden.scalar_type()));
}

}  // namespace infinipipe
