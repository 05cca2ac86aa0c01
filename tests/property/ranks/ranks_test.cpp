// Ranks that talk as processes do compute to the bit what threads that share memory do. Here they
// are threads of one process, each with a world of its own, over Gloo or in each other's memory.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "property/ranks/outcome.h"
#include "support/over_worlds.h"
#include "support/soak.h"

namespace infinipipe::testing {
namespace {

Outcome as_ranks(const Case& c, const Engine::Options& options) {
  Outcome outcome;
  over_worlds(options, {&kBits}, [&](Engine& engine) { outcome = train_a_little(engine, c); });
  return outcome;
}

class RanksOfWorlds : public ::testing::TestWithParam<std::tuple<Dtype, int>> {};
INSTANTIATE_TEST_SUITE_P(Dtypes, RanksOfWorlds,
                         ::testing::Values(std::tuple(Dtype::kFloat64, 80),
                                           std::tuple(Dtype::kFloat32, 10),
                                           std::tuple(Dtype::kBfloat16, 10)));

TEST_P(RanksOfWorlds, EqualThreadsToTheBit) {
  at::set_num_threads(1);
  const auto& [dtype, count] = GetParam();
  for (int i = 0; i < scaled(count) && !HasFailure(); ++i) {
    Random random(2025, static_cast<std::uint64_t>(i));
    const Case c = make_case(random);
    Engine::Options options = options_of(c, dtype, i % 2 == 0);
    options.direct_copies = i % 4 < 2;
    expect_same(as_ranks(c, options), as_threads(c, options), "case " + std::to_string(i));
  }
}

TEST(ManyRanks, OfShardsEqualThreadsToTheBit) {
  at::set_num_threads(1);
  for (int i = 0; i < scaled(20) && !HasFailure(); ++i) {
    Random random(18, static_cast<std::uint64_t>(i));
    const Case c = make_sharded_case(random);
    Engine::Options options = options_of(c, Dtype::kFloat32, i % 2 == 0);
    options.direct_copies = i % 4 < 2;
    expect_same(as_ranks(c, options), as_threads(c, options), "case " + std::to_string(i));
  }
}

TEST(ManyRanks, EqualThreadsToTheBit) {
  at::set_num_threads(1);
  for (const auto& [stages, replicas] : {std::pair(4, 3), {2, 5}, {8, 2}}) {
    Random random(16, static_cast<std::uint64_t>(stages));
    const Case c = make_case(random, stages, replicas);
    const Engine::Options options = options_of(c, Dtype::kFloat32, stages == 2);
    expect_same(as_ranks(c, options), as_threads(c, options), std::to_string(stages) + " stages");
  }
}

}  // namespace
}  // namespace infinipipe::testing
