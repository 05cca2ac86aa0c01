#include "infinipipe/trainer/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "infinipipe/base/error.h"
#include "infinipipe/base/file.h"
#include "infinipipe/base/processor_time.h"
#include "infinipipe/core/layer_costs.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/data/batch_source.h"
#include "infinipipe/data/indexed_dataset.h"
#include "infinipipe/data/sampler.h"
#include "infinipipe/planner/layer_split.h"
#include "infinipipe/planner/plan_service.h"
#include "infinipipe/report/chrome_trace.h"
#include "infinipipe/trainer/profile.h"
#include "trainer/calibrator.h"
#include "trainer/checkpoint.h"
#include "trainer/metrics_file.h"
#include "trainer/paced_planner.h"
#include "trainer/setup.h"

namespace infinipipe {
namespace {

using Clock = std::chrono::steady_clock;

Seconds seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool stop_requested(const TrainOptions& options) {
  return options.stop != nullptr && options.stop->load();
}

TrainResult stopped_before(int next_step, const TrainOptions& options) {
  options.log("stopped by request, before anything was trained");
  TrainResult result;
  result.stopped = true;
  result.next_step = next_step;
  return result;
}

// What a checkpoint knows of planning; only where it is an object.
JsonView saved_planning(const CheckpointInfo& checkpoint) {
  return {checkpoint.planning, checkpoint.folder + "/manifest.json", "planning"};
}

std::string numbered(const std::string& folder, int step) {
  std::string digits = std::to_string(step);
  digits.insert(0, 6 - std::min<std::size_t>(6, digits.size()), '0');
  return folder + "/step-" + digits;
}

// Whether a profile that was measured for one of them holds for the other on the same machine.
bool measured_alike(const TrainConfig& a, const TrainConfig& b) {
  return a.parallelism.stages == b.parallelism.stages &&
         a.parallelism.layers_per_stage == b.parallelism.layers_per_stage &&
         a.runtime.device == b.runtime.device &&
         a.runtime.threads_per_stage == b.runtime.threads_per_stage &&
         a.runtime.pooled_allocator == b.runtime.pooled_allocator &&
         a.data.max_sequence_length == b.data.max_sequence_length;
}

// One run's moving parts, in the order in which they are made.
class Run final {
 public:
  Run(const TrainOptions& options, const TrainConfig& config, Profile profile)
      : options_(options),
        config_(config),
        dataset_(config.data.path),
        sampler_(dataset_.documents(), config.training.sequences_per_step, config.training.seed),
        batches_(dataset_, sampler_, config.data.max_sequence_length, config.model.vocab_size),
        context_(plan_context(config, std::move(profile))),
        stages_(stage_layers(context_)),
        engine_(make_engine_options(config, stages_)),
        device_flops_(measured_matmul_flops(engine_.options()) *
                      devices_at_work(config.runtime.device, stages_.size())),
        calibrator_(static_cast<int>(stages_.size()), config.planner.ahead,
                    config.planner.recalibrate) {}

  void load(const CheckpointInfo& checkpoint) { load_checkpoint(checkpoint, engine_, true); }

  int resume_step(const CheckpointInfo& checkpoint) {
    const auto step =
        sampler_.restore({checkpoint.sampler, checkpoint.folder + "/manifest.json", "sampler"});
    // Paces are against a profile and of stages: other ones' say nothing.
    if (config_.planner.recalibrate && checkpoint.planning.is_object()) {
      if (measured_alike(config_, checkpoint.config) &&
          hash_json(saved_planning(checkpoint).at("profile").json()) ==
              profile_hash(context_.profile)) {
        calibrator_.restore(saved_planning(checkpoint).at("calibration"));
      } else {
        options_.log(
            "note    the pace that stages were measured at is forgotten: another profile, "
            "other stages or threads");
      }
    }
    return static_cast<int>(step);
  }

  void describe() const {
    std::string split;
    for (const LayerRange& stage : stages_) {
      split += (split.empty() ? "" : ", ") + std::to_string(stage.begin) + "-" +
               std::to_string(stage.end - 1);
    }
    options_.log("model   " + format_count(config_.model.parameters()) + " parameters, " +
                 std::to_string(config_.model.num_hidden_layers) + " layers of " +
                 std::to_string(config_.model.hidden_size) + ", " +
                 to_string(config_.training.dtype));
    options_.log("data    " + config_.data.path + ": " + format_count(dataset_.documents()) +
                 " documents, " + format_count(dataset_.tokens()) + " tokens");
    options_.log("stages  " + std::to_string(stages_.size()) + " (layers " + split + ") x " +
                 std::to_string(config_.runtime.threads_per_stage) + " thread(s) on " +
                 to_string(config_.runtime.device) + ", planner " + config_.planner.name);
  }

