#include <gtest/gtest.h>

#include "model/common/fused/choose.h"
#include "support/host_block.h"
#include "unit/model/common/fused/numbers.h"

namespace infinipipe::fused {
namespace {

using testing::HostRun;

TEST(FusedSwiglu, ForwardAndBackward) {
  Random random(3);
  for (const Type type : kTypes) {
    for (const std::int64_t packs : {1, 3, 256, 300}) {
      const std::int64_t width = packs * pack_of(type), rows = packs == 1 ? 1 : 3;
      SCOPED_TRACE(width);
      ASSERT_TRUE(serves_swiglu(type, width));
      Array gate_up(type, rows * 2 * width), value(type, rows * width), grad(type, rows * width);
      gate_up.fill(random, 3.0), grad.fill(random);
      const std::vector<double> in = gate_up.values(), incoming = grad.values();
      std::vector<double> expected(incoming.size()), expected_grad(in.size());
      for (std::size_t i = 0; i < incoming.size(); ++i) {
        const auto w = static_cast<std::size_t>(width);
        const std::size_t at = i / w * 2 * w + i % w;
        const double g = in[at], u = in[at + w], sigmoid = 1.0 / (1.0 + std::exp(-g));
        expected[i] = g * sigmoid * u;
        expected_grad[at] = incoming[i] * u * (sigmoid + g * sigmoid * (1.0 - sigmoid));
        expected_grad[at + w] = incoming[i] * g * sigmoid;
      }
      launch(SwigluWork{type, gate_up.data(), value.data(), rows, width}, HostRun{});
      EXPECT_LE(relative_error(value.values(), expected), bound(type));
      EXPECT_EQ(gate_up.values(), in);
      launch(SwigluBackwardWork{type, gate_up.data(), grad.data(), rows, width}, HostRun{});
      EXPECT_EQ(grad.values(), value.values());  // made again, bit-equal
      EXPECT_LE(relative_error(gate_up.values(), expected_grad), bound(type));
    }
    EXPECT_FALSE(serves_swiglu(type, pack_of(type) + 1));
  }
}

TEST(FusedSwiglu, ExtremeGates) {
  Array gate_up(Type::kFloat32, 8), value(Type::kFloat32, 4);
  gate_up.fill({-1000.0, -100.0, 100.0, 1000.0, 1.0, 1.0, 1.0, 1.0});
  launch(SwigluWork{Type::kFloat32, gate_up.data(), value.data(), 1, 4}, HostRun{});
  EXPECT_LE(relative_error(value.values(), {0.0, 0.0, 100.0, 1000.0}), 1e-7);
}

}  // namespace
}  // namespace infinipipe::fused
