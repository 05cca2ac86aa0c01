#include "model/common/attention/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "base/random.h"

namespace infinipipe::attention_kernels {
namespace {

using Index = std::int64_t;

// One slice's problem: contiguous rows, one key head, neighbours' columns around everything.
struct Problem {
  Index members, dim, length;
  std::vector<Index> context;  // lengths of earlier blocks
  Index window = 0;            // 0: none
};

constexpr Index kMargin = 3;  // columns of others on either side

template <class Scalar>
struct Matrix {
  Index rows, columns;
  std::vector<Scalar> values;
  Matrix(Index r, Index c, Random& random, double scale) : rows(r), columns(c) {
    for (Index i = 0; i < rows * stride(); ++i)
      values.push_back(static_cast<Scalar>(scale * random.normal()));
  }
  Index stride() const { return columns + 2 * kMargin; }
  Scalar* data() { return values.data() + kMargin; }
  Scalar& at(Index i, Index j) { return data()[i * stride() + j]; }
};

template <class Scalar>
struct Data {
  Problem problem;
  std::vector<Matrix<Scalar>> key, value, key_grad, value_grad;  // context, then own
  Matrix<Scalar> query, output, output_grad, query_grad;
  std::vector<Scalar> lse, delta;
  std::vector<Keys<Scalar>> runs;

  Data(const Problem& p, Random& random, double spread)
      : problem(p),
        query(p.length, p.members * p.dim, random, spread),
        output(p.length, p.members * p.dim, random, 0),
        output_grad(p.length, p.members * p.dim, random, 1),
        query_grad(p.length, p.members * p.dim, random, 1),
        lse(static_cast<std::size_t>(p.length * p.members)),
        delta(lse.size()) {
    std::vector<Index> lengths = p.context;
    lengths.push_back(p.length);
    for (const Index n : lengths) {
      key.emplace_back(n, p.dim, random, spread);
      value.emplace_back(n, p.dim, random, 1);
      key_grad.emplace_back(n, p.dim, random, 1);  // what was there before is added to
      value_grad.emplace_back(n, p.dim, random, 1);
    }
    Index before = std::accumulate(p.context.begin(), p.context.end(), Index{0});
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      runs.push_back({key[i].data(), value[i].data(), key_grad[i].data(), value_grad[i].data(),
                      lengths[i], i + 1 == lengths.size(),
                      p.window > 0 ? before - p.window + 1 : kNoWindow});
      before -= lengths[i];
    }
  }

  Item<Scalar> item() {
    Item<Scalar> all{};
    all.query = query.data();
    all.query_stride = query.stride();
    all.lse_stride = problem.members;
    all.end = problem.length;
    all.members = problem.members;
    all.dim = problem.dim;
    all.keys = runs.data();
    all.key_runs = static_cast<Index>(runs.size());
    all.key_stride = key[0].stride();
    all.window = problem.window > 0;
    return all;
  }

  void run(const Kernels<Scalar>& kernels) {
    std::vector<Scalar> scratch(
        static_cast<std::size_t>(std::max(kernels.forward_scratch(problem.members, problem.dim),
                                          kernels.backward_scratch(problem.members, problem.dim))));
    std::fill(scratch.begin(), scratch.end(), std::numeric_limits<Scalar>::quiet_NaN());
    for (Index begin = 0; begin < problem.length; begin += kForwardRows) {
      ForwardItem<Scalar> part{item(), output.data(), lse.data()};
      part.begin = begin;
      part.end = std::min(problem.length, begin + kForwardRows);
      kernels.forward(part, scratch.data());
    }
    std::fill(scratch.begin(), scratch.end(), std::numeric_limits<Scalar>::quiet_NaN());
    kernels.backward(
        {item(), output.data(), lse.data(), output_grad.data(), delta.data(), query_grad.data()},
        scratch.data());
  }
};

// The same in plain loops and float64, on a copy made before run().
template <class Scalar>
struct Reference {
  std::vector<std::vector<double>> output, query_grad, lse;
  std::vector<std::vector<std::vector<double>>> key_grad, value_grad;

