#include "infinipipe/trainer/trainer.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "base/file.h"
#include "data/batch_source.h"
#include "data/corpus.h"
#include "infinipipe/base/error.h"
#include "trainer/checkpoint.h"
#include "trainer/identity.h"
#include "trainer/model_from.h"
#include "trainer/preflight.h"
#include "trainer/profile.h"
#include "trainer/resume.h"
#include "trainer/run_lock.h"
#include "trainer/run_record.h"
#include "trainer/setup.h"
#include "trainer/training_run.h"
#include "trainer/validation.h"

namespace infinipipe {
namespace {

TrainResult stopped_before(int next_step, const TrainConfig& config, const TrainOptions& options) {
  options.log("stopped at step " + std::to_string(next_step) + " of " +
              std::to_string(config.training.steps) + ", by request, before anything was trained");
  TrainResult result;
  result.stopped = true;
  result.next_step = next_step;
  result.steps = config.training.steps;
  return result;
}

// What other tools must know of a model that begins with new weights: where its texts end.
Companions new_companions(const std::optional<TokenizerFacts>& tokenizer) {
  Companions companions;
  if (!tokenizer) return companions;
  companions.config = {{"bos_token_id", nullptr},
                       {"eos_token_id", tokenizer->end_of_document},
                       {"pad_token_id", nullptr}};
  return companions;
}

TrainingRun::Identity identity_of(const Corpus& corpus, const TrainConfig& config,
                                  const std::optional<CheckpointInfo>& checkpoint,
                                  const StartingWeights& start,
                                  const std::optional<TokenizerFacts>& tokenizer,
                                  const TrainOptions& options) {
  TrainingRun::Identity identity;
  if (!config.checkpoint.path.empty()) {  // they stand in checkpoints alone, and cost reading
    identity.data = data_identity(corpus);
    identity.tokenizer = tokenizer_identity(config.data.tokenizer);
    identity.companions = checkpoint     ? checkpoint->record.companions
                          : start.folder ? start.companions
                                         : new_companions(tokenizer);
  }
  if (checkpoint) {
    identity.record = run_record(checkpoint->record.run, checkpoint->folder + "/manifest.json");
    compare_identity(identity.data, identity.tokenizer, checkpoint->record.data,
                     checkpoint->record.tokenizer, checkpoint->folder, options.warn);
  }
  if (identity.record.id.empty()) {
    identity.record.id = options.run_id.empty() ? new_run().id : options.run_id;
  }
  return identity;
}

}  // namespace

TrainResult train(const TrainOptions& options) {
  // What cannot work is said before anything is made, measured or trained.
  const std::string& folder = options.config.checkpoint.path;
  std::optional<RunLock> lock;
  if (!folder.empty()) require_folder_of_checkpoints(folder);
  if (!folder.empty() && std::filesystem::is_directory(folder)) lock.emplace(folder, options.warn);
  const std::optional<CheckpointInfo> checkpoint = checkpoint_to_resume(options);
  TrainConfig config = checkpoint ? resumed_config(options, *checkpoint) : options.config;
  config.settle();
  settle_communicator(config, options.ranks);
  config.check();
  if (config.data.path.empty()) {
    throw InputError("config: data.path", "found nothing", "expected the prefix of a data set",
                     "set --data.path to what `infinipipe data build --out` wrote");
  }
  require_ready(options, config);
  warn_of_placement(config, options.ranks, options.warn);
  const std::optional<TokenizerFacts> tokenizer = tokenizer_facts(config, options.warn);
  const StartingWeights start = checkpoint ? StartingWeights{} : open_starting_weights(config);
  const Corpus corpus(config.data);
  BatchSource batches(corpus, config.training, config.model.vocab_size);
  const std::unique_ptr<Validation> validation = Validation::open(config);
  if (!folder.empty()) {
    make_folder(folder);
    if (!lock) lock.emplace(folder, options.warn);
    remove_half_written(folder);
  }
  int first = 0;
  if (checkpoint && checkpoint->state.moments != nullptr) {
    first = static_cast<int>(
        batches.restore({checkpoint->sampler, checkpoint->folder + "/manifest.json", "sampler"}));
  }
  TrainingRun::Identity identity =
      identity_of(corpus, config, checkpoint, start, tokenizer, options);

  std::optional<Profile> profile;
  Survey survey;
  try {
    survey = survey_data(batches, config, first, options.stop, options.log);
    require_memory(config, survey, options.ranks);
    warn_of_small_vocabulary(config, tokenizer, options.warn);
    if (checkpoint) profile = saved_profile(config, *checkpoint, options.log);
    if (!profile)
      profile = resolve_profile(config, options.log, kProfileSeconds, options.stop, options.ranks);
  } catch (const Stopped&) {
    return stopped_before(first, config, options);
  }
  for (const std::string& kept : {options.plan_dir, options.trace_dir}) {
    if (!kept.empty()) make_folder(kept);
  }
  count_received(config, *profile);
  const PlanContext context = plan_context(config, std::move(*profile));
  if (first < config.training.steps) {
    require_fitting(*make_judged_planner(context), batches, survey);
  }
  if (validation != nullptr) validation->plan_with(make_judged_planner(context));
  TrainingRun run(options, config, batches, context, std::move(identity), validation.get());
  run.require_shared_folder();
  if (checkpoint) {
    run.load(*checkpoint);
    options.log("resumed " + checkpoint->folder + ", step " + std::to_string(first));
  } else if (start.folder != nullptr) {
    run.begin_with(*start.folder);
  }
  run.describe();
  if (options.stop != nullptr && options.stop->load()) {
    return stopped_before(first, config, options);
  }
  return run.run(first);
}

}  // namespace infinipipe
