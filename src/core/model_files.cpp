#include "core/model_files.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/file.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

bool is_file(const std::string& path) {
  std::error_code absent;
  return std::filesystem::is_regular_file(path, absent);
}

}  // namespace

std::string read_latest(const std::string& folder) {
  std::string name = read_file(folder + "/" + kLatestFile, std::size_t{1} << 12);
  while (!name.empty() && (name.back() == '\n' || name.back() == '\r')) name.pop_back();
  return name;
}

std::string model_folder(const std::string& path) {
  if (is_file(path + "/" + kModelConfigFile) || !is_file(path + "/" + kLatestFile)) return path;
  const std::string name = read_latest(path);
  const bool below = !name.empty() && name != "." && name != ".." &&
                     name.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
  return below ? path + "/" + name : path;
}

Json read_model_config(const std::string& folder) {
  const std::string file = folder + "/" + kModelConfigFile;
  if (!is_file(file)) {
    throw InputError(folder, std::string("has no ") + kModelConfigFile,
                     "expected a Hugging Face folder, or a checkpoint");
  }
  constexpr std::size_t kLargest = std::size_t{1} << 24;
  return read_json_file(file, kLargest);
}

ModelSpec read_model(const std::string& folder) {
  return model_from_json(JsonView(read_model_config(folder), folder + "/" + kModelConfigFile));
}

std::string tokenizer_in(const std::string& folder) {
  for (const char* name : {"/tokenizer.json", "/tokenizer.model"}) {
    if (is_file(folder + name)) return folder + name;
  }
  return {};
}

}  // namespace infinipipe