  explicit Reference(Data<Scalar>& data) {
    const auto& [members, dim, length, context, window] = data.problem;
    const auto zeros = [](Index rows, Index columns) {
      return std::vector(static_cast<std::size_t>(rows),
                         std::vector<double>(static_cast<std::size_t>(columns), 0.0));
    };
    output = query_grad = zeros(length, members * dim);
    lse = zeros(length, members);
    for (std::size_t b = 0; b < data.key.size(); ++b) {
      key_grad.push_back(zeros(data.key[b].rows, dim));
      value_grad.push_back(zeros(data.key[b].rows, dim));
      for (Index i = 0; i < data.key[b].rows; ++i) {
        for (Index j = 0; j < dim; ++j) {
          key_grad[b][i][j] = data.key_grad[b].at(i, j);
          value_grad[b][i][j] = data.value_grad[b].at(i, j);
        }
      }
    }
    for (Index m = 0; m < members; ++m)
      for (Index i = 0; i < length; ++i) row(data, m, i);
  }

  void row(Data<Scalar>& data, Index m, Index i) {
    const Index dim = data.problem.dim;
    const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
    struct Place {
      std::size_t block;
      Index key;
      double score;
    };
    std::vector<Place> seen;
    double top = -std::numeric_limits<double>::infinity();
    const std::vector<Index>& context = data.problem.context;
    Index position = 0, query = std::accumulate(context.begin(), context.end(), i);
    for (std::size_t b = 0; b < data.key.size(); ++b) {
      const bool own = b + 1 == data.key.size();
      for (Index k = 0; k < (own ? i + 1 : data.key[b].rows); ++k) {
        const Index back = query - position++;
        if (data.problem.window > 0 && back >= data.problem.window) continue;
        double score = 0.0;
        for (Index j = 0; j < dim; ++j)
          score += static_cast<double>(data.query.at(i, m * dim + j)) * data.key[b].at(k, j);
        seen.push_back({b, k, score * scale});
        top = std::max(top, score * scale);
      }
    }
    double sum = 0.0;
    for (const Place& place : seen) sum += std::exp(place.score - top);
    lse[i][m] = top + std::log(sum);
    double dot = 0.0;  // of output and its gradient
    for (const Place& place : seen) {
      const double p = std::exp(place.score - lse[i][m]);
      for (Index j = 0; j < dim; ++j) {
        const double v = data.value[place.block].at(place.key, j);
        output[i][m * dim + j] += p * v;
        dot += p * v * data.output_grad.at(i, m * dim + j);
      }
    }
    for (const Place& place : seen) {
      const double p = std::exp(place.score - lse[i][m]);
      double incoming = 0.0;
      for (Index j = 0; j < dim; ++j) {
        const double g = data.output_grad.at(i, m * dim + j);
        incoming += g * data.value[place.block].at(place.key, j);
        value_grad[place.block][place.key][j] += p * g;
      }
      const double score_grad = p * (incoming - dot) * scale;
      for (Index j = 0; j < dim; ++j) {
        query_grad[i][m * dim + j] += score_grad * data.key[place.block].at(place.key, j);
        key_grad[place.block][place.key][j] += score_grad * data.query.at(i, m * dim + j);
      }
    }
  }
};

template <class Scalar>
double difference(Matrix<Scalar>& found, const std::vector<std::vector<double>>& expected) {
  double most = 0.0, size = 1.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    for (std::size_t j = 0; j < expected[i].size(); ++j) {
      const double each = found.at(static_cast<Index>(i), static_cast<Index>(j));
      const double far = std::abs(each - expected[i][j]);
      most = std::isnan(far) ? std::numeric_limits<double>::infinity() : std::max(most, far);
      size = std::max(size, std::abs(expected[i][j]));
    }
  }
  return most / size;
}

// Columns of others are untouched.
template <class Scalar>
bool same_margins(Matrix<Scalar>& a, Matrix<Scalar>& b) {
  for (Index i = 0; i < a.rows; ++i) {
    for (Index j = -kMargin; j < a.columns + kMargin; ++j) {
      if (j >= 0 && j < a.columns) continue;
      if (a.at(i, j) != b.at(i, j)) return false;
    }
  }
  return true;
}

class AttentionKernelsTest : public ::testing::TestWithParam<std::string> {
 protected:
  template <class Scalar>
  const Kernels<Scalar>* kernels() {
    return named<Scalar>(GetParam().c_str());
  }

