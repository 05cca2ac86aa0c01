#include "core/config_files.h"

#include "core/data_sets.h"

namespace infinipipe {
namespace {

std::vector<std::string> prefixes(const std::string& value) {
  std::vector<std::string> names;
  for (const WeightedData& set : parse_data_sets(value)) names.push_back(set.path);
  return names;
}

const std::vector<FileKey>& file_keys() {
  static const std::vector<FileKey> kKeys = {
      {"model.from", false, {"/config.json", "/model.safetensors"}},
      {"data.path", false, {".bin", ".idx", ".weights"}, prefixes},
      {"eval.data", false, {".bin", ".idx", ".weights"}},
      {"data.tokenizer", false, {""}},
      {"cluster.profile", false, {""}},
      {"metrics.path", true, {""}},
  };
  return kKeys;
}

}  // namespace

const FileKey* file_key(std::string_view name) {
  for (const FileKey& key : file_keys()) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

std::vector<FileUse> config_files(const TrainConfig& config, const std::string& where,
                                  const std::function<bool(const ConfigKey&)>& counts) {
  std::vector<FileUse> files;
  for (const ConfigKey& key : config_keys()) {
    const FileKey* const named = file_key(key.name);
    if (named == nullptr || !counts(key)) continue;
    const std::string value = key.get(config);
    if (value.empty()) continue;
    for (const std::string& path :
         named->names != nullptr ? named->names(value) : std::vector<std::string>{value}) {
      for (const std::string& suffix : named->suffixes) {
        files.push_back({where + ": " + key.name, path + suffix, named->written});
      }
    }
  }
  return files;
}

}  // namespace infinipipe
