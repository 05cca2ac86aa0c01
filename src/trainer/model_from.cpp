#include "trainer/model_from.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "trainer/checkpoint.h"
#include "trainer/weights.h"

namespace infinipipe {

StartingWeights open_starting_weights(const TrainConfig& config) {
  StartingWeights start;
  if (config.model_from.empty()) return start;
  const std::string path = model_folder(config.model_from);
  start.folder = std::make_unique<const ModelFolder>(path);
  start.folder->require_tensors_of(config.model);
  if (std::filesystem::exists(path + "/manifest.json")) {
    start.companions = find_checkpoint(path).record.companions;
    return start;
  }
  const JsonView fields(start.folder->config(), path + "/" + kModelConfigFile);
  start.companions = read_companions(path, start.folder->config());
  start.companions.dtype = fields.string_or("dtype", fields.string_or("torch_dtype", ""));
  return start;
}

namespace {

// The other replicas get theirs from the first, in state_changed().
Json load_from(LocalRanks& ranks, const ModelFolder& folder) {
  if (!ranks.part().writes) return nullptr;
  for (const LocalRanks::StateTensor& state : ranks.state()) {
    if (state.parameter->tied_copy) continue;  // state_changed() brings it in line
    const TensorFiles::Place place = folder.at(state.parameter->name);
    state.parameter->master.copy_(read_weight(*place.file, *place.tensor, state.parameter->master));
  }
  return nullptr;
}

Json load_part(LocalRanks& ranks, const Json& arguments) {
  return load_from(ranks, ModelFolder(arguments.at("folder").get<std::string>()));
}

}  // namespace

const ProcessJob kLoadStartingWeights{"load_starting_weights", &load_part};

void load_starting_weights(const ModelFolder& folder, Engine& engine) {
  engine.on_each_process(kLoadStartingWeights,
                         {{"folder", std::filesystem::absolute(folder.path()).string()}},
                         [&](LocalRanks& ranks) { return load_from(ranks, folder); });
  engine.state_changed();
}

std::string model_changes(const ModelSpec& before, const ModelSpec& after) {
  TrainConfig old_config;
  TrainConfig new_config;
  old_config.model = before;
  new_config.model = after;
  std::string changes;
  for (const ConfigKey& key : config_keys()) {
    if (key.main_section() != "model") continue;
    const std::string was = key.get(old_config);
    const std::string is = key.get(new_config);
    if (was == is) continue;
    changes += (changes.empty() ? "" : ", ") + key.name.substr(key.main_section().size() + 1) +
               " " + was + " -> " + is;
  }
  return changes;
}

}  // namespace infinipipe