  // Trains steps [first, config.training.steps).
  TrainResult run(int first) {
    TrainResult result;
    result.next_step = first;
    MetricsFile metrics_file(config_.metrics.path, first);
    const Clock::time_point started = Clock::now();
    const Seconds processor = process_seconds();
    const auto planner = std::shared_ptr<const Planner>(make_paced_planner(context_));
    PlanServiceOptions service;
    service.ahead = config_.planner.ahead;
    service.first = first;
    service.end = config_.training.steps;
    PlanService plans(
        planner,
        [this](int step) {
          PlanRequest request;
          request.sequences = batches_.lengths(step);
          request.step = step;
          request.stage_pace = calibrator_.pace_for(step);
          return request;
        },
        service);
    for (int step = first; step < config_.training.steps; ++step) {
      const StepMetrics metrics = train_step(step, plans);
      metrics_file.append(metrics);
      options_.on_step(metrics);
      if (metrics.skipped) {
        ++result.skipped;
      } else {
        if (result.steps_done == result.skipped) result.first_loss = metrics.loss;
        result.last_loss = metrics.loss;
      }
      result.plan_cpu_seconds += metrics.plan_cpu_seconds;
      if (step > first) result.plan_wait_seconds += metrics.plan_wait_seconds;
      ++result.steps_done;
      result.next_step = step + 1;

      const bool time_is_up = config_.training.max_minutes > 0.0 &&
                              seconds_since(started) >= 60.0 * config_.training.max_minutes;
      result.stopped = time_is_up || stop_requested(options_);
      const bool last = result.stopped || result.next_step == config_.training.steps;
      const int every = config_.checkpoint.every;
      if (!config_.checkpoint.path.empty() &&
          (last || (every > 0 && result.next_step % every == 0))) {
        result.checkpoint = save_checkpoint(
            engine_, config_, result.next_step, sampler_.state(result.next_step),
            {{"profile", profile_to_json(context_.profile)}, {"calibration", calibrator_.state()}});
        options_.log("saved   " + result.checkpoint);
      }
      if (result.stopped) {
        options_.log(time_is_up ? "stopped at training.max_minutes" : "stopped by request");
        break;
      }
    }
    result.cpu_seconds = process_seconds() - processor;
    return result;
  }

 private:
  StepMetrics train_step(int step, PlanService& plans) {
    const Clock::time_point started = Clock::now();
    StepMetrics metrics;
    metrics.step = step;
    const PlanService::Ready ready = plans.get(step);
    const Plan& plan = ready.plan;
    if (!options_.plan_dir.empty()) write_plan(numbered(options_.plan_dir, step) + ".json", plan);
    LoadedBatch loaded = batches_.load(step);
    metrics.truncated_sequences = static_cast<int>(loaded.truncated_sequences);
    metrics.truncated_tokens = loaded.truncated_tokens;
    Batch batch;
    batch.sequences = std::move(loaded.sequences);

    fill_plan_metrics(plan, metrics);
    metrics.plan_wait_seconds = ready.waited;
    metrics.plan_cpu_seconds = ready.processor;
    engine_.zero_grad();
    if (batch.target_weight() > 0.0) {
      const StepResult result = engine_.run(plan, batch);
      metrics.loss = result.loss;
      if (std::isfinite(result.loss)) {
        const Engine::Update update = engine_.optimizer_step(step);
        metrics.grad_norm = update.grad_norm;
        metrics.lr = update.lr;
        metrics.skipped = update.skipped;
      } else {
        metrics.grad_norm = std::numeric_limits<double>::quiet_NaN();
        metrics.skipped = true;
      }
      calibrator_.observe(step, plan, result.trace);
      metrics.bubble_measured = result.trace.bubble();
      metrics.peak_bytes = result.peak_bytes;
      warn_over_budget(step, plan, result.peak_bytes);
      if (!options_.trace_dir.empty()) {
        write_trace(numbered(options_.trace_dir, step) + ".json", result.trace, &plan);
      }
    } else {
      metrics.skipped = true;
      metrics.peak_bytes.assign(stages_.size(), 0.0);
    }
    metrics.seconds = seconds_since(started);
    metrics.tokens_per_second = static_cast<double>(metrics.tokens) / metrics.seconds;
    metrics.flops_per_second = training_flops(config_.model, plan.sequences) / metrics.seconds;
    metrics.mfu = metrics.flops_per_second / device_flops_;
    return metrics;
  }

  // A budget is kept by planning; where a measurement says otherwise, somebody must hear of it.
  void warn_over_budget(int step, const Plan& plan, const std::vector<Bytes>& peaks) const {
    if (plan.bytes_per_stage <= 0.0) return;
    for (std::size_t p = 0; p < peaks.size(); ++p) {
      if (peaks[p] <= plan.bytes_per_stage) continue;
      options_.log("warning step " + std::to_string(step) + ": stage " + std::to_string(p) +
                   " held " + format_bytes(peaks[p]) + " of a limit of " +
                   format_bytes(plan.bytes_per_stage) + "; planned " +
                   format_bytes(plan.predicted ? plan.predicted->stages.at(p).peak_bytes : 0.0) +
                   (context_.profile.source == "measured" ? "" : " (the profile is not measured)"));
    }
  }

