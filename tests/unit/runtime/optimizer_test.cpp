#include "runtime/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "runtime/allocator.h"
#include "runtime/optimizer_loops_aten.h"
#include "support/host_launchers.h"

namespace infinipipe {
namespace {

OptimizerConfig config() {
  OptimizerConfig c;
  c.lr = 1e-2;
  c.min_lr_ratio = 0.1;
  c.warmup_steps = 10;
  c.decay_steps = 110;
  return c;
}

TEST(LearningRate, WarmsUpThenFollowsACosine) {
  const OptimizerConfig c = config();
  EXPECT_DOUBLE_EQ(learning_rate(c, 0, 0), 1e-3);
  EXPECT_DOUBLE_EQ(learning_rate(c, 4, 0), 5e-3);
  EXPECT_DOUBLE_EQ(learning_rate(c, 9, 0), 1e-2);
  EXPECT_DOUBLE_EQ(learning_rate(c, 10, 0), 1e-2);
  EXPECT_NEAR(learning_rate(c, 60, 0), 0.55e-2, 1e-15);  // half way
  EXPECT_NEAR(learning_rate(c, 110, 0), 1e-3, 1e-15);
  EXPECT_DOUBLE_EQ(learning_rate(c, 100000, 0), 1e-3);
  for (int step = 11; step < 110; ++step)
    EXPECT_LT(learning_rate(c, step, 0), learning_rate(c, step - 1, 0));
}

TEST(LearningRate, DecaysOverTheRunUnlessToldOtherwise) {
  OptimizerConfig c = config();
  c.decay_steps = 0;
  EXPECT_DOUBLE_EQ(learning_rate(c, 35, 60), learning_rate(config(), 60, 0));
  c.warmup_steps = 0;
  EXPECT_DOUBLE_EQ(learning_rate(c, 0, 60), c.lr);
}

TEST(LearningRate, SurvivesAWarmUpLongerThanTheRun) {
  OptimizerConfig c = config();
  c.decay_steps = 5;
  EXPECT_DOUBLE_EQ(learning_rate(c, 9, 0), c.lr);
  EXPECT_DOUBLE_EQ(learning_rate(c, 10, 0), c.lr);  // its cosine starts where the warm-up ended
  EXPECT_NEAR(learning_rate(c, 11, 0), 0.1 * c.lr, 1e-15);
}

// From step 9, the warm-up's last, to 120: ten steps after the rate has come down.
std::vector<double> rates(LrSchedule schedule, int wsd_decay_steps = 0) {
  OptimizerConfig c = config();
  c.lr_schedule = schedule;
  c.wsd_decay_steps = wsd_decay_steps;
  std::vector<double> all;
  for (int step = 9; step <= 120; ++step) all.push_back(learning_rate(c, step, 0));
  return all;
}

TEST(LearningRate, FallsStraightOrNotAtAll) {
  const std::vector<double> linear = rates(LrSchedule::kLinear);
  for (int step = 10; step <= 120; ++step) {
    const double expected = 1e-2 - 9e-3 * std::min(1.0, (step - 10) / 100.0);
    EXPECT_NEAR(linear.at(step - 9), expected, 1e-15) << step;
  }
  for (const double rate : rates(LrSchedule::kConstant)) EXPECT_NEAR(rate, 1e-2, 1e-17);
}

TEST(LearningRate, IsStableUntilItsLastSteps) {
  for (const int length : {0, 40, 1, 1000}) {  // 0: a fifth of the 110; 1000: from the warm-up on
    const std::vector<double> wsd = rates(LrSchedule::kWarmupStableDecay, length);
    const int begin = length == 0 ? 88 : std::max(10, 110 - length);
    for (int step = 9; step <= 120; ++step) {
      const double progress = std::clamp((step - begin) / (110.0 - begin), 0.0, 1.0);
      EXPECT_NEAR(wsd.at(step - 9), 1e-2 - 9e-3 * progress, 1e-15) << length << " " << step;
    }
  }
}

TEST(ClipFactor, BringsTheNormToTheLimit) {
  OptimizerConfig c;
  c.clip_grad_norm = 2.0;
  EXPECT_EQ(clip_factor(c, 1.5), 1.0);
  EXPECT_EQ(clip_factor(c, 2.0), 1.0);
  EXPECT_NEAR(clip_factor(c, 8.0) * 8.0, 2.0, 1e-6);
  c.clip_grad_norm = 0.0;
  EXPECT_EQ(clip_factor(c, 1e9), 1.0);
}

TEST(SumOfSquares, IsExactAndIndependentOfThreads) {
  const at::Tensor x = at::randn({100003}, at::dtype(at::kFloat));
  const double reference = x.to(at::kDouble).pow(2).sum().item<double>();
  const int threads = at::get_num_threads();
  std::vector<double> sums;
  for (const int n : {1, 2, 3}) {
    at::set_num_threads(n);
    sums.push_back(sum_of_squares({}, x));
  }
  at::set_num_threads(threads);
  EXPECT_NEAR(sums[0], reference, 1e-10 * reference);
  EXPECT_EQ(sums[0], sums[1]);
  EXPECT_EQ(sums[0], sums[2]);
  EXPECT_EQ(sum_of_squares({}, at::full({3}, 2.0, at::dtype(at::kDouble))), 12.0);
  EXPECT_EQ(sum_of_squares({}, at::empty({0}, at::dtype(at::kFloat))), 0.0);
}

TEST(SumOfSquares, ShowsWhatIsNotFinite) {
  at::Tensor x = at::zeros({5000}, at::dtype(at::kFloat));
  x[4999] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isinf(sum_of_squares({}, x)));
  x[17] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(sum_of_squares({}, x)));
}

