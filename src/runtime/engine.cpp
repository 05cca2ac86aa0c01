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

RankLayout layout_of(const Engine::Options& options) {
  return {static_cast<int>(options.stages.size()), options.replicas};
}

at::Device rank_device(Device device, std::size_t rank) {
  const at::DeviceType type = device_type(device);
  if (type == at::kCPU) return type;
  const int devices = cuda_devices();
  if (devices == 0) {
    throw RunError("config: runtime.device", "found " + std::string(to_string(device)),
                   "but this machine or build has no GPU",
                   "use --runtime.device " + std::string(to_string(Device::kCpu)));
  }
  return at::Device(type, static_cast<at::DeviceIndex>(rank % static_cast<std::size_t>(devices)));
}

void check_stages(const Engine::Options& options) {
  if (options.threads_per_stage < 1) {
    throw InputError("config: runtime.threads_per_stage",
                     "found " + std::to_string(options.threads_per_stage), "expected at least 1");
  }
  if (options.replicas < 1) {
    throw InputError("config: parallelism.data_parallel",
                     "found " + std::to_string(options.replicas), "expected at least 1");
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

std::vector<std::unique_ptr<TensorCommunicator>> make_communicators(const RankLayout& layout,
                                                                    bool check) {
  if (!check) return make_thread_communicators<at::Tensor>(layout);
  std::vector<std::unique_ptr<TensorCommunicator>> endpoints;
  for (auto& inner : make_thread_communicators<CheckedMessage<at::Tensor>>(layout))
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
  if (static_cast<int>(plan.replicas.size()) != options.replicas) {
    throw InputError("plan: parallelism.data_parallel",
                     "found " + std::to_string(plan.replicas.size()),
                     "expected the engine's " + std::to_string(options.replicas),
                     "plan for the replicas that the run was started with");
  }
  if (plan.parallelism.sequence_parallel != 1) {
    throw InputError("plan: parallelism.sequence_parallel",
                     "found " + std::to_string(plan.parallelism.sequence_parallel),
                     "this version runs 1", "plan with --parallelism.sequence_parallel 1");
  }
}

// What an evaluation says of each token: a sequence is in one replica.
void merge_terms(std::vector<std::vector<double>>& all, std::vector<std::vector<double>> terms) {
  all.resize(std::max(all.size(), terms.size()));
  for (std::size_t i = 0; i < terms.size(); ++i)
    if (!terms[i].empty()) all[i] = std::move(terms[i]);
}

// Merges what the ranks measured; times count from the first forward's start.
StepResult merge(std::vector<StageRun> runs, const StepInput& input, const RankLayout& layout) {
  StepResult result;
  result.target_weight = input.normalizer;
  const StageId last(layout.stages - 1);
  for (int r = 0; r < layout.replicas; ++r) {
    StageRun& run = runs[static_cast<std::size_t>(layout.rank(r, last))];
    result.loss += run.loss;
    merge_terms(result.token_losses, std::move(run.terms));
  }
  result.loss /= input.normalizer;
  Seconds first_seen = std::numeric_limits<Seconds>::infinity();
  for (std::size_t rank = 0; rank < runs.size(); ++rank) {
    const StageRun& run = runs[rank];
    if (run.not_finite.empty() || run.not_finite_at >= first_seen) continue;
    first_seen = run.not_finite_at;
    result.not_finite = layout.name(static_cast<int>(rank)) + ", " + run.not_finite;
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
  }
  const auto stages = static_cast<std::size_t>(layout.stages);
  for (auto* bytes :
       {&result.peak_bytes, &result.peak_activation_bytes, &result.largest_allocation})
    bytes->assign(stages, 0.0);
  result.parts.resize(stages);
  for (std::size_t rank = 0; rank < runs.size(); ++rank) {
    const StageRun& run = runs[rank];
    const std::size_t p = layout.stage(static_cast<int>(rank)).index();
    const auto most = [p](std::vector<Bytes>& all, std::int64_t bytes) {
      all[p] = std::max(all[p], static_cast<Bytes>(bytes));
    };
    most(result.peak_bytes, run.peak_bytes);
    most(result.peak_activation_bytes, run.peak_activation_bytes);
    most(result.largest_allocation, run.largest_allocation);
    result.parts[p] += run.parts;
  }
  return result;
}

}  // namespace

struct Engine::Impl {
  Options options;
  RankLayout layout;
  std::vector<std::unique_ptr<StageThread>> ranks;
  Tokens text_tokens = 0;  // of the text that goes on
  double pool_keep = 0.0;  // free bytes that the pool may keep between steps

  explicit Impl(const Options& given);

  // Runs the job on all ranks at once and waits for all. Throws what went wrong first, after all
  // have recovered.
  void on_all(const std::string& what,
              const std::function<void(StageExecutor&, std::size_t rank)>& job);
  [[noreturn]] void fail(const std::string& what, const std::vector<std::exception_ptr>& thrown);
  void trim_pool(const StepResult& result);
  // After each of the `last` last tokens, [last, vocab].
  at::Tensor logits(const std::vector<std::int64_t>& tokens, Tokens last, bool goes_on);
};

Engine::Impl::Impl(const Options& given) : options(given), layout(layout_of(given)) {
  options.model.check();
  check_stages(options);
  memory::install();
  memory::set_pooled(options.pooled_allocator);
  const std::size_t count = options.stages.size();
  std::vector<StageExecutor::Options> each(static_cast<std::size_t>(layout.size()));
  for (std::size_t rank = 0; rank < each.size(); ++rank) {
    const std::size_t p = layout.stage(static_cast<int>(rank)).index();
    StageModel::Options& model = each[rank].model;
    model.model = options.model;
    model.layers = options.stages[p];
    model.embedding = p == 0;
    model.head = p + 1 == count;
    model.dtype = scalar_type(options.dtype);
    model.device = rank_device(options.device, rank);
    model.seed = options.seed;
    model.head_block_tokens = options.head_block_tokens;
    model.longest = options.longest;
    model.time_parts = options.time_parts;
    model.check_finite = options.check_finite;
    each[rank].optimizer = options.optimizer;
    each[rank].only = options.only;
    each[rank].total_steps = options.total_steps;
    each[rank].longest = options.longest;
    each[rank].before_instruction = options.before_instruction;
  }
  auto endpoints = make_communicators(layout, options.check_messages);
  for (std::size_t rank = 0; rank < each.size(); ++rank) {
    auto endpoint =
        std::make_shared<std::unique_ptr<TensorCommunicator>>(std::move(endpoints[rank]));
    ranks.push_back(std::make_unique<StageThread>(
        options.threads_per_stage, [rank_options = each[rank], endpoint] {
          return std::make_unique<StageExecutor>(rank_options, std::move(*endpoint));
        }));
  }
  std::exception_ptr thrown;
  for (auto& rank : ranks) {
    const std::exception_ptr error = rank->wait();
    if (thrown == nullptr) thrown = error;
  }
  if (thrown != nullptr) std::rethrow_exception(thrown);
}

void Engine::Impl::on_all(const std::string& what,
                          const std::function<void(StageExecutor&, std::size_t)>& job) {
  for (std::size_t rank = 0; rank < ranks.size(); ++rank)
    ranks[rank]->start([&job, rank](StageExecutor& executor) { job(executor, rank); });
  std::vector<std::exception_ptr> thrown;
  for (auto& rank : ranks) thrown.push_back(rank->wait());
  if (std::any_of(thrown.begin(), thrown.end(), [](const auto& e) { return e != nullptr; }))
    fail(what, thrown);
}

void Engine::Impl::fail(const std::string& what, const std::vector<std::exception_ptr>& thrown) {
  for (auto& rank : ranks) rank->start([](StageExecutor& executor) { executor.recover(); });
  for (auto& rank : ranks) rank->wait();
  for (const std::exception_ptr& each : thrown) {
    if (each == nullptr) continue;
    try {
      std::rethrow_exception(each);
    } catch (const Aborted& aborted) {
      const StageFailure& failure = aborted.failure();
      std::string where = what + ": " + layout.name(failure.replica, failure.stage);
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
  for (const Bytes bytes : result.peak_activation_bytes) transient += layout.replicas * bytes;
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
  std::vector<StageRun> runs(impl_->ranks.size());
  const TimePoint origin = std::chrono::steady_clock::now();
  impl_->on_all("step " + std::to_string(plan.step), [&](StageExecutor& stage, std::size_t rank) {
    runs[rank] = stage.run(input, origin);
  });
  StepResult result = merge(std::move(runs), input, impl_->layout);
  impl_->trim_pool(result);
  return result;
}

Engine::Update Engine::optimizer_step(int step) {
  const RankLayout& layout = impl_->layout;
  std::vector<StageExecutor::Update> each(impl_->ranks.size());
  impl_->on_all("step " + std::to_string(step), [&](StageExecutor& stage, std::size_t rank) {
    each[rank] = stage.optimizer_step(step);  // the same on all ranks but for what is not finite
  });
  Update update{each[0].grad_norm, each[0].lr, each[0].skipped, {}};
  for (int p = 0; p < layout.stages; ++p) {
    for (int r = 0; r < layout.replicas && update.not_finite.empty(); ++r) {
      const std::string& found =
          each[static_cast<std::size_t>(layout.rank(r, StageId(p)))].not_finite;
      if (!found.empty()) update.not_finite = layout.name(r, StageId(p)) + ", " + found;
    }
  }
  return update;
}

void Engine::zero_grad() {
  impl_->on_all("zero_grad", [](StageExecutor& stage, std::size_t) { stage.zero_grad(); });
}

std::vector<StageStatus> Engine::status() const {
  std::vector<StageStatus> all;
  for (const auto& rank : impl_->ranks) {
    all.push_back(rank->executor()->status());
    all.back().who = impl_->layout.name(static_cast<int>(all.size()) - 1);
  }
  return all;
}

std::vector<Engine::StateTensor> Engine::state(int replica) {
  std::vector<StateTensor> all;
  for (int p = 0; p < impl_->layout.stages; ++p) {
    const StageId stage(p);
    const auto rank = static_cast<std::size_t>(impl_->layout.rank(replica, stage));
    auto& parameters = impl_->ranks[rank]->executor()->parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) all.push_back({stage, i, &parameters[i]});
  }
  return all;
}

AdamW::Moments Engine::moments(const StateTensor& tensor) {
  AdamW::Moments whole;
  impl_->on_all("moments", [&](StageExecutor& stage, std::size_t) {
    if (stage.stage() != tensor.stage) return;
    AdamW::Moments gathered = stage.gather_moments(tensor.index);
    if (stage.replica() == 0) whole = std::move(gathered);
  });
  return whole;
}

void Engine::set_moments(const StateTensor& tensor, const AdamW::Moments& whole) {
  impl_->on_all("moments", [&](StageExecutor& stage, std::size_t) {
    if (stage.stage() != tensor.stage) return;
    stage.scatter_moments(tensor.index, stage.replica() == 0 ? whole : AdamW::Moments());
  });
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
  on_all("logits", [&](StageExecutor& stage, std::size_t) {
    if (stage.replica() > 0) return;
    at::Tensor mine = stage.logits(tokens, last, begin, goes_on);
    if (mine.defined()) result = mine.to(at::kCPU);
  });
  return result;
}

}  // namespace infinipipe
