#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "data/safetensors.h"
#include "data/safetensors_format.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"

namespace infinipipe {

SafetensorsFile::SafetensorsFile(const std::string& path)
    : SafetensorsFile(std::make_shared<const SteadyFile>(path)) {}

SafetensorsFile::SafetensorsFile(std::shared_ptr<const SteadyFile> file) : file_(std::move(file)) {
  const auto fail = [&](const std::string& found, const std::string& expected) {
    throw InputError(path(), found, "expected " + expected);
  };
  std::uint64_t length = 0;
  if (file_->size() < sizeof(length)) {
    fail("has " + std::to_string(file_->size()) + " bytes", "a safetensors file");
  }
  file_->read(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length < 2) fail("header length is " + std::to_string(length), "at least 2");
  if (length > kMaxSafetensorsHeader) {
    fail("header length is " + std::to_string(length),
         "at most " + std::to_string(kMaxSafetensorsHeader));
  }
  if (length > file_->size() - sizeof(length)) {
    fail("header length is " + std::to_string(length),
         "at most the " + std::to_string(file_->size() - sizeof(length)) +
             " bytes that follow; the file is cut short");
  }
  std::string json(length, '\0');
  file_->read(sizeof(length), std::as_writable_bytes(std::span(json)));
  const std::uint64_t buffer = sizeof(length) + length;
  SafetensorsHeader header = parse_safetensors_header(json, file_->size() - buffer, path());

  metadata_ = std::move(header.metadata);
  tensors_.reserve(header.tensors.size());
  for (auto& entry : header.tensors) {
    tensors_.push_back({std::move(entry.info), buffer + entry.begin, entry.end - entry.begin});
  }
  by_name_.resize(tensors_.size());
  for (std::size_t i = 0; i < by_name_.size(); ++i) by_name_[i] = static_cast<std::uint32_t>(i);
  std::sort(by_name_.begin(), by_name_.end(), [&](std::uint32_t a, std::uint32_t b) {
    return tensors_[a].info.name < tensors_[b].info.name;
  });
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found = std::lower_bound(
      by_name_.begin(), by_name_.end(), name,
      [&](std::uint32_t i, std::string_view wanted) { return tensors_[i].info.name < wanted; });
  if (found == by_name_.end() || tensors_[*found].info.name != name) return nullptr;
  return &tensors_[*found];
}

const StoredTensor& SafetensorsFile::at(std::string_view name) const {
  const StoredTensor* tensor = find(name);
  if (tensor == nullptr) {
    throw InputError(path(), "has no tensor \"" + std::string(name) + "\"",
                     "expected it among its " + std::to_string(tensors_.size()));
  }
  return *tensor;
}

void SafetensorsFile::read(const StoredTensor& tensor, std::span<std::byte> bytes) const {
  INFINIPIPE_ASSERT(bytes.size() == tensor.bytes, "a buffer of the tensor's size");
  file_->read(tensor.offset, bytes);
}

void SafetensorsFile::read_part(const StoredTensor& tensor, std::uint64_t offset,
                                std::span<std::byte> bytes) const {
  INFINIPIPE_ASSERT(offset <= tensor.bytes && bytes.size() <= tensor.bytes - offset,
                    "a part within the tensor");
  file_->read(tensor.offset + offset, bytes);
}

std::vector<std::byte> SafetensorsFile::read(const StoredTensor& tensor) const {
  std::vector<std::byte> bytes(tensor.bytes);
  read(tensor, bytes);
  return bytes;
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
