// What the executor costs, what stages bring, where the time goes, what the allocator is worth.
//
//   bench_runtime [ROUNDS]      medians of ROUNDS (default 7) on an otherwise idle machine
//
// Sides of a comparison run in turns in one process, so that both see the same machine.
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/statistics.h"
#include "core/layer_costs.h"
#include "infinipipe/core/model_spec.h"
#include "property/training/sliced_plan.h"
#include "runtime/allocator.h"
#include "runtime/engine.h"

namespace infinipipe {
namespace {

using testing::sliced_plan;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void print_row(const char* what, double value, const char* unit, const std::string& target) {
  std::printf("  %-58s %9.3f %-9s %s\n", what, value, unit, target.c_str());
}

// A model and a batch that a laptop trains: skewed lengths, about 8K tokens.
ModelSpec bench_model() {
  ModelSpec model;
  model.vocab_size = 257;
  model.hidden_size = 256;
  model.intermediate_size = 704;
  model.num_hidden_layers = 4;
  model.num_attention_heads = 4;
  model.num_key_value_heads = 4;
  return model;
}
const std::vector<Tokens> kLengths = {4096, 1024, 800, 600, 500, 400, 300, 200, 100};
constexpr int kSlices = 8;

Plan bench_plan(int stages) {
  testing::SlicedPlanOptions options;
  options.stages = stages;
  options.layers = static_cast<int>(bench_model().num_hidden_layers);
  options.slices = kSlices;
  // The layers' FLOPs per token^2 over those per token.
  options.token2_share =
      layer_flops_per_token2(bench_model()) / layer_flops_per_token(bench_model());
  return sliced_plan(kLengths, options);
}

Batch bench_batch() {
  Random random(1);
  Batch batch;
  for (const Tokens length : kLengths) {
    auto& tokens = batch.sequences.emplace_back();
    for (Tokens i = 0; i < length; ++i)
      tokens.push_back(random.between(0, bench_model().vocab_size - 1));
  }
  return batch;
}

// An engine with its plan and batch, warmed up.
class Bench final {
 public:
  Bench(int stages, int threads, bool time_parts)
      : plan_(bench_plan(stages)), batch_(bench_batch()), engine_(options(threads, time_parts)) {
    step();
  }

  struct Timed {
    StepResult result;
    double run_seconds = 0.0;
    double optimizer_seconds = 0.0;
  };
  Timed step() {
    Timed timed;
    engine_.zero_grad();
    const double begin = now();
    timed.result = engine_.run(plan_, batch_);
    const double middle = now();
    engine_.optimizer_step(0);
    timed.run_seconds = middle - begin;
    timed.optimizer_seconds = now() - middle;
    return timed;
  }
  double tokens() const { return static_cast<double>(plan_.total_tokens()); }

 private:
  Engine::Options options(int threads, bool time_parts) const {
    Engine::Options all;
    all.model = bench_model();
    all.stages = plan_.stages;
    all.threads_per_stage = threads;
    all.time_parts = time_parts;
    return all;
  }

