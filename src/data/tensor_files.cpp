#include "data/tensor_files.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {

void TensorFiles::add(std::unique_ptr<const SafetensorsFile> file) {
  for (const StoredTensor& tensor : file->tensors()) {
    const auto [place, fresh] = places_.try_emplace(tensor.info.name, Place{file.get(), &tensor});
    if (fresh) continue;
    throw InputError(file->path() + ": \"" + tensor.info.name.substr(0, 80) + "\"",
                     "stands in " + place->second.file->path() + " too",
                     "expected each tensor in one file");
  }
  files_.push_back(std::move(file));
}

const TensorFiles::Place& TensorFiles::at(const std::string& name,
                                          const std::string& expected) const {
  const auto place = places_.find(name);
  if (place != places_.end()) return place->second;
  throw InputError(where_, "has no tensor \"" + name.substr(0, 80) + "\"", expected);
}

Json safetensors_index(
    const std::vector<std::pair<std::string, std::vector<TensorInfo>>>& files) {
  std::uint64_t bytes = 0;
  std::uint64_t parameters = 0;
  Json map = Json::object();
  for (const auto& [file, tensors] : files) {
    for (const TensorInfo& tensor : tensors) {
      map[tensor.name] = file;
      std::uint64_t count = 1;
      for (const std::int64_t size : tensor.shape) count *= static_cast<std::uint64_t>(size);
      parameters += count;
      bytes += count * tensor_dtype_width(tensor.dtype);
    }
  }
  return {{"metadata", {{"total_parameters", parameters}, {"total_size", bytes}}},
          {"weight_map", map}};
}

}  // namespace infinipipe
