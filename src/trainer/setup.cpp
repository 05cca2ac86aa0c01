#include "trainer/setup.h"

#include <ATen/Parallel.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "core/head_shares.h"
#include "core/names.h"
#include "dist/ranks.h"
#include "infinipipe/base/error.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"
#include "model/common/dtype.h"
#include "runtime/cuda_devices.h"

namespace infinipipe {

namespace {

// Whether ranks talk as the configuration says.
void require_communicator(const TrainConfig& config, const Ranks* ranks) {
  const CommunicatorKind kind = config.runtime.communicator;
  if (kind == CommunicatorKind::kAuto) return;
  const std::string found = std::string("found ") + to_string(kind);
  const bool threads = kind == CommunicatorKind::kThreads;
  if (ranks == nullptr && !threads) {
    throw InputError("config: runtime.communicator", found + " in a process that is alone",
                     "expected several, started together",
                     "infinipipe launch -n " + std::to_string(config.parallelism.stages) +
                         " -- train ...; or see docs/launchers.md");
  }
  if (ranks != nullptr && threads) {
    throw InputError("config: runtime.communicator",
                     found + ", but " + std::to_string(ranks->size()) + " processes were started",
                     "expected auto, or one process");
  }
  if (kind == CommunicatorKind::kNccl && config.runtime.device == Device::kCpu) {
    throw InputError("config: runtime.communicator", found + " with --runtime.device cpu",
                     "expected gloo, which moves tensors of the processor");
  }
}

// Whether there is a process for each rank.
void require_size(const TrainConfig& config, const Ranks& ranks) {
  const Parallelism layout{config.parallelism.stages, config.parallelism.sequence_parallel,
                           config.parallelism.data_parallel};
  const int expected = ranks_of(config);
  if (ranks.size() == expected) return;
  throw InputError("config: parallelism",
                   "found " + to_string(layout) +
                       " (stages x sequence parallel x data parallel) in " +
                       std::to_string(ranks.size()) + " processes",
                   "expected " + std::to_string(expected) + " processes",
                   "start as many, or set --parallelism.stages " + std::to_string(ranks.size()));
}

// Whether attention has a kernel on a GPU. FlashAttention serves heads of up to 256 in multiples of
// 8; a kernel for float32 serves the same.
void require_gpu_attention(const TrainConfig& config) {
  const std::string cpu = "use --runtime.device " + std::string(to_string(Device::kCpu));
  if (config.training.dtype == Dtype::kFloat64) {
    throw InputError(
        "config: training.dtype", "found " + std::string(to_string(Dtype::kFloat64)) + " on a GPU",
        "expected " + listed({to_string(Dtype::kFloat32), to_string(Dtype::kBfloat16)}), cpu);
  }
  constexpr std::int64_t kHeadMultiple = 8;
  constexpr std::int64_t kWidestHead = 256;
  if (const std::int64_t dim = config.model.resolved_head_dim();
      dim % kHeadMultiple != 0 || dim > kWidestHead) {
    throw InputError("config: model.head_dim", "found " + std::to_string(dim) + " on a GPU",
                     "expected a multiple of " + std::to_string(kHeadMultiple) + " up to " +
                         std::to_string(kWidestHead),
                     cpu);
  }
}

}  // namespace

void settle_communicator(TrainConfig& config, const Ranks* ranks) {
  CommunicatorKind& kind = config.runtime.communicator;
  if (kind != CommunicatorKind::kAuto) return;
  kind = ranks == nullptr                         ? CommunicatorKind::kThreads
         : config.runtime.device == Device::kCuda ? CommunicatorKind::kNccl
                                                  : CommunicatorKind::kGloo;
}

void settle_stages(TrainConfig& config, const Ranks* ranks) {
  settle_communicator(config, ranks);
  if (ranks == nullptr) return;
  config.parallelism.stages = ranks->size();
  config.parallelism.sequence_parallel = 1;
  config.parallelism.data_parallel = 1;
  config.parallelism.layers_per_stage.reset();
}

void require_runnable(const TrainConfig& config, const Ranks* ranks) {
  require_heads(config.model.heads(), config.parallelism.sequence_parallel);
  require_communicator(config, ranks);
  if (ranks != nullptr) require_size(config, *ranks);
  if (config.runtime.device == Device::kCuda) require_gpu_attention(config);
}

int ranks_of(const TrainConfig& config) {
  return config.parallelism.stages * config.parallelism.sequence_parallel *
         config.parallelism.data_parallel;
}

std::string shared_gpus(int ranks, int gpus) {
  if (gpus < 1 || ranks <= gpus) return {};
  return "parallelism: " + std::to_string(ranks) + " stages share " + std::to_string(gpus) +
         " GPU(s) and run in turn, so the times of each hold the others', and plans for them are "
         "off; expected at most a stage for each GPU";
}

std::string scattered_shards(const RankLayout& layout, const std::vector<std::string>& hosts) {
  for (int rank = 0; rank < layout.size(); rank += layout.shards) {
    std::vector<std::string> of_stage;
    for (const int shard : layout.shards_beside(rank, layout.shards)) {
      const std::string& host = hosts.at(static_cast<std::size_t>(shard));
      if (std::find(of_stage.begin(), of_stage.end(), host) == of_stage.end())
        of_stage.push_back(host);
    }
    if (of_stage.size() == 1) continue;
    const RankLayout one_shard{layout.stages, layout.replicas};
    return "parallelism: the " + std::to_string(layout.shards) + " shards of " +
           one_shard.name(rank / layout.shards) + " are on the hosts " + listed(of_stage, " and ") +
           " and exchange between them in every layer; expected one host for them: place ranks "
           "host after host (Slurm: --distribution=block), or let fewer shards share a stage";
  }
  return {};
}

void warn_of_placement(const TrainConfig& config, const Ranks* ranks,
                       const std::function<void(const std::string&)>& warn) {
  std::string line;
  if (ranks == nullptr) {
    if (config.runtime.device != Device::kCpu) line = shared_gpus(ranks_of(config), cuda_devices());
  } else {
    std::vector<std::string> hosts;
    for (const RankFacts& rank : facts_of(ranks)) hosts.push_back(rank.host);
    line = scattered_shards({config.parallelism.stages, config.parallelism.data_parallel,
                             config.parallelism.sequence_parallel},
                            hosts);
  }
  if (!line.empty()) warn(line);
}

Engine::Options make_engine_options(const TrainConfig& config,
                                    const std::vector<LayerRange>& stages, Ranks* ranks) {
  require_runnable(config, ranks);
  Engine::Options options = engine_options_of(config);
  options.stages = stages;
  options.ranks = ranks;
  return options;
}

void count_received(const TrainConfig& config, Profile& profile) {
  if (!profile.memory.layerwise) return;
  const bool processes = is_between_processes(config.runtime.communicator);
  profile.memory.layerwise->received_ahead = processes ? static_cast<double>(kReceivedAhead) : 0.0;
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
  const int products = cpu ? 1 : 10;  // between two waits for the device
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
      at::Tensor product;
      for (int n = 0; n < products; ++n) product = at::matmul(a, b);
      product.select(0, 0).select(0, 0).item();  // waits for the device
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      rates.push_back(2.0 * static_cast<double>(products * rows * inner * columns) / taken.count());
    }
    std::nth_element(rates.begin(), rates.begin() + kRepeats / 2, rates.end());
    best = rates[kRepeats / 2];
  });
  worker.join();
  return best;
}

}  // namespace infinipipe
