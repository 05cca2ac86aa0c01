#include <gtest/gtest.h>

#include "model/common/fused/choose.h"
#include "support/host_block.h"
#include "unit/model/common/fused/numbers.h"

namespace infinipipe::fused {
namespace {

using testing::HostRun;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kScale = 0.125;

struct Rows {
  std::int64_t columns;
  std::vector<double> logits;
  std::vector<std::int64_t> target;
  std::vector<double> weight;
};

// The kernel on `rows`, at an address `offset` elements past a multiple of 16.
struct Result {
  std::vector<double> logits, terms;
};
Result run(Type type, const Rows& rows, bool gradient, int offset = 0) {
  Array logits(type, static_cast<std::int64_t>(rows.logits.size()), offset);
  logits.fill(rows.logits);
  Result result;
  result.terms.assign(rows.target.size(), std::numeric_limits<double>::quiet_NaN());
  CrossEntropyWork work{
      type,   logits.data(), rows.target.data(), rows.weight.data(), result.terms.data(),
      kScale, gradient};
  work.rows = static_cast<std::int64_t>(rows.target.size()), work.columns = rows.columns;
  launch(work, HostRun{});
  result.logits = logits.values();
  return result;
}

Result expected(const Rows& rows) {
  Result result{rows.logits, {}};
  for (std::size_t r = 0; r < rows.target.size(); ++r) {
    double* row = result.logits.data() + r * static_cast<std::size_t>(rows.columns);
    double* const end = row + rows.columns;
    const double top = *std::max_element(row, end);
    double sum = 0.0;
    for (const double* x = row; x != end; ++x) sum += std::exp(*x - top);
    const double lse = top + std::log(sum), weight = rows.weight[r];
    const double chosen = weight != 0.0 ? row[rows.target[r]] : 0.0;
    result.terms.push_back(weight != 0.0 ? weight * (lse - chosen) : 0.0);
    for (double* x = row; x != end; ++x) *x = weight * kScale * std::exp(*x - lse);
    if (weight != 0.0) row[rows.target[r]] -= weight * kScale;
  }
  return result;
}

TEST(FusedCrossEntropy, LossAndGradientOfAnyWidthAtAnyAddress) {
  Random random(4);
  for (const Type type : kTypes) {
    for (const std::int64_t columns : {1, 7, 61, 1024, 4096 + 3, 3 * 512 * 8 + 13}) {
      SCOPED_TRACE(columns);
      Rows rows{columns, {}, {}, {}};
      for (int r = 0; r < 3; ++r) {
        const bool counts = r != 1;  // a row of weight 0 needs no target
        rows.target.push_back(counts ? random.between(0, columns - 1) : -1);
        rows.weight.push_back(counts ? random.uniform() + 0.1 : 0.0);
      }
      Array shape(type, 3 * columns);
      shape.fill(random, 4.0);
      rows.logits = shape.values();
      const int offset = static_cast<int>(random.between(0, pack_of(type) - 1));
      const Result reference = expected(rows);
      const Result found = run(type, rows, true, offset);
      EXPECT_LE(relative_error(found.terms, reference.terms), 1e-6);
      EXPECT_LE(relative_error(found.logits, reference.logits), bound(type));
      const Result loss = run(type, rows, false, offset);
      EXPECT_EQ(loss.terms, found.terms);
      EXPECT_EQ(loss.logits, rows.logits);
    }
  }
}

TEST(FusedCrossEntropy, FarAndHiddenLogits) {
  for (const Type type : kTypes) {
    Rows rows{9, {}, {1, 0}, {1.0, 1.0}};
    rows.logits = {512, -512, 0, 0, 0, 0, 0, 0, 0};
    rows.logits.insert(rows.logits.end(), {2, -kInfinity, 1, 0, 0, -kInfinity, 0, 0, -kInfinity});
    const Result reference = expected(rows), found = run(type, rows, true);
    EXPECT_EQ(found.terms[0], 1024.0);
    EXPECT_LE(relative_error(found.terms, reference.terms), 1e-6);
    EXPECT_LE(relative_error(found.logits, reference.logits), bound(type));
    for (const std::size_t hidden : {10U, 14U, 17U}) EXPECT_EQ(found.logits[hidden], 0.0);
  }
}

TEST(FusedCrossEntropy, WhatHasNoLossIsSeen) {
  const std::vector<double> fine = {1.0, 2.0, 3.0};
  const Result hidden = run(Type::kFloat32, {3, {0.0, -kInfinity, 0.0}, {1}, {1.0}}, true);
  EXPECT_EQ(hidden.terms[0], kInfinity);
  for (const std::int64_t target : {-1, 3}) {
    const Result found = run(Type::kFloat32, {3, fine, {target}, {1.0}}, true);
    EXPECT_TRUE(std::isnan(found.terms[0]));
    for (const double x : found.logits) EXPECT_TRUE(std::isnan(x));
  }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(run(Type::kFloat32, {3, {1.0, nan, 3.0}, {0}, {1.0}}, true).terms[0]));
  const std::vector<double> nothing(3, -kInfinity);
  EXPECT_TRUE(std::isnan(run(Type::kFloat32, {3, nothing, {0}, {1.0}}, true).terms[0]));
}

}  // namespace
}  // namespace infinipipe::fused
