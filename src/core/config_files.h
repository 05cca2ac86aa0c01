// The files that a configuration names.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_uses.h"
#include "infinipipe/core/config.h"

namespace infinipipe {

// A key whose value is a file's name or prefix, or several.
struct FileKey {
  std::string_view name;
  bool written = false;
  std::vector<std::string> suffixes;  // what is appended to a name for each file
  // The names in a value; null: the value is the name.
  std::vector<std::string> (*names)(const std::string& value) = nullptr;
};
// Null for any other key.
const FileKey* file_key(std::string_view name);

// The files of the keys that `counts` takes and that have a value; each is known by `where` and its
// key.
std::vector<FileUse> config_files(const TrainConfig& config, const std::string& where,
                                  const std::function<bool(const ConfigKey&)>& counts);

}  // namespace infinipipe
