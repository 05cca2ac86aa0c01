// The CPU's fused loops against the composed operations and against exact values.
#include "model/common/kernels.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "model/common/vector_math.h"
#include "unit/model/model_testing.h"

namespace infinipipe::kernels {
namespace {

using testing::random_tensor;
using testing::relative_error;

struct Type {
  at::ScalarType dtype;
  double bound;
};
constexpr Type kTypes[] = {{at::kDouble, 1e-14}, {at::kFloat, 1e-6}, {at::kBFloat16, 1e-2}};

at::ScalarType acc(at::ScalarType dtype) { return dtype == at::kDouble ? at::kDouble : at::kFloat; }

TEST(Kernels, RmsNorm) {
  for (const Type type : kTypes) {
    for (const std::int64_t width : {1, 7, 16, 33, 256}) {
      const at::Tensor x = random_tensor({300, width}, 1, type.dtype);
      const at::Tensor weight = random_tensor({width}, 2, acc(type.dtype));
      const Normed fused = rms_norm(x, weight, 1e-5);
      const Normed expected = composed::rms_norm(x, weight, 1e-5);
      EXPECT_EQ(fused.rstd.scalar_type(), acc(type.dtype));
      EXPECT_LE(relative_error(fused.value, expected.value), type.bound);
      EXPECT_LE(relative_error(fused.rstd, expected.rstd), type.bound);
      EXPECT_TRUE(at::equal(rms_norm_again(x, fused.rstd, weight), fused.value));

      for (const bool with_residual : {false, true}) {
        const at::Tensor residual =
            with_residual ? random_tensor({300, width}, 3, type.dtype) : at::Tensor();
        at::Tensor grad = random_tensor({300, width}, 4, type.dtype), other = grad.clone();
        at::Tensor sum = random_tensor({width}, 5, acc(type.dtype)), other_sum = sum.clone();
        rms_norm_backward(grad, x, fused.rstd, weight, residual, sum);
        composed::rms_norm_backward(other, x, fused.rstd, weight, residual, other_sum);
        if (width > 1 || with_residual) {  // of one column the exact gradient is nearly 0
          EXPECT_LE(relative_error(grad, other), type.bound);
        }
        EXPECT_LE(relative_error(sum, other_sum), type.bound);
      }
    }
  }
}

TEST(Kernels, RopeSplitAndMerge) {
  const Heads heads{4, 2, 6};
  for (const Type type : kTypes) {
    const at::Tensor qkv = random_tensor({50, 48}, 1, type.dtype);
    const at::Tensor positions = at::arange(50, at::dtype(at::kLong)).flip(0) * 3;
    const at::Tensor table =
        rope_table(200, rope_frequencies({}, 10000.0, heads.dim, 0, 0), at::dtype(acc(type.dtype)));
    const QueryKeyValue fused = rope_split(qkv, positions, table, heads);
    const QueryKeyValue expected = composed::rope_split(qkv, positions, table, heads);
    EXPECT_LE(relative_error(fused.query, expected.query), type.bound);
    EXPECT_LE(relative_error(fused.key, expected.key), type.bound);
    EXPECT_TRUE(at::equal(fused.value, expected.value));
    // A rotation's transpose undoes it; gradients may come in the accumulation dtype.
    const at::Tensor back = rope_merge(fused, positions, table, heads, type.dtype);
    EXPECT_LE(relative_error(back, qkv), type.bound);
    EXPECT_LE(
        relative_error(back, composed::rope_merge(fused, positions, table, heads, type.dtype)),
        type.bound);
    const QueryKeyValue wide{fused.query.to(acc(type.dtype)), fused.key.to(acc(type.dtype)),
                             fused.value.to(acc(type.dtype))};
    EXPECT_TRUE(at::equal(rope_merge(wide, positions, table, heads, type.dtype), back));
  }
}

TEST(Kernels, RopeTableHoldsCosinesAndSines) {
  const at::Tensor table =
      rope_table(2000, rope_frequencies({}, 500.0, 8, 0, 0), at::dtype(at::kDouble));
  for (const std::int64_t position : {0, 1, 1999}) {
    for (std::int64_t i = 0; i < 4; ++i) {
      const double angle =
          static_cast<double>(position) * std::pow(500.0, -static_cast<double>(i) / 4);
      EXPECT_NEAR(table[position][i].item<double>(), std::cos(angle), 1e-12);
      EXPECT_NEAR(table[position][4 + i].item<double>(), std::sin(angle), 1e-12);
    }
  }
}

TEST(Kernels, Swiglu) {
  for (const Type type : kTypes) {
    for (const std::int64_t width : {1, 5, 44, 129}) {
      at::Tensor gate_up = random_tensor({70, 2 * width}, 1, type.dtype) * 3;
      const at::Tensor hidden = swiglu(gate_up);
      EXPECT_LE(relative_error(hidden, composed::swiglu(gate_up)), type.bound);
      at::Tensor grad = random_tensor({70, width}, 2, type.dtype), other = grad.clone();
      at::Tensor other_gate_up = gate_up.clone();
      swiglu_backward(gate_up, grad);
      composed::swiglu_backward(other_gate_up, other);
      EXPECT_TRUE(at::equal(grad, hidden));  // made again, bit-equal
      EXPECT_LE(relative_error(gate_up, other_gate_up), type.bound);
    }
  }
}

TEST(Kernels, SwigluOfExtremeGates) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const at::Tensor gate_up =
        at::tensor({-1000.0, -200.0, -89.0, 0.0, 89.0, 200.0, 1000.0, 1., 1., 1., 1., 1., 1., 1.},
                   at::dtype(dtype))
            .view({1, 14});
    const at::Tensor out = swiglu(gate_up)[0];
    for (const std::int64_t i : {0, 1, 2}) EXPECT_NEAR(out[i].item<double>(), 0.0, 1e-30);
    EXPECT_EQ(out[3].item<double>(), 0.0);
    for (const std::int64_t i : {4, 5, 6})
      EXPECT_EQ(out[i].item<double>(), gate_up[0][i].item<double>());
  }
  const at::Tensor broken =
      at::full({1, 40}, std::numeric_limits<float>::quiet_NaN(), at::dtype(at::kFloat));
  EXPECT_TRUE(swiglu(broken).isnan().all().item<bool>());
  EXPECT_TRUE(swiglu(-broken).isnan().all().item<bool>());
}

