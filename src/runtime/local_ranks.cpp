#include "runtime/local_ranks.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "dist/ranks.h"
#include "dist/world.h"
#include "infinipipe/base/error.h"
#include "model/common/dtype.h"
#include "runtime/cuda_devices.h"

namespace infinipipe {
namespace {

// Threads that a rank draws its weights with: its share of all cores, as nobody computes yet, and
// no fewer than it will compute with.
int init_threads(const EngineOptions& options, std::size_t ranks) {
  std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  if (options.ranks != nullptr) {
    const World& world = options.ranks->world();
    const RankFacts& own = world.facts(options.ranks->rank());
    cores = static_cast<std::size_t>(own.processors);
    ranks = ranks_beside(world.facts(), own);
  }
  return std::max(options.threads_per_stage,
                  static_cast<int>(cores / std::max<std::size_t>(1, ranks)));
}

StageExecutor::Options executor_options(const EngineOptions& options, StageId stage,
                                        std::size_t place, std::size_t ranks) {
  StageExecutor::Options executor;
  StageModel::Options& model = executor.model;
  model.model = options.model;
  model.layers = options.stages[stage.index()];
  model.embedding = stage == StageId(0);
  model.head = stage.index() + 1 == options.stages.size();
  model.dtype = scalar_type(options.dtype);
  model.device = rank_device(options.device, place);
  model.seed = options.seed;
  model.path = options.path;
  model.init_threads = init_threads(options, ranks);
  model.head_block_tokens = options.head_block_tokens;
  model.longest = options.longest;
  model.time_parts = options.time_parts;
  model.check_finite = options.check_finite;
  executor.optimizer = options.optimizer;
  executor.only = options.only;
  executor.total_steps = options.total_steps;
  executor.shards = options.shards;
  executor.longest = options.longest;
  executor.before_instruction = options.before_instruction;
  if (options.ranks != nullptr) {
    executor.before_instruction = [ranks = options.ranks, then = options.before_instruction](
                                      int step, StageId its_stage, const Instruction& instruction) {
      ranks->at(step, to_string(instruction));
      if (then) then(step, its_stage, instruction);
    };
  }
  return executor;
}

}  // namespace

std::size_t place_on_machine(const EngineOptions& options, std::size_t i) {
  return options.ranks == nullptr ? i : static_cast<std::size_t>(options.ranks->local_rank());
}

LocalRanks::LocalRanks(const EngineOptions& options,
                       std::vector<std::unique_ptr<TensorCommunicator>> endpoints)
    : processes_(options.ranks) {
  memory::install();
  memory::set_pooled(options.pooled_allocator);
  if (options.device != Device::kCpu) {
    device_ = rank_device(options.device, place_on_machine(options, 0));
    prefer_growing_segments();
  }
  layout_ = options.layout();
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    const StageId stage = endpoints[i]->stage();
    ranks_.push_back(layout_.rank(endpoints[i]->replica(), stage, endpoints[i]->shard()));
    const std::size_t place = place_on_machine(options, i);
    auto endpoint = std::make_shared<std::unique_ptr<TensorCommunicator>>(std::move(endpoints[i]));
    threads_.push_back(std::make_unique<StageThread>(
        options.threads_per_stage,
        [executor = executor_options(options, stage, place, endpoints.size()), endpoint] {
          return std::make_unique<StageExecutor>(executor, std::move(*endpoint));
        }));
  }
  std::exception_ptr thrown;
  for (auto& thread : threads_) {
    const std::exception_ptr error = thread->wait();
    if (thrown == nullptr) thrown = error;
  }
  if (thrown != nullptr) std::rethrow_exception(thrown);
}

LocalRanks::~LocalRanks() {
  threads_.clear();
  kept_.clear();
  try {
    release_cached(device_);
  } catch (const c10::Error&) {  // a device that failed, which was said, has nothing to give
  }
}

