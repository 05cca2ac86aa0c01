#include "runtime/engine.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/head_shares.h"
#include "dist/ranks.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/validate.h"
#include "runtime/rank_endpoints.h"
#include "runtime/remote_ranks.h"

namespace infinipipe {

namespace {

void check_stages(const Engine::Options& options) {
  if (options.threads_per_stage < 1) {
    throw InputError("config: runtime.threads_per_stage",
                     "found " + std::to_string(options.threads_per_stage), "expected at least 1");
  }
  if (options.replicas < 1) {
    throw InputError("config: parallelism.data_parallel",
                     "found " + std::to_string(options.replicas), "expected at least 1");
  }
  require_heads(options.model.heads(), options.shards);
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
  if (plan.parallelism.sequence_parallel != options.shards) {
    throw InputError("plan: parallelism.sequence_parallel",
                     "found " + std::to_string(plan.parallelism.sequence_parallel),
                     "expected the engine's " + std::to_string(options.shards),
                     "plan for the sequence_parallel that the run was started with");
  }
}

// What an evaluation says of each token: a sequence is in one replica, and a token on one of its
// shards, where the others have 0.
void merge_terms(std::vector<std::vector<double>>& all, std::vector<std::vector<double>> terms) {
  all.resize(std::max(all.size(), terms.size()));
  for (std::size_t i = 0; i < terms.size(); ++i) {
    if (terms[i].empty()) continue;
    if (all[i].empty()) {
      all[i] = std::move(terms[i]);
      continue;
    }
    for (std::size_t j = 0; j < terms[i].size(); ++j) all[i][j] += terms[i][j];
  }
}

// Merges what the ranks measured; times count from the first forward's start. Shards of a stage run
// the same instructions and wait for each other in each layer, so the first one's events are shown.
StepResult merge(std::vector<StageRun> runs, const StepInput& input, const RankLayout& layout) {
  StepResult result;
  result.target_weight = input.normalizer;
  for (const int rank : layout.copies_of(StageId(layout.stages - 1))) {
    StageRun& run = runs[static_cast<std::size_t>(rank)];
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
  for (std::size_t rank = 0; rank < runs.size(); ++rank) {
    if (layout.shard(static_cast<int>(rank)) != 0) continue;
    StageRun& run = runs[rank];
    shift(run, -start);
    for (TraceEvent& event : run.events) {
      event.ready = std::max(0.0, event.ready);  // free before the step began
      trace.events.push_back(event);
    }
    trace.transfers.insert(trace.transfers.end(), run.transfers.begin(), run.transfers.end());
    trace.memory.insert(trace.memory.end(), run.memory.begin(), run.memory.end());
  }
  const auto stages = static_cast<std::size_t>(layout.stages);
  for (auto* bytes : {&result.peak_bytes, &result.peak_activation_bytes, &result.largest_allocation,
                      &result.reserved_bytes})
    bytes->assign(stages, 0.0);
  result.exchanged_bytes.assign(stages, 0.0);
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
    most(result.reserved_bytes, run.reserved_bytes);
    result.exchanged_bytes[p] += static_cast<Bytes>(run.exchanged_bytes);
    result.parts[p] += run.parts;
  }
  return result;
}

}  // namespace

struct Engine::Impl {
  Options options;
  RemoteRanks remote;
  std::optional<LocalRanks> local;
  Tokens text_tokens = 0;  // of the text that goes on

  explicit Impl(const Options& given);
  ~Impl();

