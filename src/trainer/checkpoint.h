// Checkpoints: logical tensors by their Hugging Face names, whatever the stages were.
//
// FOLDER/step-000100/model.safetensors      weights (masters); of several processes one a process,
//                    model-0000P-of-0000N.safetensors, and model.safetensors.index.json
//                    optimizer.safetensors  exp_avg.NAME, exp_avg_sq.NAME; none after an import
//                    config.json            Hugging Face's: other tools open the folder as it is
//                    tokenizer.json, ...    what came with the model (companions.h)
//                    manifest.json          written last: step, model, config, sampler, profile,
//                    the run, its data and tokenizer, the files' hashes and its own
// FOLDER/latest                             "step-000100": only ever names a complete checkpoint
// FOLDER/lock                               held by the process that trains into the folder
//
// A step's folder is written under a temporary name, synced, and renamed; `latest` follows. A crash
// at any point leaves the old or the new checkpoint, never a mixture.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"
#include "infinipipe/core/config.h"
#include "runtime/engine.h"
#include "trainer/checkpoint_state.h"
#include "trainer/companions.h"

namespace infinipipe {

// What a checkpoint says of the run beside its state; null in older checkpoints.
struct CheckpointRecord {
  Json planning;   // the run's profile and the calibrator's state
  Json run;        // "id", and totals so far (run_record.h)
  Json data;       // of the data set (data_identity())
  Json tokenizer;  // of the tokenizer
  Companions companions;
};

struct CheckpointInfo {
  std::string folder;  // of this step
  int next_step = 0;   // the first step that was not trained yet
  TrainConfig config;
  Json sampler;
  CheckpointRecord record;
  // The open files whose hashes were found right: what is loaded is what was checked, also where
  // the folder is changed meanwhile. Without moments: weights alone, before any step.
  StateFiles state;
};

// What else may go once `latest` names the new checkpoint.
struct Rotation {
  std::string keep_too;        // a folder that stays, however old
  bool remove_others = false;  // what other runs left in the folder
};

// Writes the engine's state; returns the step's folder, which all processes must see. Keeps this
// one and the `keep` - 1 newest of this run before it, and removes what is older only after
// `latest` names the new one. Other runs' and later steps are left alone, unless the rotation says
// otherwise. On failure (RunError; NotFiniteError where a weight or moment is not finite, which is
// named) older checkpoints and `latest` are as they were and nothing half-written is left.
std::string save_checkpoint(Engine& engine, const TrainConfig& config, int next_step,
                            const Json& sampler, const CheckpointRecord& record = {},
                            const Rotation& rotation = {});
// The same of weights alone, in `dtype`, before any step; there must be no checkpoint yet. `write`
// makes the file that it is given and returns its hash.
std::string save_weights(const TrainConfig& config, const CheckpointRecord& record,
                         const std::string& dtype,
                         const std::function<std::string(const std::string& file)>& write);
// Bytes of one, roughly.
Bytes checkpoint_bytes(const TrainConfig& config);

// Removes what processes that died while saving have left in the folder. Nobody may be saving.
void remove_half_written(const std::string& path);

// Throws InputError where `path` is itself one step's checkpoint: new ones would go into it, and be
// looked for in vain.
void require_folder_of_checkpoints(const std::string& path);

// The name of the folder of the checkpoint before `step`: "step-000012".
std::string step_name(int step);

// The step whose checkpoint `latest` under `path` names; nothing where there is no `latest`, or it
// names none.
std::optional<int> latest_step(const std::string& path);

// True if `path` is a folder with at least one step's folder in it.
bool has_checkpoints(const std::string& path);

// The checkpoint under `path` that `latest` names, or where that is not whole (hashes checked) the
// newest whole one before it of the same run; without `latest` the newest. Or `path` itself if it
// is one. What is passed over has a message in `notes`: broken ones, a `latest` that says nothing,
// or names a step that is not there. Throws InputError if none is left.
CheckpointInfo find_checkpoint(const std::string& path, std::vector<std::string>* notes = nullptr);

// Loads weights, and moments if `optimizer` and it has any, into the engine, whatever its stages,
// as read_state() does.
void load_checkpoint(const CheckpointInfo& info, Engine& engine, bool optimizer);

}  // namespace infinipipe