  template <class Scalar>
  void compare(double tolerance, double spread) {
    const auto* loops = kernels<Scalar>();
    if (loops == nullptr) GTEST_SKIP() << "this processor has no " << GetParam();
    Random random(7);
    const std::vector<Problem> problems = {{1, 4, 1, {}},
                                           {2, 64, 5, {}},
                                           {2, 64, 97, {}},
                                           {1, 64, 401, {}},
                                           {2, 64, 390, {7}},
                                           {3, 20, 130, {64, 33}},
                                           {2, 80, 50, {200}},
                                           {4, 128, 33, {390, 1}},
                                           {1, 8, 800, {}},
                                           {2, 16, 6, {1, 1, 1}},
                                           {1, 6, 200, {500}},
                                           {2, 64, 97, {}, 6},
                                           {1, 16, 401, {}, 50},
                                           {3, 20, 130, {64, 33}, 100},
                                           {1, 8, 500, {}, 300},
                                           {1, 6, 100, {300}, 1},
                                           {2, 32, 33, {390, 1}, 200}};
    for (const Problem& problem : problems) {
      Data<Scalar> data(problem, random, spread);
      Data<Scalar> before = data;
      const Reference<Scalar> expected(before);
      data.run(*loops);
      const std::string where = "length " + std::to_string(problem.length) + ", dim " +
                                std::to_string(problem.dim) + ", window " +
                                std::to_string(problem.window);
      EXPECT_LT(difference(data.output, expected.output), tolerance) << where;
      EXPECT_LT(difference(data.query_grad, expected.query_grad), tolerance) << where;
      EXPECT_TRUE(same_margins(data.output, before.output)) << where;
      EXPECT_TRUE(same_margins(data.query_grad, before.query_grad)) << where;
      for (std::size_t b = 0; b < data.key.size(); ++b) {
        EXPECT_LT(difference(data.key_grad[b], expected.key_grad[b]), tolerance) << where;
        EXPECT_LT(difference(data.value_grad[b], expected.value_grad[b]), tolerance) << where;
        EXPECT_TRUE(same_margins(data.key_grad[b], before.key_grad[b])) << where;
      }
      for (Index i = 0; i < problem.length; ++i) {
        for (Index m = 0; m < problem.members; ++m) {
          EXPECT_NEAR(data.lse[static_cast<std::size_t>(i * problem.members + m)],
                      expected.lse[i][m], tolerance * std::max(1.0, std::abs(expected.lse[i][m])))
              << where;
        }
      }
    }
  }
};

TEST_P(AttentionKernelsTest, EqualPlainLoopsInDouble) { compare<double>(1e-13, 1.0); }
TEST_P(AttentionKernelsTest, EqualPlainLoopsInFloat) { compare<float>(2e-5, 1.0); }
// Scores of several hundred: most probabilities vanish.
TEST_P(AttentionKernelsTest, EqualPlainLoopsForGreatScores) { compare<double>(1e-11, 12.0); }

TEST_P(AttentionKernelsTest, NotANumberIsNotHidden) {
  const auto* loops = kernels<float>();
  if (loops == nullptr) GTEST_SKIP() << "this processor has no " << GetParam();
  for (const bool in_query : {true, false}) {
    Random random(3);
    Data<float> data({2, 64, 100, {}}, random, 1.0);
    (in_query ? data.query : data.key[0]).at(40, 9) = std::numeric_limits<float>::quiet_NaN();
    data.run(*loops);
    for (Index row = 0; row < 100; ++row) {
      const bool touched = in_query ? row == 40 : row >= 40;
      EXPECT_EQ(std::isnan(data.output.at(row, 5)), touched) << row;
    }
    EXPECT_TRUE(std::isnan(data.query_grad.at(40, 0)));
    EXPECT_TRUE(std::isnan(data.key_grad[0].at(3, 0)));
  }
}

TEST_P(AttentionKernelsTest, SameBitsAgain) {
  const auto* loops = kernels<float>();
  if (loops == nullptr) GTEST_SKIP() << "this processor has no " << GetParam();
  std::vector<std::vector<float>> seen;
  for (int i = 0; i < 2; ++i) {
    Random random(5);
    Data<float> data({2, 64, 300, {}}, random, 1.0);
    data.run(*loops);
    seen.push_back(data.output.values);
    seen.push_back(data.key_grad[0].values);
  }
  EXPECT_EQ(seen[0], seen[2]);
  EXPECT_EQ(seen[1], seen[3]);
}

INSTANTIATE_TEST_SUITE_P(Sets, AttentionKernelsTest, ::testing::Values("base", "avx2", "avx512"),
                         [](const auto& set) { return set.param; });

TEST(AttentionKernels, TheBestIsOneOfTheNamed) {
  bool found = false;
  for (const char* name : {"base", "avx2", "avx512"})
    found = found || named<float>(name) == &best<float>();
  EXPECT_TRUE(found);
  EXPECT_EQ(named<float>("none"), nullptr);
}

}  // namespace
}  // namespace infinipipe::attention_kernels
