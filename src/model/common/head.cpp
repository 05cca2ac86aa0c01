#include "model/common/head.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "infinipipe/base/error.h"
#include "model/common/kernels.h"
#include "model/common/linear.h"

namespace infinipipe {

namespace {

Tokens most_of(const ComputePath& path, std::int64_t vocabulary, Tokens most_tokens) {
  if (path.device) {
    const Tokens suits = path.launchers != nullptr ? Head::kDeviceBlock : Head::kComposedBlock;
    return most_tokens > 0 ? std::min(most_tokens, suits) : suits;
  }
  const Tokens most = most_tokens > 0 ? most_tokens : Head::kBlockTokens;
  return std::clamp(Head::kBlockLogits / vocabulary, Head::kLeastBlock,
                    std::max(Head::kLeastBlock, most));
}

}  // namespace

Head::Head(const ModelSpec& model, Weight& norm, Weight& projection, Tokens most_tokens,
           const StageContext& context)
    : eps_(model.rms_norm_eps),
      block_(most_of(context.path, model.vocab_size, most_tokens)),
      norm_(norm),
      projection_(projection),
      context_(context) {}

Head::Result Head::loss(const at::Tensor& hidden, const ChunkTargets& targets, bool gradient) {
  const auto timer = context_.head();
  const std::int64_t count = hidden.size(0);
  INFINIPIPE_ASSERT(targets.target.size(0) == count && targets.weight.size(0) == count,
                    "targets do not match the chunk's tokens");
  Result result;
  result.loss = at::zeros({}, hidden.options().dtype(at::kDouble));
  if (gradient) result.hidden_grad = at::empty_like(hidden);
  if (!gradient) result.terms = at::empty({count}, result.loss.options());
  for (std::int64_t begin = 0; begin < count; begin += block_) {
    const std::int64_t size = std::min(block_, count - begin);
    const auto rows = [&](const at::Tensor& x) { return x.narrow(0, begin, size); };
    const kernels::Normed normed =
        kernels::rms_norm(context_.path, rows(hidden), norm_.value, eps_);
    at::Tensor logits = linear::apply(context_.path, normed.value, projection_);
    at::Tensor terms;
    result.loss.add_(kernels::cross_entropy(context_.path, logits, rows(targets.target),
                                            rows(targets.weight), 1.0 / targets.normalizer,
                                            gradient, gradient ? nullptr : &terms));
    if (!gradient) {
      rows(result.terms).copy_(terms);
      continue;
    }
    linear::weight_grad(context_.path, logits, normed.value, projection_);
    at::Tensor grad = linear::input_grad(context_.path, logits, projection_);
    kernels::rms_norm_backward(context_.path, grad, rows(hidden), normed.rstd, norm_.value,
                               /*residual=*/{}, norm_.grad);
    rows(result.hidden_grad).copy_(grad);
  }
  return result;
}

at::Tensor Head::logits(const at::Tensor& hidden) const {
  const kernels::Normed normed = kernels::rms_norm(context_.path, hidden, norm_.value, eps_);
  return linear::apply(context_.path, normed.value, projection_)
      .to(accumulate_dtype(hidden.scalar_type()));
}

}  // namespace infinipipe
