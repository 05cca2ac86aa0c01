#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "data/safetensors.h"
#include "data/safetensors_format.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"

namespace infinipipe {

SafetensorsFile::SafetensorsFile(const std::string& path) : map_(path) {
  const std::span<const std::byte> bytes = map_.bytes();
  const auto fail = [&](const std::string& found, const std::string& expected) {
    throw InputError(path, found, "expected " + expected);
  };
  std::uint64_t length = 0;
  if (bytes.size() < sizeof(length)) {
    fail("has " + std::to_string(bytes.size()) + " bytes", "a safetensors file");
  }
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length < 2) fail("header length is " + std::to_string(length), "at least 2");
  if (length > kMaxSafetensorsHeader) {
    fail("header length is " + std::to_string(length),
         "at most " + std::to_string(kMaxSafetensorsHeader));
  }
  if (length > bytes.size() - sizeof(length)) {
    fail("header length is " + std::to_string(length),
         "at most the " + std::to_string(bytes.size() - sizeof(length)) +
             " bytes that follow; the file is cut short");
  }
  const auto header_bytes = bytes.subspan(sizeof(length), length);
  const auto buffer = bytes.subspan(sizeof(length) + length);
  SafetensorsHeader header = parse_safetensors_header(
      {reinterpret_cast<const char*>(header_bytes.data()), header_bytes.size()}, buffer.size(),
      path);

  metadata_ = std::move(header.metadata);
  tensors_.reserve(header.tensors.size());
  for (auto& entry : header.tensors) {
    tensors_.push_back(
        {std::move(entry.info), buffer.subspan(entry.begin, entry.end - entry.begin)});
  }
  by_name_.resize(tensors_.size());
  for (std::size_t i = 0; i < by_name_.size(); ++i) by_name_[i] = static_cast<std::uint32_t>(i);
  std::sort(by_name_.begin(), by_name_.end(), [&](std::uint32_t a, std::uint32_t b) {
    return tensors_[a].info.name < tensors_[b].info.name;
  });
}

const TensorBytes* SafetensorsFile::find(std::string_view name) const {
  const auto found = std::lower_bound(
      by_name_.begin(), by_name_.end(), name,
      [&](std::uint32_t i, std::string_view wanted) { return tensors_[i].info.name < wanted; });
  if (found == by_name_.end() || tensors_[*found].info.name != name) return nullptr;
  return &tensors_[*found];
}

const TensorBytes& SafetensorsFile::at(std::string_view name) const {
  const TensorBytes* tensor = find(name);
  if (tensor == nullptr) {
    throw InputError(path(), "has no tensor \"" + std::string(name) + "\"",
                     "expected it among its " + std::to_string(tensors_.size()));
  }
  return *tensor;
}

std::map<std::string, std::string> read_safetensors_index(const std::string& path) {
  const Json json = parse_json(read_file(path, kMaxSafetensorsHeader), path);
  const JsonView weights = JsonView(json, path).at("weight_map");
  if (!weights.json().is_object()) weights.fail("an object of tensor names and file names");
  std::map<std::string, std::string> files;
  for (const auto& [name, value] : weights.json().items()) {
    const JsonView shard = weights.at(name);
    const std::string file = shard.string();
    if (file.empty() || file == "." || file == ".." ||
        file.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      shard.fail("the name of a file in the same folder");
    }
    files.emplace(name, file);
  }
  return files;
}

}  // namespace infinipipe