Parameter make_parameter(std::int64_t rows, bool decay, at::ScalarType dtype) {
  Parameter parameter;
  parameter.name = decay ? "matrix" : "norm";
  parameter.master = at::randn({rows, 7}, at::dtype(dtype));
  parameter.weight = parameter.master;
  parameter.grad = at::zeros_like(parameter.master);
  parameter.decay = decay;
  return parameter;
}

// The textbook, in float64: Loshchilov and Hutter, decoupled weight decay.
struct Textbook {
  at::Tensor w, m, v;
  void step(const OptimizerConfig& c, const at::Tensor& g, int t, double lr, bool decay) {
    if (decay) w = w - lr * c.weight_decay * w;
    m = c.beta1 * m + (1 - c.beta1) * g;
    v = c.beta2 * v + (1 - c.beta2) * g * g;
    const at::Tensor m_hat = m / (1 - std::pow(c.beta1, t));
    const at::Tensor v_hat = v / (1 - std::pow(c.beta2, t));
    w = w - lr * m_hat / (v_hat.sqrt() + c.eps);
  }
};

// What GPUs run, here on the processor: composed, and fused kernels on host threads.
TEST(DeviceLoops, FollowTheProcessorsLoops) {
  const std::pair<at::ScalarType, const fused::Launchers*> ways[] = {
      {at::kDouble, nullptr}, {at::kFloat, nullptr}, {at::kFloat, &testing::host_launchers()}};
  for (const auto& [dtype, launchers] : ways) {
    const at::Tensor grad = at::randn({301, 7}, at::dtype(dtype));
    at::Tensor a[3] = {at::randn_like(grad), at::randn_like(grad), at::rand_like(grad)};
    at::Tensor b[3] = {a[0].clone(), a[1].clone(), a[2].clone()};
    loops::AdamWNumbers numbers;
    numbers.factor = 0.5;
    numbers.keep = 0.99;
    numbers.rate = 0.02;
    numbers.root = 1.5;
    const at::Tensor copy = at::empty_like(grad, at::dtype(at::kBFloat16));
    device_loops::adamw(launchers, a[0], grad, a[1], a[2], copy, numbers);
    EXPECT_TRUE(at::equal(copy, a[0].to(at::kBFloat16)));
    if (dtype == at::kDouble) {
      loops::adamw(b[0].mutable_data_ptr<double>(), grad.const_data_ptr<double>(),
                   b[1].mutable_data_ptr<double>(), b[2].mutable_data_ptr<double>(), grad.numel(),
                   numbers);
    } else {
      loops::adamw(b[0].mutable_data_ptr<float>(), grad.const_data_ptr<float>(),
                   b[1].mutable_data_ptr<float>(), b[2].mutable_data_ptr<float>(), grad.numel(),
                   numbers);
    }
    const double bound = dtype == at::kDouble ? 1e-14 : 1e-6;
    for (int i = 0; i < 3; ++i) {
      EXPECT_LT(((a[i] - b[i]).norm() / b[i].norm()).item<double>(), bound);
    }
    const at::Tensor both[] = {grad, a[0]};
    EXPECT_NEAR(device_loops::sum_of_squares(launchers, both),
                sum_of_squares({}, grad) + sum_of_squares({}, a[0]), 1e-3);
  }
}

