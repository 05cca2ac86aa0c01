#include "trainer/training_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/processor_time.h"
#include "core/layer_costs.h"
#include "dist/ranks.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/report/chrome_trace.h"
#include "planner/layer_split.h"
#include "trainer/checkpoint.h"
#include "trainer/data_lines.h"
#include "trainer/metrics_file.h"
#include "trainer/model_from.h"
#include "trainer/paced_planner.h"
#include "trainer/resume.h"
#include "trainer/setup.h"
#include "trainer/watchdog.h"

namespace infinipipe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

Seconds seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double seconds_since_1970() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return 1e-3 *
         static_cast<double>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

std::size_t replicas(const TrainConfig& config) {
  return static_cast<std::size_t>(config.parallelism.data_parallel);
}

std::string numbered(const std::string& folder, int step) { return folder + "/" + step_name(step); }

Engine::Options engine_options(const TrainOptions& options, const TrainConfig& config,
                               const std::vector<LayerRange>& stages) {
  Engine::Options engine = make_engine_options(config, stages, options.ranks);
  engine.check_finite = config.training.check_finite;
  if (options.before_instruction) {
    engine.before_instruction = [&options](int step, StageId stage, const Instruction& each) {
      options.before_instruction(step, stage.value(), to_string(each));
    };
  }
  return engine;
}

void fill_plan_metrics(const Plan& plan, StepMetrics& metrics) {
  metrics.tokens = plan.total_tokens();
  metrics.sequences = static_cast<int>(plan.sequences.size());
  metrics.planner = plan.planner.name;
  metrics.slices = plan.planner.slices;
  metrics.plan_seconds = plan.planner.seconds;
  metrics.plan_hash = plan_hash(plan);
  for (const Replica& replica : plan.replicas) {
    metrics.pipelines += static_cast<int>(replica.pipelines.size());
    for (const Pipeline& pipeline : replica.pipelines) {
      metrics.chunks += static_cast<int>(pipeline.chunks.size());
    }
  }
  const Plan::Recomputed again = plan.recomputed();
  metrics.recomputed_layers = again.layers;
  metrics.recomputed_by_level = again.by_level;
  if (plan.predicted) {
    metrics.seconds_predicted = plan.predicted->seconds + plan.predicted->step_overhead;
    metrics.bubble_predicted = plan.predicted->bubble;
    for (const StagePrediction& stage : plan.predicted->stages) {
      metrics.peak_bytes_predicted.push_back(stage.peak_bytes);
    }
  }
}

}  // namespace

TrainingRun::TrainingRun(const TrainOptions& options, const TrainConfig& config,
                         const BatchSource& batches, PlanContext context, Identity identity,
                         const Validation* validation)
    : options_(options),
      config_(config),
      batches_(batches),
      context_(std::move(context)),
      identity_(std::move(identity)),
      validation_(validation),
      stages_(stage_layers(context_)),
      engine_(engine_options(options, config, stages_)),
      device_flops_(
          measured_matmul_flops(engine_.options()) *
          devices_at_work(config.runtime.device, static_cast<std::size_t>(ranks_of(config)))),
      calibrator_(static_cast<int>(stages_.size()), config.planner.ahead, true),
      health_(config.training.max_skipped_steps, options.warn) {}

void TrainingRun::require_shared_folder() {
  if (!config_.checkpoint.path.empty())
    infinipipe::require_shared_folder(engine_, config_.checkpoint.path);
}

void TrainingRun::load(const CheckpointInfo& checkpoint) {
  load_checkpoint(checkpoint, engine_, true);
  resumed_ = true;
  newest_ = checkpoint.folder;
  if (!checkpoint.record.planning.is_object()) return;
  // Paces are against a profile and of stages: other ones' say nothing.
  const JsonView planning = saved_planning(checkpoint);
  if (measured_alike(config_, checkpoint.config) &&
      hash_json(planning.at("profile").json()) == profile_hash(context_.profile)) {
    calibrator_.restore(planning.at("calibration"));
  } else {
    options_.log(
        "note    the pace that stages were measured at is forgotten: another profile, "
        "other stages, replicas or threads");
  }
}

void TrainingRun::begin_with(const ModelFolder& folder) {
  load_starting_weights(folder, engine_);
  options_.log("began   with the weights of " + folder.path());
  const std::string changes = model_changes(folder.model(), config_.model);
  if (!changes.empty()) options_.log("changed " + changes);
}

