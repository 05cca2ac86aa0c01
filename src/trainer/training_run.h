// One process's part of a run: the engine, plans made ahead, and the loop over steps.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "data/batch_source.h"
#include "data/model_folder.h"
#include "infinipipe/planner/planner.h"
#include "infinipipe/trainer/trainer.h"
#include "planner/plan_service.h"
#include "runtime/engine.h"
#include "trainer/calibrator.h"
#include "trainer/checkpoint.h"
#include "trainer/run_record.h"
#include "trainer/step_health.h"
#include "trainer/validation.h"

namespace infinipipe {

class TrainingRun final {
 public:
  // What the checkpoints of the run say of it.
  struct Identity {
    RunRecord record;
    Json data;
    Json tokenizer;
    Companions companions;
  };

  // Everything referred to must live on. `validation` may be null.
  TrainingRun(const TrainOptions& options, const TrainConfig& config, const BatchSource& batches,
              PlanContext context, Identity identity, const Validation* validation);

  // Throws InputError where other processes do not see checkpoint.path.
  void require_shared_folder();
  // Goes on from a checkpoint.
  void load(const CheckpointInfo& checkpoint);
  // Begins with the weights of config.model_from.
  void begin_with(const ModelFolder& folder);
  void describe() const;
  // Trains steps [first, config.training.steps).
  TrainResult run(int first);

 private:
  StepMetrics train_step(int step, PlanService& plans);
  void update(int step, const StepResult& result, StepMetrics& metrics);
  void finish(StepMetrics& metrics);
  void validate(StepMetrics& metrics);
  void keep_files(int step, const Plan& plan, const Trace& trace);
  void save(int next_step, bool last, TrainResult& result);
  void save_when_due(int next_step, bool last, TrainResult& result);
  void require_learning(const TrainResult& result) const;
  [[noreturn]] void fail(int step, TrainResult& result, const std::exception_ptr& error);
  void warn_over_budget(int step, const Plan& plan, const std::vector<Bytes>& peaks) const;

  const TrainOptions& options_;
  const TrainConfig& config_;
  const BatchSource& batches_;
  PlanContext context_;
  Identity identity_;
  const Validation* validation_;
  std::vector<LayerRange> stages_;
  Engine engine_;
  double device_flops_;
  Calibrator calibrator_;
  StepHealth health_;
  bool resumed_ = false;
  bool updating_ = false;  // weights are not of one step: what fails now must not be saved
  bool files_failed_ = false;
  std::string proven_;    // the newest checkpoint that a step went well from
  std::string newest_;    // the newest of this process, or the one it resumed
  bool unsaved_ = false;  // weights have changed since that one
};

}  // namespace infinipipe
