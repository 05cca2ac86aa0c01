#include "runtime/engine.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "comm/checked_communicator.h"
#include "comm/thread_communicator.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/validate.h"
#include "model/common/dtype.h"
#include "runtime/cuda_devices.h"
#include "runtime/stage_thread.h"

namespace infinipipe {

namespace {

at::Device stage_device(Device device, std::size_t stage) {
  const at::DeviceType type = device_type(device);
  if (type == at::kCPU) return type;
  const int devices = cuda_devices();
  if (devices == 0) {
    throw RunError("config: runtime.device", "found " + std::string(to_string(device)),
                   "but this machine or build has no GPU",
                   "use --runtime.device " + std::string(to_string(Device::kCpu)));
  }
  return at::Device(type, static_cast<at::DeviceIndex>(stage % static_cast<std::size_t>(devices)));
}

void check_stages(const Engine::Options& options) {
  if (options.threads_per_stage < 1) {
    throw InputError("config: runtime.threads_per_stage",
                     "found " + std::to_string(options.threads_per_stage), "expected at least 1");
  }
  int next = 0;
  for (const LayerRange& range : options.stages) {
    if (range.begin != next || range.count() < 1) {
      throw InputError(
          "engine: stages",
          "found layers [" + std::to_string(range.begin) + ", " + std::to_string(range.end) + ")",
          "expected at least one layer from layer " + std::to_string(next));
    }
    next = range.end;
  }
  if (options.stages.empty() || next != options.model.num_hidden_layers) {
    throw InputError("engine: stages", "found " + std::to_string(next) + " layers",
                     "expected the model's " + std::to_string(options.model.num_hidden_layers));
  }
}

std::vector<std::unique_ptr<TensorCommunicator>> make_communicators(int stages, bool check) {
  if (!check) return make_thread_communicators<at::Tensor>({stages, 1});
  std::vector<std::unique_ptr<TensorCommunicator>> endpoints;
  for (auto& inner : make_thread_communicators<CheckedMessage<at::Tensor>>({stages, 1}))
    endpoints.push_back(std::make_unique<CheckedCommunicator<at::Tensor>>(std::move(inner)));
  return endpoints;
}

void check_plan(const Plan& plan, const Engine::Options& options) {
  require_valid(plan);
  if (plan.stages != options.stages) {
    throw InputError("plan: stages", "found another split of the layers than the engine's",
                     "expected " + std::to_string(options.stages.size()) + " stages over " +
                         std::to_string(options.model.num_hidden_layers) + " layers",
                     "plan for the stages that the run was started with");
  }
  if (plan.replicas.size() != 1) {
    throw InputError("plan: parallelism.data_parallel",
                     "found " + std::to_string(plan.replicas.size()), "this version runs 1 replica",
                     "plan with --parallelism.data_parallel 1");
  }
  if (plan.parallelism.sequence_parallel != 1) {
    throw InputError("plan: parallelism.sequence_parallel",
                     "found " + std::to_string(plan.parallelism.sequence_parallel),
                     "this version runs 1", "plan with --parallelism.sequence_parallel 1");
  }
}

// Merges what the stages measured; times count from the first forward's start.
StepResult merge(std::vector<StageRun> runs, const StepInput& input) {
  StepResult result;
  result.target_weight = input.normalizer;
  result.loss = runs.back().loss / input.normalizer;
  result.token_losses = std::move(runs.back().terms);
  Seconds first_seen = std::numeric_limits<Seconds>::infinity();
  for (std::size_t p = 0; p < runs.size(); ++p) {
    if (runs[p].not_finite.empty() || runs[p].not_finite_at >= first_seen) continue;
    first_seen = runs[p].not_finite_at;
    result.not_finite = "stage " + std::to_string(p) + ", " + runs[p].not_finite;
  }
  Trace& trace = result.trace;
  trace.source = "measured";
  trace.step = input.plan.step;
  Seconds start = std::numeric_limits<Seconds>::infinity();
  Seconds end = 0.0;
  for (const StageRun& run : runs) {
    for (const TraceEvent& event : run.events) {
      start = std::min(start, event.begin);
      end = std::max(end, event.end);
    }
  }
  if (end == 0.0) start = 0.0;
  trace.seconds = end - start;
  for (StageRun& run : runs) {
    for (TraceEvent event : run.events) {
      event.ready = std::max(0.0, event.ready - start);  // free before the step began
      event.begin -= start;
      event.end -= start;
      trace.events.push_back(event);
    }
    for (TransferEvent transfer : run.transfers) {
      transfer.begin -= start;
      transfer.end -= start;
      trace.transfers.push_back(transfer);
    }
    for (MemorySample sample : run.memory) {
      sample.at -= start;
      trace.memory.push_back(sample);
    }
    result.peak_bytes.push_back(static_cast<Bytes>(run.peak_bytes));
    result.peak_activation_bytes.push_back(static_cast<Bytes>(run.peak_activation_bytes));
    result.largest_allocation.push_back(static_cast<Bytes>(run.largest_allocation));
    result.parts.push_back(run.parts);
  }
  return result;
}

}  // namespace

struct Engine::Impl {
  Options options;
  std::vector<std::unique_ptr<StageThread>> stages;
  Tokens text_tokens = 0;  // of the text that goes on
  double pool_keep = 0.0;  // free bytes that the pool may keep between steps

