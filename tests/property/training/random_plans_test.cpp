// Any valid plan computes what a plain model computes on whole sequences.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "infinipipe/core/validate.h"
#include "support/engine_case.h"
#include "support/random_case.h"
#include "support/soak.h"

namespace infinipipe::testing {
namespace {

struct Errors {
  double loss = 0.0;
  GradientError gradient;
};

Errors run_case(const Case& c, Dtype dtype, bool checked) {
  Engine::Options options = engine_options(c.model, c.plan, dtype);
  options.check_messages = checked;
  options.head_block_tokens = 64;
  options.longest = 100;
  Engine engine(options);
  Random random(3);
  for (const Engine::StateTensor& each : engine.state()) {
    at::Tensor& master = each.parameter->master;  // norms and biases begin at ones and zeros
    for (std::int64_t i = 0; master.dim() == 1 && i < master.numel(); ++i) {
      master.select(0, i).fill_(random.normal());
    }
  }
  engine.state_changed();
  const StepResult result = engine.run(c.plan, c.batch);
  ReferenceModel reference = reference_of(engine);
  const double expected = reference.run(c.batch.sequences, c.batch.weights);
  return {std::abs(result.loss - expected) / std::abs(expected),
          gradient_error(gradients(engine), reference)};
}

TEST(RandomPlans, AreValidAndOfEveryKind) {
  Random random(11);
  int kinds[3] = {};
  int ops[4] = {};
  int pipelines = 0;
  int recomputed = 0;
  int idle = 0;  // replicas without a sequence
  for (int i = 0; i < 300; ++i) {
    const Case c = make_case(random);
    const auto problem = validate(c.plan);
    ASSERT_FALSE(problem.has_value()) << "case " << i << ": " << problem->message;
    for (const Replica& replica : c.plan.replicas) {
      pipelines += replica.pipelines.size() > 1 ? 1 : 0;
      idle += replica.pipelines.empty() ? 1 : 0;
      for (const Pipeline& pipeline : replica.pipelines) {
        for (const Chunk& chunk : pipeline.chunks) {
          ++kinds[static_cast<int>(chunk.kind)];
          recomputed += chunk.keeping[0].remade();
        }
      }
      for (const auto& list : replica.instructions)
        for (const Instruction& instruction : list) ++ops[static_cast<int>(instruction.op)];
    }
  }
  for (const int count : kinds) EXPECT_GT(count, 100);
  for (const int count : ops) EXPECT_GT(count, 1000);
  EXPECT_GT(pipelines, 100);
  EXPECT_GT(recomputed, 1000);
  EXPECT_GT(idle, 10);
}

TEST(RandomPlans, EqualAutogradInFloat64) {
  at::set_num_threads(1);
  const int cases = scaled(200);
  Errors worst;
  for (int i = 0; i < cases; ++i) {
    Random random(2024, static_cast<std::uint64_t>(i));
    const Errors errors = run_case(make_case(random), Dtype::kFloat64, i % 2 == 0);
    ASSERT_LE(errors.loss, 1e-9) << "case " << i;
    ASSERT_LE(errors.gradient.largest, 1e-9) << "case " << i << ": " << errors.gradient.name;
    worst.loss = std::max(worst.loss, errors.loss);
    worst.gradient.largest = std::max(worst.gradient.largest, errors.gradient.largest);
  }
  std::printf("%d cases: loss within %.1e, gradients within %.1e\n", cases, worst.loss,
              worst.gradient.largest);
}

// The oracle runs in float64 on the same weights, so these bounds are the dtype's own rounding.
class RandomPlansIn : public ::testing::TestWithParam<std::tuple<Dtype, double, double>> {};
INSTANTIATE_TEST_SUITE_P(Dtypes, RandomPlansIn,
                         ::testing::Values(std::tuple(Dtype::kFloat32, 1e-6, 2e-5),
                                           std::tuple(Dtype::kBfloat16, 2e-3, 0.1)));

TEST_P(RandomPlansIn, AreWithinTheDtypesRounding) {
  at::set_num_threads(1);
  const auto& [dtype, loss_bound, gradient_bound] = GetParam();
  const int cases = scaled(20);
  Errors worst;
  for (int i = 0; i < cases; ++i) {
    Random random(77, static_cast<std::uint64_t>(i));
    const Errors errors = run_case(make_case(random), dtype, false);
    EXPECT_LE(errors.loss, loss_bound) << "case " << i;
    EXPECT_LE(errors.gradient.largest, gradient_bound)
        << "case " << i << ": " << errors.gradient.name;
    worst.loss = std::max(worst.loss, errors.loss);
    worst.gradient.largest = std::max(worst.gradient.largest, errors.gradient.largest);
  }
  std::printf("%d cases in %s: loss within %.1e, gradients within %.1e\n", cases, to_string(dtype),
              worst.loss, worst.gradient.largest);
}

// A sequence's loss terms must not know what else is in its chunk: a neighbour is changed, and the
// sum over all chunks less the neighbour's own terms (weight 0) stays bit-equal.
TEST(RandomPlans, PackedNeighboursDoNotLeak) {
  Random random(5);
  for (int i = 0; i < 10; ++i) {
    Case c = make_case(random);
    if (c.batch.sequences.size() < 2) continue;
    c.batch.weights.assign(c.batch.sequences.size(), {});
    const std::size_t changed = c.batch.sequences.size() / 2;
    c.batch.weights[changed].assign(c.batch.sequences[changed].size(), 0.0F);
    if (c.batch.target_weight() == 0.0) continue;
    Engine engine(engine_options(c.model, c.plan, Dtype::kFloat32));
    const double before = engine.run(c.plan, c.batch).loss;
    for (auto& token : c.batch.sequences[changed]) token = (token + 7) % c.model.vocab_size;
    EXPECT_EQ(engine.run(c.plan, c.batch).loss, before) << "case " << i;
  }
}

}  // namespace
}  // namespace infinipipe::testing