// Composed operations hold no copy of a whole parameter, in float64 or otherwise.
TEST(DeviceLoops, HoldLittleForThemselves) {
  memory::install();
  const std::int64_t count = 2 * device_loops::kBlockElements + 5;
  const at::Tensor weight = at::ones({count}, at::dtype(at::kFloat));
  const at::Tensor exp_avg = at::zeros_like(weight), exp_avg_sq = at::zeros_like(weight);
  MemoryMeter& meter = memory::acquire_meter();
  {
    const MemoryScope scope(meter, MemoryPurpose::kWorkspace);
    const double squares = device_loops::sum_of_squares(nullptr, {&weight, 1});
    EXPECT_EQ(squares, static_cast<double>(count));
    device_loops::adamw(nullptr, weight, weight, exp_avg, exp_avg_sq, {}, {});
  }
  const std::int64_t block = 8 * device_loops::kBlockElements;
  EXPECT_GE(meter.peak(), block);  // it does count
  EXPECT_LE(meter.peak(), block + (1 << 16));
  memory::release_meter(meter);
}

class AdamWPrecision : public ::testing::TestWithParam<at::ScalarType> {};
INSTANTIATE_TEST_SUITE_P(Dtypes, AdamWPrecision, ::testing::Values(at::kDouble, at::kFloat));

TEST_P(AdamWPrecision, FollowsTheTextbook) {
  const bool wide = GetParam() == at::kDouble;
  OptimizerConfig c = config();
  c.weight_decay = 0.2;
  std::vector<Parameter> parameters = {make_parameter(4000, true, GetParam()),
                                       make_parameter(3, false, GetParam())};
  AdamW optimizer(c, parameters);
  std::vector<Textbook> books;
  for (const Parameter& p : parameters) {
    const at::Tensor w = p.master.to(at::kDouble, /*non_blocking=*/false, /*copy=*/true);
    books.push_back({w, at::zeros_like(w), at::zeros_like(w)});
  }
  for (int step = 0; step < 20; ++step) {
    const double lr = learning_rate(c, step, 0);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      parameters[i].grad.copy_(at::randn_like(parameters[i].grad) * (step + 1));
      books[i].step(c, 0.25 * parameters[i].grad.to(at::kDouble), step + 1, lr,
                    parameters[i].decay);
    }
    optimizer.step(step, lr, 0.25);
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const double bound = wide ? 1e-13 : 1e-5;
    const auto near = [&](const at::Tensor& a, const at::Tensor& b) {
      return ((a.to(at::kDouble) - b).norm() / b.norm()).item<double>();
    };
    EXPECT_LT(near(parameters[i].master, books[i].w), bound);
    EXPECT_LT(near(optimizer.moments()[i].exp_avg, books[i].m.view({-1})), bound);
    EXPECT_LT(near(optimizer.moments()[i].exp_avg_sq, books[i].v.view({-1})), bound);
  }
}

TEST(AdamW, GradientStaysAndTiedCopiesDoNotCount) {
  std::vector<Parameter> parameters = {make_parameter(2, true, at::kFloat),
                                       make_parameter(2, true, at::kFloat)};
  parameters[1].tied_copy = true;
  for (Parameter& p : parameters) p.grad.fill_(2.0F);
  AdamW optimizer(config(), parameters);
  EXPECT_EQ(optimizer.gradient_squares(), 14 * 4.0);
  optimizer.step(0, 1e-3, 0.5);
  EXPECT_TRUE((parameters[0].grad == 2.0F).all().item<bool>());
}

TEST(AdamW, SameBitsWithAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  std::vector<at::Tensor> results;
  for (const int n : {1, 3}) {
    at::set_num_threads(n);
    at::manual_seed(5);
    std::vector<Parameter> parameters = {make_parameter(30011, true, at::kFloat)};
    AdamW optimizer(config(), parameters);
    for (int step = 0; step < 3; ++step) {
      parameters[0].grad.copy_(at::randn_like(parameters[0].grad));
      optimizer.step(step, 1e-3, 1.0);
    }
    results.push_back(parameters[0].master);
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(results[0], results[1]));
}

}  // namespace
}  // namespace infinipipe
