// Training that begins with weights that are there: model.from.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "data/model_folder.h"
#include "infinipipe/core/config.h"
#include "runtime/engine.h"
#include "trainer/companions.h"

namespace infinipipe {

struct StartingWeights {
  std::unique_ptr<const ModelFolder> folder;
  Companions companions;
};

// Of config.model_from, a Hugging Face folder or a checkpoint, whose hashes are looked at. Null
// where it names nothing. Throws InputError where its tensors are not those of config.model: before
// anything is allocated for them.
StartingWeights open_starting_weights(const TrainConfig& config);

// Fills the engine's weights, tensor by tensor: every process those of its ranks, from the same folder.
extern const ProcessJob kLoadStartingWeights;
void load_starting_weights(const ModelFolder& folder, Engine& engine);

// "rope.type default -> yarn, rope.factor 1 -> 8"; empty where nothing differs.
std::string model_changes(const ModelSpec& before, const ModelSpec& after);

}  // namespace infinipipe