void TrainingRun::describe() const {
  std::string split;
  for (const LayerRange& stage : stages_) {
    split += (split.empty() ? "" : ", ") + std::to_string(stage.begin) + "-" +
             std::to_string(stage.end - 1);
  }
  options_.log("model   " + std::string(to_string(config_.model.family)) + ", " +
               format_count(config_.model.parameters()) + " parameters, " +
               std::to_string(config_.model.num_hidden_layers) + " layers of " +
               std::to_string(config_.model.hidden_size) + ", " +
               to_string(config_.training.dtype));
  for (const std::string& line : data_lines(batches_)) options_.log(line);
  if (validation_ != nullptr) options_.log("eval    " + validation_->describe());
  const int shards = config_.parallelism.sequence_parallel;
  const std::string copies =
      (replicas(config_) > 1 ? std::to_string(replicas(config_)) + " replicas x " : std::string()) +
      (shards > 1 ? std::to_string(shards) + " shards x " : std::string());
  options_.log("stages  " + std::to_string(stages_.size()) + " (layers " + split + ") x " + copies +
               std::to_string(config_.runtime.threads_per_stage) + " thread(s) on " +
               to_string(config_.runtime.device) +
               (options_.ranks == nullptr
                    ? std::string()
                    : " in " + std::to_string(options_.ranks->size()) + " processes over " +
                          to_string(config_.runtime.communicator)) +
               ", planner " + config_.planner.name);
}

TrainResult TrainingRun::run(int first) {
  TrainResult result;
  result.next_step = first;
  result.steps = config_.training.steps;
  MetricsFile metrics_file(config_.metrics.path,
                           resumed_ ? std::optional<int>(first) : std::nullopt, options_.warn);
  metrics_file.count_repeated(identity_.record);
  const Clock::time_point started = Clock::now();
  const Seconds processor = process_seconds();
  PlanServiceOptions service;
  service.ahead = config_.planner.ahead;
  service.first = first;
  service.end = config_.training.steps;
  PlanService plans(
      std::shared_ptr<const Planner>(make_paced_planner(context_, config_.planner.recalibrate)),
      [this](int step) {
        PlanRequest request;
        request.sequences = batches_.lengths(step);
        request.step = step;
        request.stage_pace = calibrator_.pace_for(step);
        return request;
      },
      service);
  const Watchdog watchdog([this] { return engine_.status(); },
                          config_.runtime.stalled_after_seconds, options_.on_stalled);
  for (int step = first; step < config_.training.steps; ++step) {
    StepMetrics metrics;
    try {
      metrics = train_step(step, plans);
    } catch (...) {
      fail(step, result, std::current_exception());
    }
    const auto asked = [this] { return options_.stop != nullptr && options_.stop->load(); };
    const bool time_is_up = config_.training.max_minutes > 0.0 &&
                            seconds_since(started) >= 60.0 * config_.training.max_minutes;
    const bool is_last = step + 1 == config_.training.steps;
    std::exception_ptr broken;  // in judging; the step itself is done
    if (validation_ != nullptr && !asked() &&
        validation_->is_due(step + 1, is_last || time_is_up)) {
      try {
        validate(metrics);
      } catch (...) {
        broken = std::current_exception();
      }
    }
    metrics_file.append(metrics);
    options_.on_step(metrics);
    if (metrics.skipped) {
      ++result.skipped;
    } else {
      if (result.steps_done == result.skipped) result.first_loss = metrics.loss;
      result.last_loss = metrics.loss;
      proven_ = newest_;  // a step went well from it
      unsaved_ = true;
    }
    result.plan_cpu_seconds += metrics.plan_cpu_seconds;
    if (step > first) result.plan_wait_seconds += metrics.plan_wait_seconds;
    ++result.steps_done;
    result.next_step = step + 1;
    result.steps_repeated = metrics.steps_repeated;
    result.seconds_lost = metrics.seconds_lost;
    result.goodput = metrics.goodput;
    health_.observe(metrics, proven_);
    if (broken != nullptr) fail(step + 1, result, broken);
    const bool by_request = asked();
    result.stopped = (by_request || time_is_up) && !is_last;
    result.skipped_at_end = health_.skipped_in_a_row();
    save_when_due(result.next_step, result.stopped || result.next_step == config_.training.steps,
                  result);
    if (result.stopped) {
      options_.log("stopped at step " + std::to_string(result.next_step) + " of " +
                   std::to_string(config_.training.steps) +
                   (by_request ? ", by request" : ", at training.max_minutes"));
      break;
    }
  }
  result.cpu_seconds = process_seconds() - processor;
  require_learning(result);
  return result;
}

