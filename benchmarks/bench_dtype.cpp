// bfloat16 with float32 master weights against float32, as training runs them:
//
//   bench_dtype CONFIG.toml [--steps N] [--svg FILE] [--section.key value ...]
//
// Two engines from the same seed train on the same batches, step by step in turns, each with plans
// for its own measured profile. Tokens per second, their ratio by step, and the loss curves, as a
// table and (--svg) a picture.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/statistics.h"
#include "data/batch_source.h"
#include "data/corpus.h"
#include "planner/layer_split.h"
#include "real_run.h"
#include "report/figure.h"

namespace infinipipe {
namespace {

constexpr Dtype kWide = Dtype::kFloat32;
constexpr Dtype kNarrow = Dtype::kBfloat16;

// One of the two runs.
class Run final {
 public:
  Run(TrainConfig config, Dtype dtype)
      : config_(with_dtype(std::move(config), dtype)),
        context_(plan_context(config_, bench_profile(config_))),
        stages_(stage_layers(context_)),
        planner_(make_paced_planner(context_, true)),
        engine_(make_engine_options(config_, stages_, nullptr)) {}

  void step(int step, const std::vector<Tokens>& lengths, const LoadedBatch& loaded) {
    PlanRequest request;
    request.sequences = lengths;
    request.step = step;
    const Plan plan = planner_->plan(request);
    Batch batch;
    batch.sequences = loaded.sequences;
    const auto began = std::chrono::steady_clock::now();
    engine_.zero_grad();
    const StepResult result = engine_.run(plan, batch);
    engine_.optimizer_step(step);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - began;
    seconds.push_back(taken.count());
    losses.push_back(result.loss);
    for (const Bytes bytes : result.peak_bytes) peak = std::max(peak, bytes);
  }

  std::vector<double> seconds;
  std::vector<double> losses;
  Bytes peak = 0.0;

 private:
  static TrainConfig with_dtype(TrainConfig config, Dtype dtype) {
    config.training.dtype = dtype;
    if (config.optimizer.decay_steps == 0) config.optimizer.decay_steps = config.training.steps;
    return config;
  }

  TrainConfig config_;
  PlanContext context_;
  std::vector<LayerRange> stages_;
  std::unique_ptr<Planner> planner_;
  Engine engine_;
};

// Means of ten steps, so that two curves can be told apart.
std::vector<double> smoothed(const std::vector<double>& values) {
  std::vector<double> result;
  for (std::size_t i = 0; i + 10 <= values.size(); i += 10) {
    double sum = 0.0;
    for (std::size_t k = i; k < i + 10; ++k) sum += values[k];
    result.push_back(sum / 10.0);
  }
  return result;
}

void compare(const TrainConfig& config, const std::string& svg) {
  const Corpus corpus(config.data);
  const BatchSource batches(corpus, config.training, config.model.vocab_size);
  Run wide(config, kWide);
  Run narrow(config, kNarrow);
  std::vector<double> ratios;
  std::vector<double> tokens;
  for (int step = 0; step < config.training.steps; ++step) {
    const std::vector<Tokens> lengths = batches.lengths(step);
    const LoadedBatch loaded = batches.load(step);
    if (Batch{loaded.sequences, {}}.target_weight() <= 0.0) continue;  // nothing to learn from
    // The first of a step finds the caches as the other left them: in turns.
    for (const int which : {step % 2, 1 - step % 2}) {
      (which == 0 ? wide : narrow).step(step, lengths, loaded);
    }
    ratios.push_back(wide.seconds.back() / narrow.seconds.back());
    double sum = 0.0;
    for (const Tokens length : lengths) sum += static_cast<double>(length);
    tokens.push_back(sum);
    if (step % 10 == 9) std::fprintf(stderr, "step %d of %d\n", step + 1, config.training.steps);
  }
  const auto speed = [&](const Run& run) {
    std::vector<double> rates;
    for (std::size_t i = 0; i < tokens.size(); ++i) rates.push_back(tokens[i] / run.seconds[i]);
    return median(rates);
  };
  std::printf("%s parameters, %d steps of %d documents cut at %lld tokens\n",
              format_count(config.model.parameters()).c_str(), config.training.steps,
              config.training.sequences_per_step,
              static_cast<long long>(config.data.max_sequence_length));
  std::printf(
      "tokens/s, median: %s %.0f, %s %.0f; %s's time / %s's: median %.3f, half of the steps %.3f "
      "to %.3f\n",
      to_string(kWide), speed(wide), to_string(kNarrow), speed(narrow), to_string(kWide),
      to_string(kNarrow), median(ratios), quantile(ratios, 0.25), quantile(ratios, 0.75));
  std::printf("highest peak of a stage: %s %s, %s %s\n", to_string(kWide),
              format_bytes(wide.peak).c_str(), to_string(kNarrow),
              format_bytes(narrow.peak).c_str());
  const std::vector<double> a = smoothed(wide.losses);
  const std::vector<double> b = smoothed(narrow.losses);
  std::printf("  steps   loss %s  %s  difference\n", to_string(kWide), to_string(kNarrow));
  LineFigure figure;
  figure.title = "Loss in " + std::string(to_string(kWide)) + " and " + to_string(kNarrow);
  figure.subtitle = "means of ten steps, the same seed and batches";
  figure.x_axis = "step";
  figure.y_axis = "loss";
  figure.series = {{to_string(kWide), a}, {to_string(kNarrow), b}};
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::printf("%3zu-%-3zu   %12.4f  %8.4f  %+9.2f%%\n", 10 * i, 10 * i + 9, a[i], b[i],
                100.0 * (b[i] / a[i] - 1.0));
    figure.x.push_back(10.0 * static_cast<double>(i) + 4.5);
  }
  if (!svg.empty() && !a.empty()) write_file(svg, line_figure(figure));
}

}  // namespace
}  // namespace infinipipe

int main(int count, char** arguments) {
  using namespace infinipipe;
  return bench_main([&] {
    BenchArguments given =
        bench_arguments(count, arguments, "bench_dtype", {{"steps", "100"}, {"svg", ""}});
    given.config.training.steps = std::max(1, std::atoi(given.own["steps"].c_str()));
    compare(given.config, given.own["svg"]);
  });
}
