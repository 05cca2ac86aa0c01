// Any valid plan computes what a plain model computes on whole sequences.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <optional>
#include <span>

#include "infinipipe/core/validate.h"
#include "support/engine_case.h"
#include "support/host_launchers.h"
#include "support/random_case.h"
#include "support/soak.h"

namespace infinipipe::testing {
namespace {

struct Errors {
  double loss = 0.0;
  GradientError gradient;

  void add(const Errors& other) {
    loss = std::max(loss, other.loss);
    gradient.largest = std::max(gradient.largest, other.gradient.largest);
  }
};

const std::optional<ComputePath> kPaths[] = {std::nullopt, device_path()};
constexpr const char* kPathNames[] = {"the processor's path", "a GPU's path"};

// The case on each of the paths, against the same autograd.
std::vector<Errors> run_case(const Case& c, Dtype dtype, bool checked,
                             std::span<const std::optional<ComputePath>> paths = kPaths) {
  std::optional<ReferenceModel> reference;
  double expected = 0.0;
  std::vector<Errors> errors;
  for (const auto& path : paths) {
    Engine::Options options = engine_options(c.model, c.plan, dtype);
    options.check_messages = checked;
    options.head_block_tokens = 64;
    options.longest = 100;
    options.path = path;
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
    if (!reference) {
      reference.emplace(reference_of(engine));
      expected = reference->run(c.batch.sequences, c.batch.weights);
    }
    errors.push_back({std::abs(result.loss - expected) / std::abs(expected),
                      gradient_error(gradients(engine), *reference)});
  }
  return errors;
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

// Random cases within the bounds, on both paths.
void check_cases(std::uint64_t seed, int cases, Dtype dtype, double loss_bound,
                 double gradient_bound, Case (*make)(Random&) = make_case) {
  at::set_num_threads(1);
  Errors worst[std::size(kPaths)];
  for (int i = 0; i < cases; ++i) {
    Random random(seed, static_cast<std::uint64_t>(i));
    const std::vector<Errors> errors =
        run_case(make(random), dtype, dtype == Dtype::kFloat64 && i % 2 == 0);
    for (std::size_t path = 0; path < errors.size(); ++path) {
      const auto where = std::string(kPathNames[path]) + ", case " + std::to_string(i);
      EXPECT_LE(errors[path].loss, loss_bound) << where;
      EXPECT_LE(errors[path].gradient.largest, gradient_bound)
          << where << ": " << errors[path].gradient.name;
      worst[path].add(errors[path]);
    }
  }
  for (std::size_t path = 0; path < std::size(kPaths); ++path) {
    std::printf("%d cases in %s on %s: loss within %.1e, gradients within %.1e\n", cases,
                to_string(dtype), kPathNames[path], worst[path].loss, worst[path].gradient.largest);
  }
}

TEST(RandomPlans, EqualAutogradInFloat64) {
  check_cases(2024, scaled(200), Dtype::kFloat64, 1e-9, 1e-9);
}

// Stages of several shards: of any degree that shares the heads, shards without tokens, and
// key-value heads that several of them have.
TEST(RandomPlans, OfShardsEqualAutogradInFloat64) {
  check_cases(18, scaled(300), Dtype::kFloat64, 1e-9, 1e-9, make_sharded_case);
}

// The oracle runs in float64 on the same weights, so these bounds are the dtype's own rounding.
class RandomPlansIn : public ::testing::TestWithParam<std::tuple<Dtype, double, double>> {};
INSTANTIATE_TEST_SUITE_P(Dtypes, RandomPlansIn,
                         ::testing::Values(std::tuple(Dtype::kFloat32, 1e-6, 2e-5),
                                           std::tuple(Dtype::kBfloat16, 2e-3, 0.1)));

TEST_P(RandomPlansIn, AreWithinTheDtypesRounding) {
  const auto& [dtype, loss_bound, gradient_bound] = GetParam();
  check_cases(77, scaled(20), dtype, loss_bound, gradient_bound);
}

// The fused kernels in a whole step, on host threads: packed, cut and made again.
TEST(RandomPlans, FusedKernelsAreWithinTheDtypesRounding) {
  const std::optional<ComputePath> fused =
      ComputePath{.device = true, .launchers = &host_launchers(), .attention_keys = 48};
  Case c;
  c.model = small_model(1);
  Random random(6);
  c.plan = random_plan(random, {5, 9}, {.stages = 1, .layers = 1, .cut_share = 1.0});
  c.batch = random_batch(random, c.plan.sequences, c.model.vocab_size);
  const Errors errors = run_case(c, Dtype::kFloat32, false, {&fused, 1}).front();
  EXPECT_LE(errors.loss, 1e-6);
  EXPECT_LE(errors.gradient.largest, 2e-5) << errors.gradient.name;
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