  explicit Impl(const Options& given);

  // Runs the job on all stages at once and waits for all. Throws what went wrong first, after all
  // stages have recovered.
  void on_all(const std::string& what, const std::function<void(StageExecutor&, std::size_t)>& job);
  [[noreturn]] void fail(const std::string& what, const std::vector<std::exception_ptr>& thrown);
  void trim_pool(const StepResult& result);
  // After each of the `last` last tokens, [last, vocab].
  at::Tensor logits(const std::vector<std::int64_t>& tokens, Tokens last, bool goes_on);
};

Engine::Impl::Impl(const Options& given) : options(given) {
  options.model.check();
  check_stages(options);
  memory::install();
  memory::set_pooled(options.pooled_allocator);
  const std::size_t count = options.stages.size();
  std::vector<StageExecutor::Options> each(count);
  for (std::size_t p = 0; p < count; ++p) {
    StageModel::Options& model = each[p].model;
    model.model = options.model;
    model.layers = options.stages[p];
    model.embedding = p == 0;
    model.head = p + 1 == count;
    model.dtype = scalar_type(options.dtype);
    model.device = stage_device(options.device, p);
    model.seed = options.seed;
    model.head_block_tokens = options.head_block_tokens;
    model.longest = options.longest;
    model.time_parts = options.time_parts;
    model.check_finite = options.check_finite;
    each[p].optimizer = options.optimizer;
    each[p].only = options.only;
    each[p].total_steps = options.total_steps;
    each[p].longest = options.longest;
    each[p].before_instruction = options.before_instruction;
  }
  auto endpoints = make_communicators(static_cast<int>(count), options.check_messages);
  for (std::size_t p = 0; p < count; ++p) {
    auto endpoint = std::make_shared<std::unique_ptr<TensorCommunicator>>(std::move(endpoints[p]));
    stages.push_back(std::make_unique<StageThread>(
        options.threads_per_stage, [stage_options = each[p], endpoint] {
          return std::make_unique<StageExecutor>(stage_options, std::move(*endpoint));
        }));
  }
  std::exception_ptr thrown;
  for (auto& stage : stages) {
    const std::exception_ptr error = stage->wait();
    if (thrown == nullptr) thrown = error;
  }
  if (thrown != nullptr) std::rethrow_exception(thrown);
}

void Engine::Impl::on_all(const std::string& what,
                          const std::function<void(StageExecutor&, std::size_t)>& job) {
  for (std::size_t p = 0; p < stages.size(); ++p)
    stages[p]->start([&job, p](StageExecutor& executor) { job(executor, p); });
  std::vector<std::exception_ptr> thrown;
  for (auto& stage : stages) thrown.push_back(stage->wait());
  if (std::any_of(thrown.begin(), thrown.end(), [](const auto& e) { return e != nullptr; }))
    fail(what, thrown);
}

void Engine::Impl::fail(const std::string& what, const std::vector<std::exception_ptr>& thrown) {
  for (auto& stage : stages) stage->start([](StageExecutor& executor) { executor.recover(); });
  for (auto& stage : stages) stage->wait();
  for (const std::exception_ptr& each : thrown) {
    if (each == nullptr) continue;
    try {
      std::rethrow_exception(each);
    } catch (const Aborted& aborted) {
      const StageFailure& failure = aborted.failure();
      std::string where = what + ": stage " + std::to_string(failure.stage.value());
      if (!failure.where.empty()) where += ", " + failure.where;
      throw RunError(where, failure.what);
    }
  }
  throw RunError(what, "a stage failed without saying why");
}

// A pool that only grows would hold every length's blocks; one that is emptied would fault its
// pages in again. So: twice what steps of late needed.
void Engine::Impl::trim_pool(const StepResult& result) {
  double transient = 0.0;
  for (const Bytes bytes : result.peak_activation_bytes) transient += bytes;
  constexpr double kAlways = 64.0 * (1 << 20);
  pool_keep = std::max({0.9 * pool_keep, 2.0 * transient, kAlways});
  memory::trim(static_cast<std::int64_t>(pool_keep));
}

Engine::Engine(const Options& options) : impl_(std::make_unique<Impl>(options)) {}
Engine::~Engine() = default;

const Engine::Options& Engine::options() const { return impl_->options; }

StepResult Engine::run(const Plan& plan, const Batch& batch) {
  check_plan(plan, impl_->options);
  require_fits(batch, plan, impl_->options.model.vocab_size);
  const StepInput input(plan, batch);
  INFINIPIPE_ASSERT(input.normalizer > 0.0, "a batch without targets must not be run");
  std::vector<StageRun> runs(impl_->stages.size());
  const TimePoint origin = std::chrono::steady_clock::now();
  impl_->on_all("step " + std::to_string(plan.step),
                [&](StageExecutor& stage, std::size_t p) { runs[p] = stage.run(input, origin); });
  StepResult result = merge(std::move(runs), input);
  impl_->trim_pool(result);
  return result;
}

Engine::Update Engine::optimizer_step(int step) {
  std::vector<StageExecutor::Update> each(impl_->stages.size());
  impl_->on_all("step " + std::to_string(step), [&](StageExecutor& stage, std::size_t p) {
    each[p] = stage.optimizer_step(step);  // the same on all stages but for what is not finite
  });
  Update update{each[0].grad_norm, each[0].lr, each[0].skipped, {}};
  for (std::size_t p = 0; p < each.size() && update.not_finite.empty(); ++p) {
    if (each[p].not_finite.empty()) continue;
    update.not_finite = "stage " + std::to_string(p) + ", " + each[p].not_finite;
  }
  return update;
}

void Engine::zero_grad() {
  impl_->on_all("zero_grad", [](StageExecutor& stage, std::size_t) { stage.zero_grad(); });
}

std::vector<StageStatus> Engine::status() const {
  std::vector<StageStatus> all;
  for (const auto& stage : impl_->stages) all.push_back(stage->executor()->status());
  return all;
}

std::vector<Engine::StateTensor> Engine::state() {
  std::vector<StateTensor> all;
  for (std::size_t p = 0; p < impl_->stages.size(); ++p) {
    StageExecutor& stage = *impl_->stages[p]->executor();
    auto& parameters = stage.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const AdamW::Moments& moments = stage.moments()[i];
      all.push_back({StageId(p), &parameters[i], moments.exp_avg, moments.exp_avg_sq});
    }
  }
  return all;
}