void LocalRanks::start(const Command& command, TimePoint origin) {
  if (processes_ != nullptr) processes_->at(step_of(command), name_of(command));
  running_ = &command;
  replies_.assign(size(), {});
  for (std::size_t i = 0; i < size(); ++i) {
    threads_[i]->start([this, i, origin](StageExecutor& executor) {
      replies_[i] = execute(executor, *running_, origin);
    });
  }
}

std::vector<LocalRanks::Outcome> LocalRanks::wait() {
  std::vector<Outcome> outcomes(size());
  for (std::size_t i = 0; i < size(); ++i) outcomes[i].thrown = threads_[i]->wait();
  for (std::size_t i = 0; i < size(); ++i) outcomes[i].reply = std::move(replies_[i]);
  if (std::holds_alternative<RunStep>(*running_)) trim_pool(outcomes);
  if (processes_ != nullptr) processes_->idle();
  return outcomes;
}

void LocalRanks::recover() {
  for (auto& thread : threads_) thread->start([](StageExecutor& executor) { executor.recover(); });
  for (auto& thread : threads_) thread->wait();
}

// A pool that only grows would hold every length's blocks; one that is emptied would fault its
// pages in again. So: twice what steps of late needed.
void LocalRanks::trim_pool(const std::vector<Outcome>& outcomes) {
  double transient = 0.0;
  for (const Outcome& outcome : outcomes) {
    const auto* run = std::get_if<StageRun>(&outcome.reply);
    if (run == nullptr) return;  // the step failed
    transient += static_cast<double>(run->peak_activation_bytes);
  }
  constexpr double kAlways = 64.0 * (1 << 20);
  pool_keep_ = std::max({0.9 * pool_keep_, 2.0 * transient, kAlways});
  memory::trim(static_cast<std::int64_t>(pool_keep_));
}

std::vector<StageStatus> LocalRanks::status() const {
  std::vector<StageStatus> all;
  for (std::size_t i = 0; i < size(); ++i) {
    all.push_back(threads_[i]->executor()->status());
    all.back().who = layout_.name(ranks_[i]);
  }
  return all;
}

LocalRanks::Part LocalRanks::part() const {
  if (has_all()) return {};
  return {layout_.stage(ranks_.front()).value(), layout_.stages, layout_.copy(ranks_.front()) == 0};
}

std::vector<LocalRanks::StateTensor> LocalRanks::state(int copy) {
  if (copy < 0) copy = layout_.copy(ranks_.front());
  std::vector<StateTensor> all;
  for (std::size_t r = 0; r < size(); ++r) {
    if (layout_.copy(ranks_[r]) != copy) continue;
    auto& parameters = threads_[r]->executor()->parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i)
      all.push_back({layout_.stage(ranks_[r]), i, &parameters[i]});
  }
  return all;
}

// Runs the job on the stage's ranks that are here. Throws the first error.
void LocalRanks::on_stage(StageId stage, const std::function<void(StageExecutor&)>& job) {
  std::exception_ptr thrown;
  for (std::size_t r = 0; r < size(); ++r)
    if (layout_.stage(ranks_[r]) == stage) threads_[r]->start(job);
  for (std::size_t r = 0; r < size(); ++r) {
    if (layout_.stage(ranks_[r]) != stage) continue;
    const std::exception_ptr error = threads_[r]->wait();
    if (thrown == nullptr) thrown = error;
  }
  if (thrown == nullptr) return;
  if (has_all()) recover();
  std::rethrow_exception(thrown);
}

void LocalRanks::at(const std::string& place) const {
  if (processes_ != nullptr) processes_->at(place);
}

AdamW::Moments LocalRanks::moments(const StateTensor& tensor) {
  AdamW::Moments whole;
  on_stage(tensor.stage, [&](StageExecutor& rank) {
    AdamW::Moments gathered = rank.gather_moments(tensor.index);
    if (rank.first_copy()) whole = std::move(gathered);
  });
  return whole;
}

void LocalRanks::set_moments(const StateTensor& tensor, const AdamW::Moments& whole) {
  on_stage(tensor.stage, [&](StageExecutor& rank) {
    rank.scatter_moments(tensor.index, rank.first_copy() ? whole : AdamW::Moments());
  });
}

}  // namespace infinipipe