// After skipped steps weights are as they were: a checkpoint of them would say nothing new, become
// the newest, and push out others.
void TrainingRun::save_when_due(int next_step, bool last, TrainResult& result) {
  const int every = config_.checkpoint.every;
  const bool due = every > 0 && next_step % every == 0 && health_.skipped_in_a_row() == 0;
  if (config_.checkpoint.path.empty() || !(last || due)) return;
  if (!unsaved_ && health_.skipped_in_a_row() > 0) {
    if (!newest_.empty()) {
      result.checkpoint = newest_;
      options_.log("note    not saved: the steps since " + newest_ + " were skipped");
    }
    return;
  }
  try {
    save(next_step, last, result);
    return;
  } catch (const NotFiniteError&) {
    throw;
  } catch (const Error& error) {
    const std::string kept = newest_.empty() ? "" : "; " + newest_ + " is whole";
    if (last) {
      throw Error(error.kind(), "after step " + std::to_string(next_step - 1),
                  std::string("the checkpoint could not be saved: ") + error.what(), {},
                  "what was trained since " + (newest_.empty() ? "the start" : newest_) +
                      " is lost" + kept);
    }
    options_.warn("after step " + std::to_string(next_step - 1) +
                  ": the checkpoint could not be saved: " + error.what() + kept +
                  "; training goes on, and the next one is due in " + std::to_string(every) +
                  " steps");
  }
}

// A run that comes to its end without learning does not look well.
void TrainingRun::require_learning(const TrainResult& result) const {
  const int skipped = result.skipped_at_end;
  if (skipped == 0) return;
  const bool one = skipped == 1;
  if (!result.stopped && skipped == result.steps_done) {
    throw RunError("step " + std::to_string(result.next_step - 1),
                   one ? "the only step was skipped"
                       : "all " + std::to_string(skipped) + " steps were skipped",
                   "expected a finite loss and gradient",
                   "lower optimizer.lr or model.initializer_range, or find the cause with "
                   "--training.check_finite true");
  }
  options_.warn(one ? "the last step was skipped: nothing was learnt in it"
                    : "the last " + std::to_string(skipped) +
                          " steps were skipped: nothing was learnt in them");
}

void TrainingRun::save(int next_step, bool last, TrainResult& result) {
  const CheckpointRecord record{
      {{"profile", profile_to_json(context_.profile)}, {"calibration", calibrator_.state()}},
      to_json(identity_.record),
      identity_.data,
      identity_.tokenizer,
      identity_.companions};
  Rotation rotation;
  rotation.remove_others = options_.overwrite;
  // The end of a run that goes well needs no older one.
  if (!last || health_.skipped_in_a_row() > 0) rotation.keep_too = proven_;
  result.checkpoint = newest_ =
      save_checkpoint(engine_, config_, next_step, batches_.state(next_step), record, rotation);
  unsaved_ = false;
  options_.log("saved   " + result.checkpoint);
}

// The step failed: what was trained before it is saved first, where that is whole.
void TrainingRun::fail(int step, TrainResult& result, const std::exception_ptr& error) {
  ErrorKind kind = ErrorKind::kRun;
  std::string what = "an unknown exception";
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    kind = known.kind();
    what = known.what();
  } catch (const std::bad_alloc&) {
    what = "out of memory";
  } catch (const std::exception& other) {
    what = other.what();
  }
  const std::string where = "step " + std::to_string(step);
  if (what.starts_with(where + ": ")) what.erase(0, where.size() + 2);
  std::string next = "nothing was trained";
  if (updating_) {
    next = "the weights were being changed, so they are not saved";
    if (!newest_.empty()) next += "; " + newest_ + " is whole";
  } else if (result.steps_done > 0 && config_.checkpoint.path.empty()) {
    next = "the steps before it are lost: checkpoint.path is not set";
  } else if (result.steps_done > 0) {
    try {
      if (unsaved_) save(step, false, result);
      next = newest_.empty() ? "no step before it went well"
                             : "the steps before it are saved in " + newest_;
    } catch (const Error& unsaved) {
      next = std::string("the steps before it could not be saved: ") + unsaved.what();
    }
  } else if (resumed_) {
    next = "nothing was trained beyond " + newest_;
  }
  throw Error(kind, where, what, {}, next);
}

