#include "trainer/setup.h"

#include <ATen/Parallel.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "infinipipe/base/error.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"
#include "model/dtype.h"

namespace infinipipe {

PlanContext make_plan_context(const TrainConfig& config, Profile profile) {
  PlanContext context;
  context.profile = std::move(profile);
  context.layers = static_cast<int>(config.model.num_hidden_layers);
  context.parallelism = {config.parallelism.stages, config.parallelism.sequence_parallel,
                         config.parallelism.data_parallel};
  context.layers_per_stage = config.parallelism.layers_per_stage;
  context.bytes_per_stage = config.memory.bytes_per_stage;
  context.config = config.planner;
  return context;
}

Engine::Options make_engine_options(const TrainConfig& config,
                                    const std::vector<LayerRange>& stages) {
  if (config.runtime.communicator != "threads") {
    throw InputError("config: runtime.communicator", "found " + config.runtime.communicator,
                     "expected threads", "this build has no other communicator");
  }
  Engine::Options options;
  options.model = config.model;
  options.stages = stages;
  options.dtype = config.training.dtype;
  options.device = config.runtime.device;
  options.threads_per_stage = config.runtime.threads_per_stage;
  options.pooled_allocator = config.runtime.pooled_allocator;
  options.seed = config.training.seed;
  options.longest = config.data.max_sequence_length;
  options.optimizer = config.optimizer;
  options.total_steps = config.training.steps;
  return options;
}

std::unique_ptr<Planner> make_judged_planner(const PlanContext& context) {
  const Bytes limit =
      context.bytes_per_stage > 0.0 ? context.bytes_per_stage : context.profile.device_memory_bytes;
  return make_planner(context, std::make_shared<SimulatorEvaluator>(limit));
}

double measured_matmul_flops(const Engine::Options& options) {
  constexpr std::int64_t kRows = 1024;
  constexpr std::int64_t kInner = 512;
  constexpr std::int64_t kColumns = 512;
  constexpr int kRepeats = 9;
  double best = 0.0;
  std::thread worker([&] {  // its own thread: the intra-op thread count is per thread
    at::set_num_threads(options.threads_per_stage);
    const auto tensor_options =
        at::TensorOptions().dtype(parse_dtype(options.dtype)).device(at::Device(options.device));
    const at::Tensor a = at::randn({kRows, kInner}, tensor_options);
    const at::Tensor b = at::randn({kInner, kColumns}, tensor_options);
    at::matmul(a, b);
    std::vector<double> rates;
    for (int i = 0; i < kRepeats; ++i) {
      const auto start = std::chrono::steady_clock::now();
      // Reading one element waits for the device.
      at::matmul(a, b).select(0, 0).select(0, 0).item();
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      rates.push_back(2.0 * kRows * kInner * kColumns / taken.count());
    }
    std::nth_element(rates.begin(), rates.begin() + kRepeats / 2, rates.end());
    best = rates[kRepeats / 2];
  });
  worker.join();
  return best;
}

}  // namespace infinipipe
