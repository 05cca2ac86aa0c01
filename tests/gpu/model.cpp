// Whole steps on the device against autograd in float64 on the processor: random plans of every
// kind; the same batch in one, two and four stages, cut and whole; and a curve of training.
#include <ATen/Parallel.h>

#include "gpu/calls.h"
#include "support/random_case.h"

namespace infinipipe::gpu_check {
namespace {

using testing::Case;

// Wide enough for kernels of our own and for attention's on a GPU.
ModelSpec widened(ModelSpec model) {
  model.hidden_size = 128;
  model.intermediate_size = 192;
  model.num_attention_heads = 2;
  model.num_key_value_heads = 1;
  model.vocab_size = 61;
  model.initializer_range = 0.07;  // as strong as in the narrow one
  return model;
}

Engine::Options engine_options(const Setting& setting, const Case& c, Dtype dtype) {
  Engine::Options options = testing::engine_options(c.model, c.plan, dtype);
  options.device = setting.device;
  options.longest = 100;
  take_path(options, setting);
  return options;
}

struct Errors {
  double loss = 0.0;
  testing::GradientError gradient;
};

Errors errors_of(const Setting& setting, const Case& c, Dtype dtype) {
  Engine engine(engine_options(setting, c, dtype));
  const StepResult result = engine.run(c.plan, c.batch);
  testing::ReferenceModel reference = testing::reference_of(engine);
  const double expected = reference.run(c.batch.sequences, c.batch.weights);
  return {std::abs(result.loss - expected) / std::abs(expected),
          testing::gradient_error(testing::gradients(engine), reference)};
}

void check_random_plans(const Setting& setting, Report& report, Dtype dtype, double loss_bound,
                        double gradient_bound) {
  const int cases = setting.small ? 4 : 60;
  const std::string name = std::string("random_plans.") + to_string(dtype);
  Worst loss, gradient;
  int done = 0;
  for (; done < cases && report.has_time(); ++done) {
    Random random(41, static_cast<std::uint64_t>(done));
    Case c = testing::make_case(random);
    if (done % 2 == 1) {
      c.model = widened(c.model);
      c.batch.sequences = testing::random_batch(random, c.plan.sequences, 61).sequences;
    }
    const Errors errors = errors_of(setting, c, dtype);
    loss.add(name + ".loss", errors.loss);
    gradient.add(name + ".gradient", errors.gradient.largest);
  }
  std::printf("  %d of %d random plans in %s\n", done, cases, to_string(dtype));
  loss.tell(report, loss_bound);
  gradient.tell(report, gradient_bound);
}

const std::vector<Tokens> kLengths = {190, 9, 64, 120, 1, 33};

Case layout(int stages, double cut_share) {
  Case c;
  c.model = widened(testing::small_model(4));
  Random random(8, static_cast<std::uint64_t>(stages));
  c.plan = testing::random_plan(random, kLengths,
                                {.stages = stages, .layers = 4, .cut_share = cut_share});
  Random tokens(9);
  c.batch = testing::random_batch(tokens, kLengths, c.model.vocab_size);
  return c;
}

void check_layouts(const Setting& setting, Report& report) {
  const auto loss_of = [&](int stages, double cut_share) {
    const Case c = layout(stages, cut_share);
    Engine engine(engine_options(setting, c, Dtype::kFloat32));
    return engine.run(c.plan, c.batch).loss;
  };
  const double whole = loss_of(1, 0.0);
  for (const int stages : {1, 2, 4}) {
    report.at_most("cut against whole, " + std::to_string(stages) + " stages",
                   std::abs(loss_of(stages, 1.0) - whole) / whole, 1e-5);
  }
}

// The losses of some steps of training, in float32.
std::vector<double> curve(const Setting& setting, int steps) {
  const Case c = layout(2, 0.5);
  Engine::Options options = engine_options(setting, c, Dtype::kFloat32);
  options.optimizer.lr = 1e-2;
  options.optimizer.warmup_steps = 4;
  options.optimizer.clip_grad_norm = 0.5;
  options.total_steps = steps;
  Engine engine(options);
  std::vector<double> losses;
  for (int step = 0; step < steps; ++step) {
    engine.zero_grad();
    Random random(99, static_cast<std::uint64_t>(step));
    losses.push_back(
        engine.run(c.plan, testing::random_batch(random, kLengths, c.model.vocab_size)).loss);
    engine.optimizer_step(step);
  }
  return losses;
}

void check_curve(const Setting& setting, Report& report) {
  const int steps = setting.small ? 5 : 20;
  Setting processor = setting;
  processor.device = Device::kCpu;
  processor.plain = true;
  const std::vector<double> found = curve(setting, steps), expected = curve(processor, steps);
  Worst worst;
  for (std::size_t i = 0; i < found.size(); ++i)
    worst.add("curve.float32", std::abs(found[i] - expected[i]) / expected[i]);
  worst.tell(report, 1e-3);
}

}  // namespace

void check_model(const Setting& setting, Report& report) {
  at::set_num_threads(1);
  check_layouts(setting, report);
  check_curve(setting, report);
  check_random_plans(setting, report, Dtype::kFloat32, 1e-5, 1e-4);
  check_random_plans(setting, report, Dtype::kBfloat16, 1e-2, 0.1);
}

}  // namespace infinipipe::gpu_check
