// Under the thread sanitizer: each barrier of a kernel is needed, and one that is left out is seen.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>

#include "model/common/fused/choose.h"
#include "support/host_block.h"
#include "unit/model/common/fused/numbers.h"

#if defined(__SANITIZE_THREAD__)
namespace infinipipe::fused {
namespace {

using testing::HostRun;

void norm_backward(const HostRun& run, std::int64_t columns, std::int64_t rows) {
  std::vector<float> x(static_cast<std::size_t>(rows * columns), 1.0F), grad = x, rstd = x;
  std::vector<float> weight(static_cast<std::size_t>(columns), 1.0F), sum = weight, partial = sum;
  RmsNormBackwardWork work{Type::kFloat32, grad.data(), x.data(), rstd.data(), weight.data()};
  work.weight_grad = sum.data(), work.partial = partial.data(), work.partials = 1;
  work.rows = rows, work.columns = columns;
  launch(work, run);
}

struct Case {
  std::function<void(const HostRun&)> work;
  std::vector<int> barriers;  // numbers of those to leave out, in the order in which threads meet
};

void cross_entropy(const HostRun& run) {
  std::vector<float> logits(4096, 1.0F);
  const std::int64_t target = 3000;
  const double weight = 1.0;
  double term = 0.0;
  CrossEntropyWork work{Type::kFloat32, logits.data(), &target, &weight, &term, 1.0, true};
  work.rows = 1, work.columns = 4096;
  launch(work, run);
}

void total(const HostRun& run) {
  std::vector<double> numbers(300, 1.0);
  double result = 0.0;
  launch(TotalWork{numbers.data(), &result, 300}, run);
}

TEST(FusedBarriersDeathTest, OneLeftOutIsSeen) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Case cases[] = {
      {[](const HostRun& run) { norm_backward(run, 32, 32); }, {0, 15, 31}},
      {[](const HostRun& run) { norm_backward(run, 1024, 2); }, {0, 1, 2}},
      {cross_entropy, {0, 1, 2}},
      {total, {0}},
  };
  for (const Case& each : cases) {
    each.work(HostRun{});
    for (const int barrier : each.barriers) {
      SCOPED_TRACE(barrier);
      EXPECT_EXIT(
          {
            each.work(HostRun{barrier});
            std::exit(0);  // the sanitizer makes it 66 where it has seen a race
          },
          ::testing::ExitedWithCode(66), "data race");
    }
  }
}

}  // namespace
}  // namespace infinipipe::fused
#endif