  static void fill_plan_metrics(const Plan& plan, StepMetrics& metrics) {
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

  const TrainOptions& options_;
  const TrainConfig& config_;
  IndexedDataset dataset_;
  Sampler sampler_;
  BatchSource batches_;
  PlanContext context_;
  std::vector<LayerRange> stages_;
  Engine engine_;
  double device_flops_;
  Calibrator calibrator_;
};

// What a resumed run may not change: it would no longer be the same run.
void require_same_run(const TrainConfig& now, const TrainConfig& saved, const std::string& folder) {
  const auto require = [&folder](const char* key, const std::string& found,
                                 const std::string& expected) {
    if (found != expected) {
      throw InputError("config: " + std::string(key), "found " + found,
                       "expected " + expected + " as in " + folder,
                       "use the checkpoint's value, or train without --resume");
    }
  };
  if (!(now.model == saved.model)) {
    throw InputError("config: model", "sizes differ from those of " + folder,
                     "expected the same model", "use the checkpoint's [model] section");
  }
  require("training.dtype", to_string(now.training.dtype), to_string(saved.training.dtype));
  require("training.seed", std::to_string(now.training.seed), std::to_string(saved.training.seed));
  require("training.sequences_per_step", std::to_string(now.training.sequences_per_step),
          std::to_string(saved.training.sequences_per_step));
}

// A resumed run plans with the profile that the checkpoint's plans were made with, unless it is
// told otherwise or runs elsewhere.
std::optional<Profile> saved_profile(const TrainConfig& config, const CheckpointInfo& checkpoint,
                                     const std::function<void(const std::string&)>& log) {
  if (!config.cluster.profile.empty() || !checkpoint.planning.is_object() ||
      !measured_alike(config, checkpoint.config)) {
    return std::nullopt;
  }
  Profile profile = profile_from_json(saved_planning(checkpoint).at("profile").json(),
                                      checkpoint.folder + "/manifest.json: planning.profile");
  if (profile.source == "measured" && profile.machine != machine_name(config.runtime.device)) {
    log("note    the checkpoint's profile is of another machine (" + profile.machine +
        "): not used");
    return std::nullopt;
  }
  return profile;
}

}  // namespace

TrainResult train(const TrainOptions& options) {
  TrainConfig config = options.config;
  config.check();
  if (config.data.path.empty()) {
    throw InputError("config: data.path", "found nothing", "expected the prefix of a data set",
                     "set --data.path to what `infinipipe data build --out` wrote");
  }
  if (config.optimizer.decay_steps == 0) config.optimizer.decay_steps = config.training.steps;
  // What cannot work is said before anything is measured or trained.
  require_runnable(config);
  IndexedDataset{config.data.path};
  if (!config.checkpoint.path.empty()) require_folder_of_checkpoints(config.checkpoint.path);
  std::optional<CheckpointInfo> checkpoint;
  if (options.resume) {
    if (config.checkpoint.path.empty()) {
      throw InputError("config: checkpoint.path", "found nothing",
                       "expected a folder to resume from", "set --checkpoint.path");
    }
    std::vector<std::string> notes;
    checkpoint = find_checkpoint(config.checkpoint.path, &notes);
    for (const std::string& note : notes) options.log(note);
    require_same_run(config, checkpoint->config, checkpoint->folder);
  }
  for (const std::string& folder : {options.plan_dir, options.trace_dir, config.checkpoint.path}) {
    if (!folder.empty()) require_writable_folder(folder);
  }
  if (!options.plan_dir.empty()) make_folder(options.plan_dir);
  if (!options.trace_dir.empty()) make_folder(options.trace_dir);

  std::optional<Profile> profile;
  try {
    if (checkpoint) profile = saved_profile(config, *checkpoint, options.log);
    if (!profile) profile = resolve_profile(config, options.log, kProfileSeconds, options.stop);
  } catch (const Stopped&) {
    return stopped_before(checkpoint ? checkpoint->next_step : 0, options);
  }
  Run run(options, config, std::move(*profile));
  int first = 0;
  if (checkpoint) {
    first = run.resume_step(*checkpoint);
    run.load(*checkpoint);
    options.log("resumed " + checkpoint->folder + ", step " + std::to_string(first));
    if (const int before = checkpoint->config.optimizer.decay_steps;
        before != config.optimizer.decay_steps) {
      options.log("note    the rate now falls until step " +
                  std::to_string(config.optimizer.decay_steps) + ", before until step " +
                  std::to_string(before) + " (optimizer.decay_steps)");
    }
  } else if (has_checkpoints(config.checkpoint.path)) {
    options.log("note    " + config.checkpoint.path +
                " holds an earlier run's checkpoints; --resume would have gone on from them");
  }
  run.describe();
  if (stop_requested(options)) return stopped_before(first, options);
  return run.run(first);
}

}  // namespace infinipipe
