// Whole training runs: curves against a single-device reference, and bits against bits.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "property/training/sliced_plan.h"
#include "support/engine_case.h"
#include "support/random_plan.h"

namespace infinipipe::testing {
namespace {

constexpr int kSteps = 20;
const std::vector<Tokens> kLengths = {190, 9, 64, 120, 1, 33};

OptimizerConfig optimizer_config() {
  OptimizerConfig config;
  config.lr = 1e-2;
  config.warmup_steps = 4;
  config.clip_grad_norm = 0.5;  // some steps are clipped, some are not
  return config;
}

Batch batch_of(const ModelSpec& model, int step) {
  Random random(99, static_cast<std::uint64_t>(step));
  return random_batch(random, kLengths, model.vocab_size);
}

Plan replicated_plan(int stages, int replicas) {
  Random random(8, static_cast<std::uint64_t>(10 * stages + replicas));
  return random_plan(random, kLengths, {.stages = stages, .replicas = replicas, .layers = 4});
}

struct Curve {
  std::vector<double> losses;
  std::vector<double> norms;
};

// Autograd on whole sequences, AdamW as in the textbook, schedule and clipping spelled out again.
Curve reference_curve(const ModelSpec& model) {
  const OptimizerConfig c = optimizer_config();
  Engine engine(engine_options(model, sliced_plan(kLengths, {1, 4, 1}), Dtype::kFloat64));
  std::map<std::string, std::tuple<at::Tensor, at::Tensor, at::Tensor>> state;
  for (const auto& each : engine.state()) {
    const at::Tensor w = each.parameter->master.clone();
    state[each.parameter->name] = {w, at::zeros_like(w), at::zeros_like(w)};
  }
  Curve curve;
  for (int step = 0; step < kSteps; ++step) {
    ReferenceModel reference(model);
    for (const auto& [name, tensors] : state) reference.set(name, std::get<0>(tensors));
    curve.losses.push_back(reference.run(batch_of(model, step).sequences));
    double squares = 0.0;
    for (const auto& [name, tensors] : state)
      squares += reference.grad(name).pow(2).sum().item<double>();
    curve.norms.push_back(std::sqrt(squares));
    const double scale = std::min(1.0, c.clip_grad_norm / (curve.norms.back() + 1e-6));
    const double low = c.lr * c.min_lr_ratio;
    const double progress = std::max(0.0, (step - 4.0) / (kSteps - 4.0));
    const double lr = step < 4 ? c.lr * (step + 1) / 4.0
                               : low + (c.lr - low) * (1.0 + std::cos(M_PI * progress)) / 2.0;
    for (auto& [name, tensors] : state) {
      auto& [w, m, v] = tensors;
      const at::Tensor g = reference.grad(name) * scale;
      m = c.beta1 * m + (1.0 - c.beta1) * g;
      v = c.beta2 * v + (1.0 - c.beta2) * g * g;
      if (w.dim() == 2) w = w * (1.0 - lr * c.weight_decay);
      w = w - lr * (m / (1.0 - std::pow(c.beta1, step + 1))) /
                  ((v / (1.0 - std::pow(c.beta2, step + 1))).sqrt() + c.eps);
    }
  }
  return curve;
}

struct Trained {
  Curve curve;
  std::map<std::string, at::Tensor> weights;
};

Trained train(const ModelSpec& model, const Plan& plan, Dtype dtype, int threads = 1,
              const std::optional<ComputePath>& path = {}) {
  Engine::Options options = engine_options(model, plan, dtype);
  options.path = path;
  options.optimizer = optimizer_config();
  options.total_steps = kSteps;
  options.threads_per_stage = threads;
  Engine engine(options);
  Trained trained;
  for (int step = 0; step < kSteps; ++step) {
    engine.zero_grad();
    trained.curve.losses.push_back(engine.run(plan, batch_of(model, step)).loss);
    trained.curve.norms.push_back(engine.optimizer_step(step).grad_norm);
  }
  for (const auto& each : engine.state())
    trained.weights[each.parameter->name] = each.parameter->master.clone();
  return trained;
}

double error(double found, double expected) { return std::abs(found - expected) / expected; }

TEST(Curves, EqualTheSingleDeviceReference) {
  at::set_num_threads(1);
  double worst64 = 0.0;
  double worst32 = 0.0;
  for (const bool tied : {false, true}) {
    ModelSpec model = small_model(4);
    model.tie_word_embeddings = tied;
    const Curve expected = reference_curve(model);
    EXPECT_LT(expected.losses.back(), expected.losses.front());
    EXPECT_NE(*std::max_element(expected.norms.begin(), expected.norms.end()) > 0.5,
              *std::min_element(expected.norms.begin(), expected.norms.end()) > 0.5);
    std::vector<std::pair<std::string, Plan>> plans;
    for (const int stages : {1, 2, 4}) {
      for (const int slices : {1, 4, 8}) {
        if (tied && slices != 4) continue;
        plans.emplace_back(std::to_string(stages) + " stages, K = " + std::to_string(slices),
                           sliced_plan(kLengths, {stages, 4, slices, 1e-3}));
      }
    }
    for (const auto& [stages, replicas] : {std::pair(1, 4), std::pair(2, 3), std::pair(4, 2)}) {
      plans.emplace_back(std::to_string(stages) + " stages x " + std::to_string(replicas),
                         replicated_plan(stages, replicas));
    }
    // Each plan with both paths, one in float64 and the other in float32, in turn.
    std::optional<ComputePath> path, other = device_path();
    for (const auto& [name, plan] : plans) {
      const Curve wide = train(model, plan, Dtype::kFloat64, 1, path).curve;
      const Curve single = train(model, plan, Dtype::kFloat32, 1, other).curve;
      std::swap(path, other);
      const std::string where = name + (tied ? ", tied" : "");
      EXPECT_LE(error(single.losses[0], expected.losses[0]), 1e-5) << where;
      for (std::size_t i = 0; i < kSteps; ++i) {
        EXPECT_LE(error(wide.losses[i], expected.losses[i]), 1e-9) << where << ", step " << i;
        EXPECT_LE(error(wide.norms[i], expected.norms[i]), 1e-9) << where << ", step " << i;
        EXPECT_LE(error(single.losses[i], expected.losses[i]), 1e-3) << where << ", step " << i;
        worst64 = std::max(worst64, error(wide.losses[i], expected.losses[i]));
        worst32 = std::max(worst32, error(single.losses[i], expected.losses[i]));
      }
    }
  }
  std::printf("20 steps: within %.1e in float64, %.1e in float32\n", worst64, worst32);
}

TEST(Curves, SameSeedTwiceIsBitEqual) {
  const ModelSpec model = small_model(4);
  for (const Plan& plan : {sliced_plan(kLengths, {2, 4, 4, 1e-3}), replicated_plan(2, 3)}) {
    for (const int threads : {1, 2}) {
      const Trained first = train(model, plan, Dtype::kFloat32, threads);
      const Trained second = train(model, plan, Dtype::kFloat32, threads);
      EXPECT_EQ(first.curve.losses, second.curve.losses);
      EXPECT_EQ(first.curve.norms, second.curve.norms);
      for (const auto& [name, weight] : first.weights)
        EXPECT_TRUE(at::equal(weight, second.weights.at(name))) << name;
    }
  }
}

TEST(Curves, TiedCopiesStayBitEqual) {
  ModelSpec model = small_model(4);
  model.tie_word_embeddings = true;
  const Trained trained = train(model, sliced_plan(kLengths, {4, 4, 4, 1e-3}), Dtype::kBfloat16);
  EXPECT_TRUE(at::equal(trained.weights.at("model.embed_tokens.weight"),
                        trained.weights.at("lm_head.weight")));
  EXPECT_LT(trained.curve.losses.back(), trained.curve.losses.front());
}

}  // namespace
}  // namespace infinipipe::testing
