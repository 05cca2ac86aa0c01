// The fused kernels as a GPU's tensors would reach them, run on host threads, against the composed
// operations.
#include "model/common/kernels_device.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "infinipipe/base/error.h"
#include "model/common/fused/tensors.h"
#include "support/host_launchers.h"
#include "unit/model/model_testing.h"

namespace infinipipe::kernels {
namespace {

using testing::host_launchers;
using testing::random_tensor;
using testing::relative_error;

struct Type {
  at::ScalarType dtype;
  double bound;
};
constexpr Type kTypes[] = {{at::kFloat, 2e-6}, {at::kBFloat16, 1e-2}};

// A table without launchers: what is not served must not ask it.
constexpr fused::Launchers kNobody;

TEST(KernelsOnDevice, Norm) {
  for (const Type type : kTypes) {
    const at::Tensor x = random_tensor({5, 48}, 1, type.dtype);
    const at::Tensor weight = random_tensor({48}, 2, at::kFloat);
    const Normed found = on_device::rms_norm(&host_launchers(), x, weight, 1e-5);
    const Normed expected = composed::rms_norm(x, weight, 1e-5);
    EXPECT_LE(relative_error(found.value, expected.value), type.bound);
    EXPECT_LE(relative_error(found.rstd, expected.rstd), 2e-6);
    EXPECT_TRUE(at::equal(on_device::rms_norm_again(&host_launchers(), x, found.rstd, weight),
                          found.value));
    for (const at::Tensor& residual : {at::Tensor(), random_tensor({5, 48}, 3, type.dtype)}) {
      at::Tensor grad = random_tensor({5, 48}, 4, type.dtype), other = grad.clone();
      at::Tensor sum = random_tensor({48}, 5, at::kFloat), other_sum = sum.clone();
      on_device::rms_norm_backward(&host_launchers(), grad, x, found.rstd, weight, residual, sum);
      composed::rms_norm_backward(other, x, found.rstd, weight, residual, other_sum);
      EXPECT_LE(relative_error(grad, other), type.bound);
      EXPECT_LE(relative_error(sum, other_sum), 2e-6);
    }
  }
}

TEST(KernelsOnDevice, Rope) {
  const Heads heads{3, 1, 32};
  for (const Type type : kTypes) {
    const at::Tensor qkv = random_tensor({4, 160}, 1, type.dtype);
    const at::Tensor positions = at::arange(4, at::dtype(at::kLong)) * 5;
    const at::Tensor table = random_tensor({20, 32}, 2, at::kFloat);
    const auto found = on_device::rope_split(&host_launchers(), qkv, positions, table, heads);
    const auto expected = composed::rope_split(qkv, positions, table, heads);
    EXPECT_LE(relative_error(found.query, expected.query), type.bound);
    EXPECT_LE(relative_error(found.key, expected.key), type.bound);
    EXPECT_TRUE(at::equal(found.value, expected.value));
    const QueryKeyValue wide{found.query.to(at::kFloat), found.key.to(at::kFloat),
                             found.value.to(at::kFloat)};
    for (const QueryKeyValue& grad : {found, wide}) {
      const at::Tensor merged =
          on_device::rope_merge(&host_launchers(), grad, positions, table, heads, type.dtype);
      EXPECT_EQ(merged.scalar_type(), type.dtype);
      EXPECT_LE(
          relative_error(merged, composed::rope_merge(grad, positions, table, heads, type.dtype)),
          type.bound);
    }
  }
}

TEST(KernelsOnDevice, Swiglu) {
  for (const Type type : kTypes) {
    at::Tensor gate_up = random_tensor({3, 80}, 1, type.dtype), other = gate_up.clone();
    const at::Tensor hidden = on_device::swiglu(&host_launchers(), gate_up);
    EXPECT_LE(relative_error(hidden, composed::swiglu(gate_up)), type.bound);
    at::Tensor grad = random_tensor({3, 40}, 2, type.dtype), other_grad = grad.clone();
    on_device::swiglu_backward(&host_launchers(), gate_up, grad);
    composed::swiglu_backward(other, other_grad);
    EXPECT_TRUE(at::equal(grad, hidden));
    EXPECT_LE(relative_error(gate_up, other), type.bound);
  }
}

TEST(KernelsOnDevice, CrossEntropy) {
  const at::Tensor target = at::tensor({4, -1, 60}, at::dtype(at::kLong));
  for (const Type type : kTypes) {
    for (const auto weight_type : {at::kFloat, at::kDouble}) {
      const at::Tensor weight = at::tensor({0.5, 0.0, 2.0}, at::dtype(weight_type));
      at::Tensor logits = random_tensor({3, 61}, 1, type.dtype), other = logits.clone();
      at::Tensor terms, other_terms;
      const at::Tensor loss =
          on_device::cross_entropy(&host_launchers(), logits, target, weight, 0.25, true, &terms);
      EXPECT_LE(relative_error(
                    loss, composed::cross_entropy(other, target, weight, 0.25, true, &other_terms)),
                1e-6);
      EXPECT_LE(relative_error(logits, other), type.bound);
      EXPECT_LE(relative_error(terms, other_terms), 1e-6);
    }
  }
}

// Widths, alignments and dtypes without a kernel go to the composed operations.
TEST(KernelsOnDevice, WhatIsNotServedIsComposed) {
  const at::Tensor odd = random_tensor({2, 6}, 1, at::kBFloat16);
  const at::Tensor ones = random_tensor({6}, 2, at::kFloat);
  EXPECT_TRUE(at::equal(on_device::rms_norm(&kNobody, odd, ones, 1e-5).value,
                        composed::rms_norm(odd, ones, 1e-5).value));
  EXPECT_TRUE(at::equal(on_device::swiglu(&kNobody, odd), composed::swiglu(odd)));
  // A row begins 4 bytes past a multiple of 16.
  const at::Tensor shifted = random_tensor({33}, 3, at::kFloat).narrow(0, 1, 32).view({2, 16});
  EXPECT_TRUE(at::equal(on_device::swiglu(&kNobody, shifted), composed::swiglu(shifted)));
  const at::Tensor exact = random_tensor({2, 32}, 4, at::kDouble);
  EXPECT_TRUE(at::equal(on_device::swiglu(&kNobody, exact), composed::swiglu(exact)));
}

TEST(KernelsOnDevice, ADevicesWordIsARunError) {
  const fused::Launchers::Start<fused::TotalWork> refuses = [](const fused::TotalWork&, void*) {
    return "an illegal memory access";
  };
  try {
    fused::start(refuses, fused::TotalWork{}, random_tensor({1}, 1));
    FAIL() << "no error";
  } catch (const RunError& error) {
    EXPECT_STREQ(error.what(), "the GPU: an illegal memory access");
  }
}

}  // namespace
}  // namespace infinipipe::kernels
