#include "runtime/optimizer.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "infinipipe/base/error.h"
#include "runtime/optimizer_loops.h"
#include "runtime/optimizer_loops_aten.h"

namespace infinipipe {

namespace {

constexpr std::int64_t kBlock = 1 << 14;  // elements that one thread handles at a time

}  // namespace

double learning_rate(const OptimizerConfig& config, int step, int total_steps) {
  if (step < config.warmup_steps) return config.lr * (step + 1) / config.warmup_steps;
  const int end = config.decay_steps > 0 ? config.decay_steps : total_steps;
  // 0 until `begin`, 1 from `end` on.
  const auto progress = [&](int begin) {
    return std::clamp((step - begin) / static_cast<double>(std::max(1, end - begin)), 0.0, 1.0);
  };
  double above = 1.0;  // the share of the way from the lowest rate to lr
  switch (config.lr_schedule) {
    case LrSchedule::kCosine:
      above = 0.5 * (1.0 + std::cos(std::numbers::pi * progress(config.warmup_steps)));
      break;
    case LrSchedule::kLinear:
      above = 1.0 - progress(config.warmup_steps);
      break;
    case LrSchedule::kConstant:
      break;
    case LrSchedule::kWarmupStableDecay: {
      const int length = config.wsd_decay_steps > 0 ? config.wsd_decay_steps : (end + 4) / 5;
      above = 1.0 - progress(std::max(config.warmup_steps, end - length));
      break;
    }
  }
  const double low = config.lr * config.min_lr_ratio;
  return low + (config.lr - low) * above;
}

double clip_factor(const OptimizerConfig& config, double grad_norm) {
  if (config.clip_grad_norm <= 0.0 || grad_norm <= config.clip_grad_norm) return 1.0;
  return std::min(1.0, config.clip_grad_norm / (grad_norm + 1e-6));
}

double sum_of_squares(const ComputePath& path, const at::Tensor& tensor) {
  INFINIPIPE_ASSERT(tensor.is_contiguous(), "gradients are contiguous");
  if (path.device) return device_loops::sum_of_squares(path.launchers, {&tensor, 1});
  const std::int64_t count = tensor.numel();
  std::vector<double> partial(static_cast<std::size_t>((count + kBlock - 1) / kBlock));
  const auto add = [&](const auto* data) {
    at::parallel_for(0, static_cast<std::int64_t>(partial.size()), 1,
                     [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t block = begin; block < end; ++block) {
                         const std::int64_t at = block * kBlock;
                         partial[static_cast<std::size_t>(block)] =
                             loops::sum_of_squares(data + at, std::min(kBlock, count - at));
                       }
                     });
  };
  if (tensor.scalar_type() == at::kDouble) {
    add(tensor.const_data_ptr<double>());
  } else {
    add(tensor.const_data_ptr<float>());
  }
  double sum = 0.0;
  for (const double part : partial) sum += part;
  return sum;
}

AdamW::AdamW(const OptimizerConfig& config, std::vector<Parameter>& parameters,
             const ComputePath& path, int rank, int size)
    : config_(config), path_(path), parameters_(parameters), rank_(rank), size_(size) {
  for (const Parameter& parameter : parameters_) {
    const at::Tensor part = own(parameter.master);
    moments_.push_back({at::zeros_like(part), at::zeros_like(part)});
  }
}

double AdamW::gradient_squares() const {
  std::vector<at::Tensor> gradients;
  for (const Parameter& parameter : parameters_)
    if (parameter.trained && !parameter.tied_copy) gradients.push_back(own(parameter.grad));
  if (path_.device) return device_loops::sum_of_squares(path_.launchers, gradients);
  double sum = 0.0;
  for (const at::Tensor& each : gradients) sum += sum_of_squares(path_, each);
  return sum;
}

bool AdamW::step(int step, double lr, double factor) {
  bool copied = size_ == 1;
  const double correction1 = 1.0 - std::pow(config_.beta1, step + 1);
  const double correction2 = 1.0 - std::pow(config_.beta2, step + 1);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& parameter = parameters_[i];
    if (!parameter.trained) continue;
    const Moments& moments = moments_[i];
    const at::Tensor master = own(parameter.master);
    const at::Tensor grad = own(parameter.grad);
    loops::AdamWNumbers numbers;
    numbers.factor = factor;
    numbers.beta1 = config_.beta1;
    numbers.beta2 = config_.beta2;
    numbers.eps = config_.eps;
    numbers.keep = parameter.decay ? 1.0 - lr * config_.weight_decay : 1.0;
    numbers.rate = lr / correction1;
    numbers.root = 1.0 / std::sqrt(correction2);
    if (path_.device) {
      // Of several replicas none has all new masters yet.
      const bool copies = size_ == 1 && !parameter.weight.is_alias_of(parameter.master);
      device_loops::adamw(path_.launchers, master, grad, moments.exp_avg, moments.exp_avg_sq,
                          copies ? own(parameter.weight) : at::Tensor(), numbers);
      continue;
    }
    copied = false;
    const auto update = [&](auto* weight, const auto* gradient, auto* exp_avg, auto* exp_avg_sq) {
      at::parallel_for(0, master.numel(), kBlock, [&](std::int64_t begin, std::int64_t end) {
        loops::adamw(weight + begin, gradient + begin, exp_avg + begin, exp_avg_sq + begin,
                     end - begin, numbers);
      });
    };
    if (master.scalar_type() == at::kDouble) {
      update(master.mutable_data_ptr<double>(), grad.const_data_ptr<double>(),
             moments.exp_avg.mutable_data_ptr<double>(),
             moments.exp_avg_sq.mutable_data_ptr<double>());
    } else {
      update(master.mutable_data_ptr<float>(), grad.const_data_ptr<float>(),
             moments.exp_avg.mutable_data_ptr<float>(),
             moments.exp_avg_sq.mutable_data_ptr<float>());
    }
  }
  return copied;
}

}  // namespace infinipipe
