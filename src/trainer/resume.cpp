#include "trainer/resume.h"

#include <vector>

#include "data/blend.h"
#include "infinipipe/base/error.h"
#include "profile/profile_machine.h"
#include "trainer/run_record.h"

namespace infinipipe {
namespace {

// Keys that a resumed run may not change: it would no longer be the same run.
bool of_the_run(const std::string& key) {
  return (key.starts_with("model.") && key != "model.preset") || key == "training.dtype" ||
         key == "training.seed" || key == "training.sequences_per_step" ||
         key == "training.tokens_per_step" || key == "data.long_documents";
}

// Whether both draw from as many sets by the same weights. Where a set lies may have changed; that
// it is another one is found out by its fingerprint (identity.h).
bool same_blend(const DataConfig& a, const DataConfig& b) {
  const auto weights = [](const DataConfig& data) {
    std::vector<double> all;
    for (const WeightedData& set : data.sets()) all.push_back(set.weight);
    return all;
  };
  const std::vector<double> of_a = weights(a);
  const std::vector<double> of_b = weights(b);
  if (of_a.size() != of_b.size()) return of_a.size() + of_b.size() <= 1;  // one may have no data
  return of_a.size() < 2 || Blend(of_a).units() == Blend(of_b).units();
}

// Whether a run may not go on with that key changed.
bool is_another_run(const std::string& key, const TrainConfig& now, const TrainConfig& before) {
  if (key == "data.path") return !same_blend(now.data, before.data);
  // What is drawn are parts of that length, or documents up to it.
  if (key == "data.max_sequence_length") return before.data.long_documents != LongDocuments::kCut;
  return of_the_run(key);
}

std::string shown(const std::string& value) { return value.empty() ? "nothing" : value; }

// The newest checkpoint that is whole, and what was passed over on the way said.
CheckpointInfo newest_whole(const TrainOptions& options) {
  std::vector<std::string> notes;
  CheckpointInfo found = find_checkpoint(options.config.checkpoint.path, &notes);
  for (const std::string& note : notes) options.warn(note);
  return found;
}

// Where a run goes on that a launcher starts again: from its newest checkpoint if it has written
// one. With --overwrite the folder may still hold another run's, which are not its own.
std::optional<CheckpointInfo> own_checkpoint(const TrainOptions& options) {
  if (!has_checkpoints(options.config.checkpoint.path)) return std::nullopt;
  CheckpointInfo found = newest_whole(options);
  const std::string run = run_record(found.record.run, found.folder + "/manifest.json").id;
  if (options.overwrite && run != options.run_id) return std::nullopt;
  return found;
}

}  // namespace

std::optional<CheckpointInfo> checkpoint_to_resume(const TrainOptions& options) {
  const std::string& path = options.config.checkpoint.path;
  if (options.restarted) return own_checkpoint(options);
  if (options.resume && options.overwrite) {
    throw InputError("command line", "found both --resume and --overwrite", "expected one of them");
  }
  if (!options.resume) {
    if (!options.overwrite && has_checkpoints(path)) {
      throw InputError("config: checkpoint.path", "found an earlier run's checkpoints in " + path,
                       "expected a folder of the run's own",
                       "go on from them with --resume, or begin anew with --overwrite");
    }
    return std::nullopt;
  }
  if (path.empty()) {
    throw InputError("config: checkpoint.path", "found nothing", "expected a folder to resume from",
                     "set --checkpoint.path");
  }
  if (!has_checkpoints(path)) {
    if (const std::optional<int> step = latest_step(path)) {
      throw InputError(path, "`latest` names " + step_name(*step) + ", and no checkpoint is there",
                       "expected the checkpoints of the run that goes on",
                       "restore them, or remove " + path + "/latest to begin anew");
    }
    options.log("note    " + path + " holds no checkpoint yet: the run begins");
    return std::nullopt;
  }
  return newest_whole(options);
}

TrainConfig resumed_config(const TrainOptions& options, const CheckpointInfo& checkpoint) {
  const TrainConfig& saved = checkpoint.config;
  TrainConfig config = options.configure ? options.configure(saved) : options.config;
  config.checkpoint.path = options.config.checkpoint.path;
  const bool weights_alone = checkpoint.state.moments == nullptr;
  std::string changed;
  for (const ConfigKey& key : config_keys()) {
    const std::string now = key.get(config);
    const std::string before = key.get(saved);
    if (now == before) continue;
    if (weights_alone && !key.name.starts_with("model.")) continue;  // the run begins here
    if (is_another_run(key.name, config, saved)) {
      throw InputError("config: " + key.name, "found " + shown(now),
                       "expected " + shown(before) + " as in " + checkpoint.folder,
                       "use the checkpoint's value, or train without --resume");
    }
    changed += (changed.empty() ? "" : ", ") + key.name + " " + shown(now) + " (was " +
               shown(before) + ")";
  }
  if (!changed.empty()) options.log("note    other than in the checkpoint: " + changed);
  if (weights_alone) return config;
  if (const int before = decay_end(saved); before != decay_end(config)) {
    options.warn("the rate now falls until step " + std::to_string(decay_end(config)) +
                 ", before until step " + std::to_string(before) + " (optimizer.decay_steps)");
  }
  return config;
}

int decay_end(const TrainConfig& config) {
  return config.optimizer.decay_steps > 0 ? config.optimizer.decay_steps : config.training.steps;
}

JsonView saved_planning(const CheckpointInfo& checkpoint) {
  return {checkpoint.record.planning, checkpoint.folder + "/manifest.json", "planning"};
}

bool measured_alike(const TrainConfig& a, const TrainConfig& b) {
  return a.parallelism.stages == b.parallelism.stages &&
         a.parallelism.layers_per_stage == b.parallelism.layers_per_stage &&
         a.parallelism.sequence_parallel == b.parallelism.sequence_parallel &&
         a.parallelism.data_parallel == b.parallelism.data_parallel &&
         a.runtime.device == b.runtime.device &&
         a.runtime.threads_per_stage == b.runtime.threads_per_stage &&
         a.runtime.pooled_allocator == b.runtime.pooled_allocator &&
         a.data.max_sequence_length == b.data.max_sequence_length;
}

std::optional<Profile> saved_profile(const TrainConfig& config, const CheckpointInfo& checkpoint,
                                     const std::function<void(const std::string&)>& log) {
  if (!config.cluster.profile.empty() || !checkpoint.record.planning.is_object() ||
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

}  // namespace infinipipe
