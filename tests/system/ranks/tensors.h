// The bytes of a checkpoint's weights and moments, whatever files hold them.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "data/safetensors.h"

namespace infinipipe::testing {

inline std::map<std::string, std::vector<std::byte>> tensors_of(
    const std::filesystem::path& folder) {
  std::map<std::string, std::vector<std::byte>> all;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    const SafetensorsFile file(entry.path().string());
    for (const StoredTensor& tensor : file.tensors())
      EXPECT_TRUE(all.emplace(tensor.info.name, file.read(tensor)).second) << tensor.info.name;
  }
  return all;
}

}  // namespace infinipipe::testing
