#include "data/model_folder.h"

#include <filesystem>
#include <set>
#include <string_view>

#include "core/model_tensors.h"
#include "data/weight_dtype.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostShards = 4096;

bool is_ignored(const std::string& name, const ModelSpec& model) {
  return name.ends_with(".rotary_emb.inv_freq") ||
         (model.tie_word_embeddings && name == "lm_head.weight");
}

}  // namespace

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

ModelFolder::ModelFolder(const std::string& path) : path_(path), files_(path) {
  if (!fs::is_directory(path)) {
    throw InputError(path, "is no folder", "expected a folder with config.json and safetensors");
  }
  config_ = read_model_config(path);
  model_ = model_from_json(JsonView(config_, path + "/" + kModelConfigFile));
  if (fs::exists(path + "/" + kModelWeightsFile)) {
    add(kModelWeightsFile);
  } else if (fs::exists(path + "/" + kModelIndexFile)) {
    open_shards();
  } else {
    const bool pickled = fs::exists(path + "/pytorch_model.bin") ||
                         fs::exists(path + "/pytorch_model.bin.index.json");
    throw InputError(
        path,
        pickled ? "found weights in PyTorch's pickled format"
                : std::string("has no ") + kModelWeightsFile + " and no " + kModelIndexFile,
        "expected weights in safetensors",
        pickled ? "load the model in transformers and save it again" : "");
  }
}

void ModelFolder::add(const std::string& file) {
  files_.add(std::make_unique<const SafetensorsFile>(path_ + "/" + file));
}

void ModelFolder::open_shards() {
  const std::string index = path_ + "/" + kModelIndexFile;
  const std::map<std::string, std::string> listed = read_safetensors_index(index);
  std::set<std::string> names;
  for (const auto& [tensor, file] : listed) names.insert(file);
  if (names.size() > kMostShards) {
    throw InputError(index, "names " + std::to_string(names.size()) + " files",
                     "expected at most " + std::to_string(kMostShards));
  }
  for (const std::string& name : names) add(name);
  for (const auto& [tensor, name] : listed) {
    const auto place = files_.places().find(tensor);
    const std::string expected = path_ + "/" + name;
    if (place == files_.places().end()) {
      throw InputError(index + ": \"" + tensor.substr(0, 80) + "\"",
                       "names " + name + ", which does not hold it", "expected the file that does");
    }
    if (place->second.file->path() != expected) {
      throw InputError(index + ": \"" + tensor.substr(0, 80) + "\"",
                       "names " + name + ", but it stands in " + place->second.file->path(),
                       "expected the file that holds it");
    }
  }
  for (const auto& [tensor, place] : files_.places()) {
    if (listed.contains(tensor)) continue;
    throw InputError(place.file->path() + ": \"" + tensor.substr(0, 80) + "\"",
                     std::string("is not in ") + kModelIndexFile, "expected it to be listed");
  }
}

TensorFiles::Place ModelFolder::at(const std::string& name) const {
  return files_.at(name, "expected the weights that config.json describes");
}

void ModelFolder::require_tensors_of(const ModelSpec& model) const {
  std::set<std::string_view> known;
  const std::vector<ModelTensor> expected = model_tensors(model);
  for (const ModelTensor& tensor : expected) {
    known.insert(tensor.name);
    const TensorFiles::Place place = at(tensor.name);
    const TensorInfo& found = place.tensor->info;
    const std::string where = place.file->path() + ": " + tensor.name;
    if (found.shape != tensor.shape) {
      throw InputError(where, "found shape " + shape_text(found.shape),
                       "expected " + shape_text(tensor.shape) + ", as config.json says");
    }
    require_weight_dtype(found.dtype, where);
  }
  std::string first;
  std::size_t others = 0;
  for (const auto& [name, place] : files_.places()) {
    if (known.contains(name) || is_ignored(name, model)) continue;
    if (others++ == 0) first = place.file->path() + ": " + name.substr(0, 80);
  }
  if (others == 0) return;
  throw InputError(first,
                   "is no tensor of a " + std::string(to_string(model.family)) + " model" +
                       (others > 1 ? ", nor are " + std::to_string(others - 1) + " more" : ""),
                   "expected those of config.json's model_type alone");
}

}  // namespace infinipipe