void Engine::state_changed() {
  impl_->on_all("state", [](StageExecutor& stage, std::size_t) { stage.state_changed(); });
}

at::Tensor Engine::continue_text(const std::vector<std::int64_t>& tokens) {
  at::Tensor logits = impl_->logits(tokens, 1, /*goes_on=*/true).squeeze(0);
  impl_->text_tokens += static_cast<Tokens>(tokens.size());
  return logits;
}

void Engine::end_text() {
  impl_->text_tokens = 0;
  impl_->on_all("text", [](StageExecutor& stage, std::size_t) { stage.forget_text(); });
}

at::Tensor Engine::all_logits(const std::vector<std::int64_t>& tokens) {
  return impl_->logits(tokens, static_cast<Tokens>(tokens.size()), /*goes_on=*/false);
}

at::Tensor Engine::Impl::logits(const std::vector<std::int64_t>& tokens, Tokens last,
                                bool goes_on) {
  INFINIPIPE_ASSERT(!tokens.empty(), "logits need at least one token");
  Batch batch;
  batch.sequences = {tokens};
  Plan plan;
  plan.sequences = {static_cast<Tokens>(tokens.size())};
  require_fits(batch, plan, options.model.vocab_size);
  INFINIPIPE_ASSERT(goes_on || text_tokens == 0, "another text goes on");
  const Tokens begin = text_tokens;
  at::Tensor result;
  on_all("logits", [&](StageExecutor& stage, std::size_t p) {
    at::Tensor mine = stage.logits(tokens, last, begin, goes_on);
    if (p + 1 == stages.size()) result = mine.to(at::kCPU);
  });
  return result;
}

}  // namespace infinipipe
