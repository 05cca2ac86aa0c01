#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/hash.h"
#include "data/output_file.h"
#include "data/safetensors.h"
#include "data/safetensors_format.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"

namespace infinipipe {
namespace {

// Header text in the tensors' order, filled with blanks so that the buffer starts at a multiple
// of 8.
std::string header_text(const std::string& path, const std::vector<TensorInfo>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::string text;
  std::uint64_t offset = 0;
  try {
    text = header.dump();
    text.pop_back();
    for (const TensorInfo& tensor : tensors) {
      const std::uint64_t end = offset + *tensor_bytes(tensor);
      nlohmann::ordered_json entry;
      entry["dtype"] = tensor.dtype;
      entry["shape"] = tensor.shape;
      entry["data_offsets"] = {offset, end};
      text += (text.size() > 1 ? "," : "") + Json(tensor.name).dump() + ":" + entry.dump();
      offset = end;
    }
  } catch (const nlohmann::json::exception&) {
    throw InputError(path, "a name or metadata is no UTF-8", "expected UTF-8");
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > kMaxSafetensorsHeader) {
    throw InputError(path, "the header has " + std::to_string(text.size()) + " bytes",
                     "expected at most " + std::to_string(kMaxSafetensorsHeader),
                     "write several files");
  }
  return text;
}

void check_declared(const std::string& path, const std::vector<TensorInfo>& tensors) {
  std::vector<std::string_view> names;
  std::uint64_t total = 0;
  for (const TensorInfo& tensor : tensors) {
    const auto bytes = tensor_bytes(tensor);
    if (!bytes || tensor.shape.size() > kMaxTensorRank ||
        total + *bytes > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      throw InputError(path + ": \"" + tensor.name + "\"", "its dtype or shape cannot be written",
                       "expected a known dtype and less than 2^63 bytes");
    }
    total += *bytes;
    names.push_back(tensor.name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end() || std::binary_search(names.begin(), names.end(), "__metadata__")) {
    throw InputError(
        path,
        "the name \"" + std::string(twice != names.end() ? *twice : "__metadata__") + "\" is taken",
        "expected each name once");
  }
}

}  // namespace

struct SafetensorsWriter::State {
  State(const std::string& path, std::vector<TensorInfo> declared)
      : tensors(std::move(declared)), file(path) {}

  std::vector<TensorInfo> tensors;
  OutputFile file;
  StreamHash hash;
  std::size_t current = 0;  // the tensor whose bytes are due
  std::uint64_t left = 0;   // bytes of it that are still due
  bool finished = false;

  void append(const void* data, std::size_t bytes) {
    file.append(data, bytes);
    hash.update(data, bytes);
  }
  // Goes to the next tensor that has bytes due; those without any are passed.
  void settle() {
    while (left == 0 && current < tensors.size()) {
      if (++current < tensors.size()) left = *tensor_bytes(tensors[current]);
    }
  }
};

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<TensorInfo> tensors,
                                     const std::map<std::string, std::string>& metadata) {
  check_declared(path, tensors);
  const std::string header = header_text(path, tensors, metadata);
  state_ = std::make_unique<State>(path, std::move(tensors));
  const std::uint64_t length = header.size();
  state_->append(&length, sizeof(length));
  state_->append(header.data(), header.size());
  if (!state_->tensors.empty()) state_->left = *tensor_bytes(state_->tensors.front());
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  State& state = *state_;
  INFINIPIPE_ASSERT(!state.finished, "write after finish");
  state.append(bytes.data(), bytes.size());
  while (!bytes.empty()) {
    state.settle();
    INFINIPIPE_ASSERT(state.current < state.tensors.size(), "more bytes than were declared");
    const auto part = std::min<std::uint64_t>(bytes.size(), state.left);
    state.left -= part;
    bytes = bytes.subspan(part);
  }
}

void SafetensorsWriter::write_tensor(std::string_view name, std::span<const std::byte> bytes) {
  State& state = *state_;
  // A tensor without bytes may be named or left out.
  if (bytes.empty()) return;
  state.settle();
  INFINIPIPE_ASSERT(
      state.current < state.tensors.size() && state.tensors[state.current].name == name &&
          state.left == *tensor_bytes(state.tensors[state.current]) && state.left == bytes.size(),
      std::string("not the tensor whose turn it is, or not its size: ") + std::string(name));
  write(bytes);
}

std::string SafetensorsWriter::finish() {
  State& state = *state_;
  INFINIPIPE_ASSERT(!state.finished, "finish twice");
  state.settle();
  INFINIPIPE_ASSERT(state.current == state.tensors.size(), "fewer bytes than were declared");
  state.finished = true;
  state.file.commit();
  return state.hash.hex();
}

}  // namespace infinipipe
