// Safetensors files that together hold one set of tensors: a model's shards, a checkpoint's parts.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/safetensors.h"
#include "infinipipe/base/json.h"

namespace infinipipe {

// The files are open and their headers read; no value is. Const calls are thread-safe.
class TensorFiles final {
 public:
  // `where` they are, for messages.
  explicit TensorFiles(std::string where) : where_(std::move(where)) {}

  struct Place {
    const SafetensorsFile* file;
    const StoredTensor* tensor;
  };

  // Throws InputError for a tensor that stands in an earlier file too.
  void add(std::unique_ptr<const SafetensorsFile> file);

  const std::string& where() const { return where_; }
  const std::vector<std::unique_ptr<const SafetensorsFile>>& files() const { return files_; }
  const std::map<std::string, Place>& places() const { return places_; }  // by tensor name
  // Throws InputError for a name that no file has; `expected` is what should have been there.
  const Place& at(const std::string& name, const std::string& expected) const;

 private:
  std::string where_;
  std::vector<std::unique_ptr<const SafetensorsFile>> files_;
  std::map<std::string, Place> places_;
};

// The content of model.safetensors.index.json for these files, each with its tensors.
Json safetensors_index(
    const std::vector<std::pair<std::string, std::vector<TensorInfo>>>& files);

}  // namespace infinipipe