  // Does it on all ranks at once and waits for all: replies by rank. Throws what went wrong first,
  // after all ranks have recovered.
  std::vector<Reply> on_all(const Command& command);
  [[noreturn]] void fail(const std::string& part, const std::vector<LocalRanks::Outcome>& outcomes);
  // This process's part beside what the others were asked for, and their answers. An error is
  // thrown after all have answered, so that no answer is left over: this process's, or the first of
  // theirs.
  std::vector<Json> beside_remote(const std::function<void()>& here);
  void end_remote();
  // After each of the `last` last tokens, [last, vocab].
  at::Tensor logits(const std::vector<std::int64_t>& tokens, Tokens last, bool goes_on);
};

// The other processes make their ranks while this one makes its own, because communicators are made
// by all together.
Engine::Impl::Impl(const Options& given) : options(given), remote(given.ranks) {
  options.model.check();
  check_stages(options);
  remote.start_making(options);
  try {
    beside_remote([this] { local.emplace(options, make_endpoints(options)); });
  } catch (...) {
    end_remote();
    throw;
  }
}

Engine::Impl::~Impl() { end_remote(); }

std::vector<Json> Engine::Impl::beside_remote(const std::function<void()>& here) {
  std::exception_ptr thrown;
  std::vector<Json> answers;
  try {
    here();
  } catch (...) {
    thrown = std::current_exception();
  }
  try {
    answers = remote.wait();
  } catch (...) {
    if (thrown == nullptr) thrown = std::current_exception();
  }
  if (thrown != nullptr) std::rethrow_exception(thrown);
  return answers;
}

void Engine::Impl::end_remote() {
  try {
    remote.start_ending();
    remote.wait();
  } catch (const std::exception&) {
    // They are gone, and whoever noticed has said so.
  }
}

std::vector<Reply> Engine::Impl::on_all(const Command& command) {
  const TimePoint origin = std::chrono::steady_clock::now();
  remote.start_command(command, origin);
  std::vector<LocalRanks::Outcome> outcomes;
  try {
    local->start(command, origin);
    outcomes = local->wait();
  } catch (...) {
    // The other processes have begun, and wait for this one.
    if (options.ranks != nullptr) options.ranks->fail(name_of(command), std::current_exception());
    throw;
  }
  if (std::any_of(outcomes.begin(), outcomes.end(),
                  [](const LocalRanks::Outcome& each) { return each.thrown != nullptr; }))
    fail(part_of(command), outcomes);
  std::vector<Reply> replies;
  for (LocalRanks::Outcome& outcome : outcomes) replies.push_back(std::move(outcome.reply));
  for (Reply& reply : remote.wait_for_replies()) replies.push_back(std::move(reply));
  return replies;
}

void Engine::Impl::fail(const std::string& part, const std::vector<LocalRanks::Outcome>& outcomes) {
  if (options.ranks == nullptr) local->recover();
  for (const LocalRanks::Outcome& outcome : outcomes) {
    if (outcome.thrown == nullptr) continue;
    try {
      std::rethrow_exception(outcome.thrown);
    } catch (const Aborted& aborted) {
      const StageFailure& failure = aborted.failure();
      if (options.ranks != nullptr) options.ranks->fail(failure.where, failure.what);
      std::string where =
          part + ": " + local->layout().name(failure.replica, failure.stage, failure.shard);
      if (!failure.where.empty()) where += ", " + failure.where;
      throw RunError(where, failure.what);
    }
  }
  throw RunError(part, "a stage failed without saying why");
}

Engine::Engine(const Options& options) : impl_(std::make_unique<Impl>(options)) {}
Engine::~Engine() = default;

const Engine::Options& Engine::options() const { return impl_->options; }

StepResult Engine::run(const Plan& plan, const Batch& batch) {
  check_plan(plan, impl_->options);
  require_fits(batch, plan, impl_->options.model.vocab_size);
  const StepInput input(plan, batch);
  INFINIPIPE_ASSERT(input.normalizer > 0.0, "a batch without targets must not be run");
  std::vector<StageRun> runs;
  // The caller's plan and batch outlive the command.
  const RunStep command{std::shared_ptr<const StepInput>(std::shared_ptr<void>(), &input)};
  for (Reply& reply : impl_->on_all(command)) runs.push_back(std::get<StageRun>(std::move(reply)));
  return merge(std::move(runs), input, impl_->local->layout());
}

Engine::Update Engine::optimizer_step(int step) {
  const std::vector<Reply> replies = impl_->on_all(OptimizerStep{step});
  const RankLayout& layout = impl_->local->layout();
  // The same on all ranks but for what is not finite.
  const auto of = [&](int rank) -> const StageExecutor::Update& {
    return std::get<StageExecutor::Update>(replies[static_cast<std::size_t>(rank)]);
  };
  Update update{of(0).grad_norm, of(0).lr, of(0).skipped, {}};
  for (int p = 0; p < layout.stages; ++p) {
    for (const int rank : layout.copies_of(StageId(p))) {
      const std::string& found = of(rank).not_finite;
      if (!found.empty() && update.not_finite.empty())
        update.not_finite = layout.name(rank) + ", " + found;
    }
  }
  return update;
}

void Engine::zero_grad() { impl_->on_all(ZeroGrad{}); }

void Engine::state_changed() { impl_->on_all(StateChanged{}); }

std::vector<StageStatus> Engine::status() const { return impl_->local->status(); }

std::vector<Engine::StateTensor> Engine::state(int copy) { return impl_->local->state(copy); }

AdamW::Moments Engine::moments(const StateTensor& tensor) { return impl_->local->moments(tensor); }

void Engine::set_moments(const StateTensor& tensor, const AdamW::Moments& whole) {
  impl_->local->set_moments(tensor, whole);
}

std::vector<Json> Engine::on_each_process(const ProcessJob& job, const Json& arguments,
                                          const std::function<Json(LocalRanks&)>& here) {
  impl_->remote.start_job(job, arguments);
  Ranks* const ranks = impl_->options.ranks;
  Json own;
  std::vector<Json> values = impl_->beside_remote([&] {
    LocalRanks& local = *impl_->local;
    if (ranks != nullptr) ranks->note(job.name);
    own = here ? here(local) : job.run(local, arguments);
  });
  if (ranks != nullptr) ranks->idle();
  values.insert(values.begin(), std::move(own));
  return values;
}

at::Tensor Engine::continue_text(const std::vector<std::int64_t>& tokens) {
  at::Tensor logits = impl_->logits(tokens, 1, /*goes_on=*/true).squeeze(0);
  impl_->text_tokens += static_cast<Tokens>(tokens.size());
  return logits;
}

void Engine::end_text() {
  impl_->text_tokens = 0;
  impl_->on_all(ForgetText{});
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
  std::vector<Reply> replies = on_all(NextLogits{tokens, last, text_tokens, goes_on});
  const RankLayout& layout = local->layout();
  std::vector<at::Tensor> rows;  // shards have each some of the tokens
  for (int shard = 0; shard < layout.shards; ++shard) {
    const int rank = layout.rank(0, StageId(layout.stages - 1), shard);
    rows.push_back(std::get<at::Tensor>(std::move(replies[static_cast<std::size_t>(rank)])));
  }
  return rows.size() == 1 ? rows.front() : at::cat(rows, 0);
}

}  // namespace infinipipe