TEST(Kernels, CrossEntropy) {
  for (const Type type : kTypes) {
    for (const std::int64_t vocabulary : {2, 16, 61, 257}) {
      at::Tensor logits = random_tensor({90, vocabulary}, 1, type.dtype) * 4;
      const at::Tensor target = at::arange(90, at::dtype(at::kLong)) % vocabulary;
      at::Tensor weight = random_tensor({90}, 2, at::kFloat).abs();
      weight.slice(0, 10, 20).zero_();
      target.slice(0, 10, 20).fill_(-1);  // no target, no weight
      at::Tensor other = logits.clone(), untouched = logits.clone();
      const double loss = cross_entropy(logits, target, weight, 0.125, true).item<double>();
      EXPECT_NEAR(loss, composed::cross_entropy(other, target, weight, 0.125, true).item<double>(),
                  std::abs(loss) * std::min(type.bound, 1e-6));
      EXPECT_LE(relative_error(logits, other), type.bound);
      EXPECT_EQ(logits.slice(0, 10, 20).abs().max().item<double>(), 0.0);
      const at::Tensor before = untouched.clone();
      EXPECT_EQ(cross_entropy(untouched, target, weight, 0.125, false).item<double>(), loss);
      EXPECT_TRUE(at::equal(untouched, before));
    }
  }
}

