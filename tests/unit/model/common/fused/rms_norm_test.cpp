#include <gtest/gtest.h>

#include "model/common/fused/choose.h"
#include "support/host_block.h"
#include "unit/model/common/fused/numbers.h"

namespace infinipipe::fused {
namespace {

using testing::HostRun;

struct Shape {
  std::int64_t packs;
  std::int64_t rows;
};
// Every deal of threads over rows (choose.h): full and not, one row, rows that fill no block.
constexpr Shape kShapes[] = {{1, 1},   {8, 70},  {11, 33}, {16, 17}, {32, 9},   {40, 1},
                             {128, 9}, {130, 3}, {256, 9}, {257, 2}, {1000, 2}, {2048, 2}};
constexpr double kEps = 1e-5;

struct Case {
  Type type;
  std::int64_t rows, columns;
  std::vector<double> x, weight, grad, residual;
};

double dot(const Case& c, std::int64_t row, const auto& term) {
  double sum = 0.0;
  for (std::int64_t j = 0; j < c.columns; ++j)
    sum += term(static_cast<std::size_t>(row * c.columns + j), static_cast<std::size_t>(j));
  return sum;
}

std::vector<double> rstd_of(const Case& c) {
  std::vector<double> result;
  for (std::int64_t i = 0; i < c.rows; ++i) {
    const double squares = dot(c, i, [&](auto at, auto) { return c.x[at] * c.x[at]; });
    result.push_back(1.0 / std::sqrt(squares / static_cast<double>(c.columns) + kEps));
  }
  return result;
}

TEST(FusedRmsNorm, ForwardAndAgain) {
  Random random(1);
  for (const Type type : kTypes) {
    for (const auto& [packs, rows] : kShapes) {
      const std::int64_t columns = packs * pack_of(type), count = rows * columns;
      SCOPED_TRACE(::testing::Message() << rows << " x " << columns);
      ASSERT_TRUE(serves_norm(type, columns));
      Array x(type, count), weight(Type::kFloat32, columns), value(type, count), again(type, count);
      Array rstd(Type::kFloat32, rows);
      x.fill(random), weight.fill(random);
      RmsNormWork work{type, x.data(), weight.data<float>(), value.data(), rstd.data<float>()};
      work.eps = kEps, work.rows = rows, work.columns = columns;
      launch(work, HostRun{});
      const Case c{type, rows, columns, x.values(), weight.values(), {}, {}};
      const std::vector<double> scale = rstd_of(c);
      std::vector<double> expected = c.x;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        expected[i] *= scale[i / static_cast<std::size_t>(columns)] *
                       c.weight[i % static_cast<std::size_t>(columns)];
      }
      EXPECT_LE(relative_error(rstd.values(), scale), 2e-6);
      EXPECT_LE(relative_error(value.values(), expected), bound(type));

      work.value = again.data(), work.rstd = nullptr, work.kept = rstd.data<float>();
      launch(work, HostRun{});
      EXPECT_EQ(again.values(), value.values());  // bit-equal
    }
  }
}

TEST(FusedRmsNorm, Backward) {
  Random random(2);
  for (const Type type : kTypes) {
    for (const auto& [packs, rows] : kShapes) {
      const std::int64_t columns = packs * pack_of(type), count = rows * columns;
      const bool with_residual = random.next() % 2 == 0;
      SCOPED_TRACE(::testing::Message() << rows << " x " << columns);
      Array x(type, count), weight(Type::kFloat32, columns), grad(type, count);
      Array residual(type, count), rstd(Type::kFloat32, rows), sum(Type::kFloat32, columns);
      x.fill(random), weight.fill(random), grad.fill(random), residual.fill(random);
      sum.fill(random);
      Case c{type, rows, columns, x.values(), weight.values(), grad.values(), residual.values()};
      if (!with_residual) std::fill(c.residual.begin(), c.residual.end(), 0.0);
      const std::vector<double> scale = rstd_of(c);
      rstd.fill(scale);
      std::vector<double> expected = c.grad, expected_sum = sum.values();
      for (std::int64_t i = 0; i < rows; ++i) {
        const double s = scale[static_cast<std::size_t>(i)];
        const double mean =
            dot(c, i, [&](auto at, auto j) { return c.grad[at] * c.weight[j] * c.x[at] * s; }) /
            static_cast<double>(columns);
        dot(c, i, [&](auto at, auto j) {
          expected[at] = s * (c.grad[at] * c.weight[j] - c.x[at] * s * mean) + c.residual[at];
          return expected_sum[j] += c.grad[at] * c.x[at] * s;
        });
      }
      const std::int64_t partials = std::min<std::int64_t>(2, norm_partials(type, rows, columns));
      Array partial(Type::kFloat32, partials * columns);
      RmsNormBackwardWork work{type, grad.data(), x.data(), rstd.data<float>(),
                               weight.data<float>()};
      work.residual = with_residual ? residual.data() : nullptr;
      work.weight_grad = sum.data<float>();
      work.partial = partial.data<float>(), work.partials = partials;
      work.rows = rows, work.columns = columns;
      launch(work, HostRun{});
      EXPECT_LE(relative_error(grad.values(), expected), bound(type));
      EXPECT_LE(relative_error(sum.values(), expected_sum), 2e-6);
    }
  }
}

TEST(FusedRmsNorm, ServesWhatItHasThreadsFor) {
  for (const Type type : kTypes) {
    const std::int64_t most = most_norm_columns(type);
    EXPECT_TRUE(serves_norm(type, most));
    EXPECT_FALSE(serves_norm(type, most + pack_of(type)));
    EXPECT_FALSE(serves_norm(type, pack_of(type) + 1));
    EXPECT_FALSE(serves_norm(type, 0));
    with_deal(most / pack_of(type),
              [&]<class D>(D) { EXPECT_EQ(D::kRow * D::kHold * pack_of(type), most); });
  }
}

}  // namespace
}  // namespace infinipipe::fused
