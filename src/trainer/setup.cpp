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
#include "model/common/dtype.h"
#include "runtime/cuda_devices.h"

namespace infinipipe {

void require_runnable(const TrainConfig& config) {
  if (const int found = config.parallelism.sequence_parallel; found != 1) {
    throw InputError("config: parallelism.sequence_parallel", "found " + std::to_string(found),
                     "expected 1: this build runs pipelines and replicas of them",
                     "plan, simulate and compare take more");
  }
  if (config.runtime.communicator != "threads") {
    throw InputError("config: runtime.communicator", "found " + config.runtime.communicator,
                     "expected threads", "this build has no other communicator");
  }
}

Engine::Options make_engine_options(const TrainConfig& config,
                                    const std::vector<LayerRange>& stages) {
  require_runnable(config);
  Engine::Options options;
  options.model = config.model;
  options.stages = stages;
  options.replicas = config.parallelism.data_parallel;
  options.dtype = config.training.dtype;
  options.device = config.runtime.device;
  options.threads_per_stage = config.runtime.threads_per_stage;
  options.pooled_allocator = config.runtime.pooled_allocator;
  options.seed = config.training.seed;
  options.longest = config.data.max_sequence_length;
  options.optimizer = config.optimizer;
  options.only = config.training.only;
  options.total_steps = config.training.steps;
  return options;
}

std::unique_ptr<Planner> make_judged_planner(const PlanContext& context) {
  return make_planner(context, std::make_shared<SimulatorEvaluator>(context.limit()));
}

double devices_at_work(Device device, std::size_t ranks) {
  const auto count = static_cast<double>(ranks);
  return device == Device::kCpu ? count : std::min(count, static_cast<double>(cuda_devices()));
}

double measured_matmul_flops(const Engine::Options& options) {
  // A GPU is not busy with less, and waiting for it must not count.
  const bool cpu = options.device == Device::kCpu;
  const std::int64_t rows = cpu ? 1024 : 8192;
  const std::int64_t inner = cpu ? 512 : 4096;
  const std::int64_t columns = cpu ? 512 : 4096;
  constexpr int kRepeats = 9;
  double best = 0.0;
  std::thread worker([&] {  // its own thread: the intra-op thread count is per thread
    at::set_num_threads(options.threads_per_stage);
    const auto tensor_options =
        at::TensorOptions().dtype(scalar_type(options.dtype)).device(device_type(options.device));
    const at::Tensor a = at::randn({rows, inner}, tensor_options);
    const at::Tensor b = at::randn({inner, columns}, tensor_options);
    at::matmul(a, b);
    std::vector<double> rates;
    for (int i = 0; i < kRepeats; ++i) {
      const auto start = std::chrono::steady_clock::now();
      // Reading one element waits for the device.
      at::matmul(a, b).select(0, 0).select(0, 0).item();
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      rates.push_back(2.0 * static_cast<double>(rows * inner * columns) / taken.count());
    }
    std::nth_element(rates.begin(), rates.begin() + kRepeats / 2, rates.end());
    best = rates[kRepeats / 2];
  });
  worker.join();
  return best;
}

}  // namespace infinipipe