StepMetrics TrainingRun::train_step(int step, PlanService& plans) {
  const Clock::time_point started = Clock::now();
  StepMetrics metrics;
  metrics.step = step;
  const PlanService::Ready ready = plans.get(step);
  const Plan& plan = ready.plan;
  LoadedBatch loaded = batches_.load(step);
  metrics.truncated_sequences = static_cast<int>(loaded.truncated_sequences);
  metrics.truncated_tokens = loaded.truncated_tokens;
  metrics.split_sequences = static_cast<int>(loaded.split_sequences);
  metrics.dropped_documents = dropped_documents(batches_.corpus());
  metrics.epochs = batches_.epochs(step + 1);
  Batch batch;
  batch.sequences = std::move(loaded.sequences);
  batch.weights = std::move(loaded.weights);

  fill_plan_metrics(plan, metrics);
  metrics.plan_wait_seconds = ready.waited;
  metrics.plan_cpu_seconds = ready.processor;
  engine_.zero_grad();
  metrics.targets = batch.target_weight();
  const bool has_targets = metrics.targets > 0.0;
  if (has_targets) {
    const StepResult result = engine_.run(plan, batch);
    update(step, result, metrics);
    calibrator_.observe(step, plan, result.trace);
    metrics.bubble_measured = result.trace.bubble();
    metrics.peak_bytes = result.peak_bytes;
    if (config_.runtime.device != Device::kCpu) metrics.reserved_bytes = result.reserved_bytes;
    warn_over_budget(step, plan, result.peak_bytes);
    keep_files(step, plan, result.trace);
  } else {
    metrics.skipped = true;
    metrics.skipped_because = kNoTargets;
    metrics.loss = metrics.grad_norm = kNotANumber;
    metrics.peak_bytes.assign(stages_.size(), 0.0);
    keep_files(step, plan, {});
  }
  metrics.seconds = seconds_since(started);
  if (has_targets) {  // else nothing was worked at
    metrics.tokens_per_second = static_cast<double>(metrics.tokens) / metrics.seconds;
    metrics.flops_per_second = training_flops(config_.model, plan.sequences) / metrics.seconds;
    metrics.mfu = metrics.flops_per_second / device_flops_;
  }
  finish(metrics);
  return metrics;
}

void TrainingRun::update(int step, const StepResult& result, StepMetrics& metrics) {
  metrics.loss = result.loss;
  std::string first = result.not_finite;
  if (std::isfinite(result.loss)) {
    updating_ = true;
    const Engine::Update update = engine_.optimizer_step(step);
    updating_ = false;
    metrics.grad_norm = update.grad_norm;
    metrics.lr = update.lr;
    metrics.skipped = update.skipped;
    if (first.empty()) first = update.not_finite;
  } else {
    metrics.grad_norm = kNotANumber;
    metrics.skipped = true;
  }
  if (!metrics.skipped) return;
  metrics.skipped_because = kNotFinite;
  if (!first.empty()) {
    options_.warn("step " + std::to_string(step) +
                  ": the first tensor that is not finite: " + first);
  }
}

// Beside the step: its seconds are not the step's.
void TrainingRun::validate(StepMetrics& metrics) {
  const Clock::time_point started = Clock::now();
  std::optional<CorpusLosses> found;
  try {
    found = validation_->run(engine_, options_.stop);
  } catch (const Error& error) {
    throw Error(error.kind(), "evaluating after step " + std::to_string(metrics.step),
                error.what());
  }
  if (!found) return;
  metrics.eval_loss = found->loss;
  metrics.eval_targets = found->targets;
  metrics.eval_seconds = seconds_since(started);
}

// What the whole run has done with this step.
void TrainingRun::finish(StepMetrics& metrics) {
  RunRecord& record = identity_.record;
  if (metrics.skipped_because != kNoTargets) record.tokens += metrics.tokens;
  record.seconds += metrics.seconds;
  metrics.time = seconds_since_1970();
  metrics.run_id = record.id;
  metrics.run = config_.metrics.run_name.empty() ? record.id : config_.metrics.run_name;
  metrics.tokens_total = record.tokens;
  metrics.seconds_total = record.seconds;
  metrics.steps_repeated = record.steps_repeated;
  metrics.seconds_lost = record.seconds_lost;
  metrics.goodput = record.goodput();
}

// Plans and traces are for looking at: training does not end for want of one.
void TrainingRun::keep_files(int step, const Plan& plan, const Trace& trace) {
  try {
    if (!options_.plan_dir.empty()) write_plan(numbered(options_.plan_dir, step) + ".json", plan);
    if (!options_.trace_dir.empty() && !trace.events.empty()) {
      write_trace(numbered(options_.trace_dir, step) + ".json", trace, &plan);
    }
  } catch (const Error& error) {
    if (std::exchange(files_failed_, true)) return;
    options_.warn(std::string(error.what()) +
                  "; training goes on, and further such failures are not said");
  }
}

// A budget is kept by planning; where a measurement says otherwise, somebody must hear of it.
void TrainingRun::warn_over_budget(int step, const Plan& plan,
                                   const std::vector<Bytes>& peaks) const {
  if (plan.bytes_per_stage <= 0.0) return;
  for (std::size_t p = 0; p < peaks.size(); ++p) {
    if (peaks[p] <= plan.bytes_per_stage) continue;
    options_.warn("step " + std::to_string(step) + ": stage " + std::to_string(p) + " held " +
                  format_bytes(peaks[p]) + " of a limit of " + format_bytes(plan.bytes_per_stage) +
                  "; planned " +
                  format_bytes(plan.predicted ? plan.predicted->stages.at(p).peak_bytes : 0.0) +
                  (context_.profile.source == "measured" ? "" : " (the profile is not measured)"));
  }
}

}  // namespace infinipipe