  Plan plan_;
  Batch batch_;
  Engine engine_;
};

double sum(const PartTimes& parts) {
  return parts.matmul + parts.attention + parts.elementwise + parts.head;
}

// (a) What interpreting a plan costs beside the operations themselves.
void executor_overhead(int rounds) {
  Bench bench(2, 1, true);
  std::vector<double> inside_share, waiting_share;
  for (int i = 0; i < rounds; ++i) {
    const StepResult result = bench.step().result;
    std::vector<double> inside(2, 0.0), late(2, 0.0);
    for (const TraceEvent& event : result.trace.events) {
      inside[event.stage.index()] += event.end - event.begin;
      late[event.stage.index()] += event.begin - event.ready;
    }
    const std::size_t busiest = inside[0] > inside[1] ? 0 : 1;
    inside_share.push_back(100.0 * (inside[busiest] / sum(result.parts[busiest]) - 1.0));
    waiting_share.push_back(100.0 * late[busiest] / result.trace.seconds);
  }
  std::printf("(a) executor overhead, busiest of 2 stages x 1 thread\n");
  print_row("inside instructions beyond the operations' own times", median(inside_share), "%",
            "target <= 3");
  print_row("between ready and started, of the step", median(waiting_share), "%", "target <= 1");
}

// (b) Two stages against one, each stage with one thread.
void stage_scaling(int rounds) {
  Bench one(1, 1, false);
  Bench two(2, 1, false);
  std::vector<double> ratios, single_speed, double_speed, bubbles;
  for (int i = 0; i < rounds; ++i) {
    const auto single = one.step();
    const auto both = two.step();
    single_speed.push_back(one.tokens() / single.run_seconds);
    double_speed.push_back(two.tokens() / both.run_seconds);
    bubbles.push_back(both.result.trace.bubble());
    ratios.push_back(double_speed.back() / (1.0 - bubbles.back()) / (2.0 * single_speed.back()));
  }
  std::printf("(b) 2 stages x 1 thread against 1 stage x 1 thread\n");
  print_row("1 stage", median(single_speed), "tokens/s", "");
  print_row("2 stages", median(double_speed), "tokens/s", "");
  print_row("measured bubble", median(bubbles), "", "");
  print_row("speed / (1 - bubble) / (2 x single)", median(ratios), "", "target >= 0.93");
}

// GFLOP/s of one thread on the layers' shapes, each weighted by its FLOPs: forward, input gradient
// and weight gradient of every projection.
double matmul_speed(Tokens rows) {
  const ModelSpec model = bench_model();
  const std::int64_t d = model.hidden_size;
  const std::int64_t qkv = model.query_width() + 2 * model.kv_width();
  const std::vector<std::pair<std::int64_t, std::int64_t>> shapes = {
      {d, qkv},
      {model.query_width(), d},
      {d, 2 * model.intermediate_size},
      {model.intermediate_size, d}};
  double seconds = 0.0;
  double flops = 0.0;
  const auto time = [&](const std::function<void()>& multiply) {
    double best = 1e9;
    for (int i = 0; i < 8; ++i) {
      const double begin = now();
      multiply();
      best = std::min(best, now() - begin);
    }
    seconds += best;
  };
  for (const auto& [in, out] : shapes) {
    const auto options = at::dtype(at::kFloat);
    const at::Tensor x = at::ones({rows, in}, options), w = at::ones({out, in}, options);
    const at::Tensor y = at::ones({rows, out}, options);
    at::Tensor forward = at::empty({rows, out}, options), input = at::empty({rows, in}, options);
    at::Tensor weight = at::empty({out, in}, options);
    time([&] { at::mm_out(forward, x, w.t()); });
    time([&] { at::mm_out(input, y, w); });
    time([&] { at::mm_out(weight, y.t(), x); });
    flops += 6.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
  }
  return flops / seconds / 1e9;
}

// (c) Where the time of a step goes, and how fast the matmuls are.
void time_per_part(int rounds) {
  Bench bench(1, 1, true);
  const ModelSpec model = bench_model();
  std::vector<double> matmul, attention, elementwise, head, optimizer, total, share, speeds, own;
  const double flops =
      6.0 * bench.tokens() *
      static_cast<double>(model.num_hidden_layers * layer_matmul_parameters(model));
  for (int i = 0; i < rounds; ++i) {
    const double speed = matmul_speed(2048);
    const auto step = bench.step();
    const PartTimes& parts = step.result.parts[0];
    matmul.push_back(parts.matmul);
    attention.push_back(parts.attention);
    elementwise.push_back(parts.elementwise);
    head.push_back(parts.head);
    optimizer.push_back(step.optimizer_seconds);
    total.push_back(step.run_seconds + step.optimizer_seconds);
    speeds.push_back(speed);
    own.push_back(flops / parts.matmul / 1e9);
    share.push_back(100.0 * own.back() / speed);
  }
  const auto row = [&](const char* what, const std::vector<double>& seconds) {
    std::printf("  %-58s %9.3f s        %5.1f %%\n", what, median(seconds),
                100.0 * median(seconds) / median(total));
  };
  std::printf("(c) one step of %.0f tokens in one stage with one thread\n", bench.tokens());
  row("matmuls of the layers", matmul);
  row("attention", attention);
  row("norms, RoPE, SwiGLU, embedding", elementwise);
  row("head and cross-entropy", head);
  row("optimizer", optimizer);
  row("whole step", total);
  print_row("matmuls of the step", median(own), "GFLOP/s", "");
  print_row("matmuls of these shapes alone", median(speeds), "GFLOP/s", "");
  print_row("share of the machine's matmul speed", median(share), "%", "");
}

// (d) The same steps with our pool and with malloc.
void allocator_worth(int rounds) {
  Bench bench(2, 1, false);
  std::vector<double> pooled, plain, ratios;
  for (int i = 0; i < rounds; ++i) {
    memory::set_pooled(true);
    bench.step();  // fills the pool
    pooled.push_back(bench.step().run_seconds);
    memory::set_pooled(false);
    memory::trim();
    bench.step();
    plain.push_back(bench.step().run_seconds);
    ratios.push_back(plain.back() / pooled.back());
  }
  memory::set_pooled(true);
  std::printf("(d) step with the pooled allocator and with plain malloc, in turns\n");
  print_row("pooled", median(pooled), "s", "");
  print_row("plain malloc", median(plain), "s", "");
  print_row("plain / pooled", median(ratios), "", "target >= 1");
}

}  // namespace
}  // namespace infinipipe

int main(int argc, char** argv) {
  using namespace infinipipe;
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 7;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // progress, also into a file
  const at::NoGradGuard no_grad;
  at::set_num_threads(1);
  std::printf("runtime: %lld parameters, %s, medians of %d rounds\n",
              static_cast<long long>(bench_model().parameters()),
              to_string(Engine::Options{}.dtype), rounds);
  executor_overhead(rounds);
  stage_scaling(rounds);
  time_per_part(rounds);
  allocator_worth(rounds);
  return 0;
}