TEST(Kernels, CrossEntropyOfFarLogits) {
  at::Tensor logits = at::tensor({5000.0F, -5000.0F, 0.0F}, at::dtype(at::kFloat)).view({1, 3});
  const at::Tensor target = at::tensor({1}, at::dtype(at::kLong));
  EXPECT_EQ(cross_entropy(logits, target, at::ones({1}), 1.0, true).item<double>(), 10000.0);
  EXPECT_TRUE(at::equal(logits, at::tensor({1.0F, -1.0F, 0.0F}).view({1, 3})));
  at::Tensor broken = at::tensor({1.0F, std::numeric_limits<float>::quiet_NaN()}).view({1, 2});
  EXPECT_TRUE(std::isnan(cross_entropy(broken, target, at::ones({1}), 1.0, true).item<double>()));
  at::Tensor fine = at::zeros({1, 3});
  EXPECT_THROW(cross_entropy(fine, at::tensor({3}, at::dtype(at::kLong)), at::ones({1}), 1.0, true),
               std::logic_error);
}

TEST(Kernels, EmbeddingBackward) {
  for (const Type type : kTypes) {
    const at::Tensor ids = (at::arange(200, at::dtype(at::kLong)) * 7) % 13;
    const at::Tensor rows = random_tensor({200, 130}, 1, type.dtype);
    at::Tensor grad = random_tensor({13, 130}, 2, acc(type.dtype)), other = grad.clone();
    embedding_backward(ids, rows, grad);
    composed::embedding_backward(ids, rows, other);
    EXPECT_LE(relative_error(grad, other), 1e-6);
  }
}

TEST(Kernels, ThreadCountChangesNoBit) {
  const at::Tensor x = random_tensor({3000, 64}, 1, at::kFloat);
  const at::Tensor weight = random_tensor({64}, 2, at::kFloat);
  const Normed normed = rms_norm(x, weight, 1e-5);
  const int threads = at::get_num_threads();
  std::vector<at::Tensor> sums;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    at::Tensor grad = random_tensor({3000, 64}, 3, at::kFloat), sum = at::zeros({64});
    rms_norm_backward(grad, x, normed.rstd, weight, {}, sum);
    at::Tensor table = at::zeros({5, 64});
    embedding_backward(at::arange(3000, at::dtype(at::kLong)) % 5, grad, table);
    sums.push_back(at::cat({sum.unsqueeze(0), table}));
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(sums[0], sums[1]));
  EXPECT_TRUE(at::equal(sums[0], sums[2]));
}

TEST(VectorMath, ExponentialsAreNearExact) {
  double worst_float = 0.0, worst_double = 0.0;
  for (int i = -80000; i <= 80000; ++i) {
    const double x = i * 1.0009e-3;
    const auto narrow = static_cast<float>(x);
    const double exact = std::exp(static_cast<double>(narrow));
    worst_float = std::max(worst_float, std::abs(exponential(narrow) / exact - 1.0));
    worst_double = std::max(worst_double, std::abs(exponential(x) / std::exp(x) - 1.0));
  }
  EXPECT_LE(worst_float, 3e-7);
  EXPECT_LE(worst_double, 1e-15);
  EXPECT_EQ(exponential(0.0F), 1.0F);
  EXPECT_EQ(exponential(-200.0F), 0.0F);
  EXPECT_EQ(exponential(-2000.0), 0.0);
  EXPECT_TRUE(std::isfinite(exponential(500.0F)));
  EXPECT_TRUE(std::isnan(exponential(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(exponential(-std::numeric_limits<double>::quiet_NaN())));
}

TEST(VectorMath, HalfPrecisionRoundsToNearestEven) {
  Random random(1);
  for (int i = 0; i < 10000; ++i) {
    const auto x = static_cast<float>(random.normal() * std::exp(20 * random.normal()));
    c10::BFloat16 stored;
    store(stored, x);
    EXPECT_EQ(stored.x, c10::BFloat16(x).x) << x;
    EXPECT_EQ(load(stored), static_cast<float>(stored));
  }
  c10::BFloat16 broken;
  store(broken, std::bit_cast<float>(0x7f800001U));  // a NaN with only a low mantissa bit
  EXPECT_TRUE(std::isnan(load(broken)));
}

}  // namespace
}  // namespace infinipipe::kernels
