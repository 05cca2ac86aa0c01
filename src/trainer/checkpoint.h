// Checkpoints: logical tensors by their Hugging Face names, whatever the stages were.
//
// FOLDER/step-000100/model.safetensors      weights (masters)
//                    optimizer.safetensors  exp_avg.NAME, exp_avg_sq.NAME
//                    manifest.json          written last: step, model, config, sampler, profile,
//                    the files' hashes and its own
// FOLDER/latest                             "step-000100": only ever names a complete checkpoint
//
// A step's folder is written under a temporary name, synced, and renamed; `latest` follows. A crash
// at any point leaves the old or the new checkpoint, never a mixture.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "infinipipe/base/json.h"
#include "infinipipe/core/config.h"
#include "runtime/engine.h"

namespace infinipipe {

struct CheckpointInfo {
  std::string folder;  // of this step
  int next_step = 0;   // the first step that was not trained yet
  TrainConfig config;
  Json sampler;
  Json planning;  // the run's profile and the calibrator's state; null in older checkpoints
};

// Writes the engine's state; returns the step's folder. Keeps this one and the `keep` - 1 newest
// before it, and removes what is older only after `latest` names the new one. Later steps, of an
// earlier run, are left alone.
// On failure (RunError) older checkpoints and `latest` are as they were and nothing half-written is
// left.
std::string save_checkpoint(Engine& engine, const TrainConfig& config, int next_step,
                            const Json& sampler, const Json& planning = {});

// Throws InputError where `path` is itself one step's checkpoint: new ones would go into it, and be
// looked for in vain.
void require_folder_of_checkpoints(const std::string& path);

// True if `path` is a folder with at least one step's folder in it.
bool has_checkpoints(const std::string& path);

// The checkpoint under `path` that `latest` names, or the newest one by step whose files are whole
// (hashes checked), or `path` itself if it is one. `latest` goes first since an earlier run in the
// same folder may have come further. Broken ones are passed over with a message in `notes`. Throws
// InputError if none is left.
CheckpointInfo find_checkpoint(const std::string& path, std::vector<std::string>* notes = nullptr);

// Loads weights, and moments if `optimizer`, into the engine, whatever its stages. Names, shapes
// and dtypes must fit exactly; nothing is changed unless everything does.
void load_checkpoint(const CheckpointInfo& info, Engine& engine, bool optimizer);

}  // namespace infinipipe
