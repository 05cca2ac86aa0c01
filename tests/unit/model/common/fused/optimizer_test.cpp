#include <gtest/gtest.h>

#include "model/common/fused/choose.h"
#include "support/host_block.h"
#include "unit/model/common/fused/numbers.h"

namespace infinipipe::fused {
namespace {

using testing::HostRun;

TEST(FusedAdamW, UpdatesWholeBlocksTailsAndOddAddresses) {
  Random random(6);
  for (const std::int64_t count : {std::int64_t{7}, AdamW::kElements, AdamW::kElements + 133}) {
    for (const int offset : {0, 1}) {
      for (const bool copied : {false, true}) {
        SCOPED_TRACE(::testing::Message() << count << " at " << offset << " copied " << copied);
        Array weight(Type::kFloat32, count, offset), grad(Type::kFloat32, count);
        Array exp_avg(Type::kFloat32, count), exp_avg_sq(Type::kFloat32, count);
        Array copy(Type::kBfloat16, count, 4 * offset);
        weight.fill(random), grad.fill(random), exp_avg.fill(random, 0.1);
        std::vector<double> squares(static_cast<std::size_t>(count));
        for (double& x : squares) x = 0.01 * random.uniform();
        exp_avg_sq.fill(squares);
        AdamWWork work{weight.data<float>(),           grad.data<float>(),
                       exp_avg.data<float>(),          exp_avg_sq.data<float>(),
                       copied ? copy.data() : nullptr, count};
        work.factor = 0.5, work.beta1 = 0.9, work.beta2 = 0.95, work.eps = 1e-8;
        work.keep = 0.999, work.rate = 0.01, work.root = 1.3;
        std::vector<double> w = weight.values(), m = exp_avg.values(), v = exp_avg_sq.values();
        for (std::size_t i = 0; i < w.size(); ++i) {
          const double g = grad.values()[i] * work.factor;
          m[i] = work.beta1 * m[i] + (1.0 - work.beta1) * g;
          v[i] = work.beta2 * v[i] + (1.0 - work.beta2) * g * g;
          w[i] = work.keep * w[i] - work.rate * m[i] / (std::sqrt(v[i]) * work.root + work.eps);
        }
        launch(work, HostRun{});
        EXPECT_LE(relative_error(weight.values(), w), 1e-6);
        EXPECT_LE(relative_error(exp_avg.values(), m), 1e-6);
        EXPECT_LE(relative_error(exp_avg_sq.values(), v), 1e-6);
        if (!copied) continue;
        Array rounded(Type::kBfloat16, count);
        rounded.fill(weight.values());
        EXPECT_EQ(copy.values(), rounded.values());
      }
    }
  }
}

TEST(FusedSquares, OfAnyCountAtAnyAddress) {
  Random random(7);
  for (const std::int64_t count : {std::int64_t{0}, std::int64_t{1}, std::int64_t{1027},
                                   Squares::kElements, 2 * Squares::kElements + 6}) {
    for (const int offset : {0, 3}) {
      SCOPED_TRACE(::testing::Message() << count << " at " << offset);
      Array data(Type::kFloat32, count, offset);
      data.fill(random, 1e3);
      const double nan = std::numeric_limits<double>::quiet_NaN();
      std::vector<double> partial(static_cast<std::size_t>(squares_parts(count)), nan);
      double total = nan;
      long double expected = 0.0L;
      for (const double x : data.values()) expected += static_cast<long double>(x) * x;
      launch(SquaresWork{data.data<float>(), partial.data(), count}, HostRun{});
      launch(TotalWork{partial.data(), &total, squares_parts(count)}, HostRun{});
      EXPECT_NEAR(total, static_cast<double>(expected), 1e-14 * static_cast<double>(expected));
    }
  }
}

TEST(FusedSums, TotalOfManyNumbers) {
  Random random(8);
  for (const std::size_t count : {0U, 1U, 255U, 1000U}) {
    std::vector<double> numbers(count);
    double expected = 0.0, total = std::numeric_limits<double>::quiet_NaN();
    for (double& x : numbers) expected += x = random.uniform();
    launch(TotalWork{numbers.data(), &total, static_cast<std::int64_t>(count)}, HostRun{});
    EXPECT_NEAR(total, static_cast<double>(expected), 1e-14 * static_cast<double>(expected));
  }
}

}  // namespace
}  // namespace infinipipe::fused
