// The safetensors file format, without a tensor library: names, shapes and bytes.
// u64 little-endian header length, JSON header, buffer. Specification: docs/data.md and
// https://github.com/huggingface/safetensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "infinipipe/base/steady_file.h"

namespace infinipipe {

// dtype: "F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL",
// "F8_E4M3", "F8_E5M2", "C64".
struct TensorInfo {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;  // C order; {} is one value
};

// Bytes of an element; 0 for a dtype that is not known.
std::size_t tensor_dtype_width(std::string_view dtype);

struct StoredTensor {
  TensorInfo info;
  std::uint64_t offset = 0;  // of its first byte in the file
  std::size_t bytes = 0;
};

// An open file whose header was checked whole: its length before anything is allocated for it,
// UTF-8, JSON of exactly the format's form, duplicate names, dtypes, shapes against sizes, and
// tensors that fill the buffer without hole, overlap or trailing bytes. Tensors are read when they
// are asked for, so that memory is bounded by what is wanted and not by the file.
// Const calls are thread-safe.
class SafetensorsFile final {
 public:
  // Throws InputError naming the file, the tensor and the exact reason.
  explicit SafetensorsFile(const std::string& path);
  // The same of a file that is open already: what was hashed is what is read.
  explicit SafetensorsFile(std::shared_ptr<const SteadyFile> file);

  const std::string& path() const { return file_->path(); }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }  // by place in the buffer
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  const StoredTensor* find(std::string_view name) const;  // nullptr if there is none
  const StoredTensor& at(std::string_view name) const;    // throws InputError

  // Fills `bytes`, which has the tensor's size. Throws RunError where the file has changed since it
  // was opened, or the disk fails.
  void read(const StoredTensor& tensor, std::span<std::byte> bytes) const;
  std::vector<std::byte> read(const StoredTensor& tensor) const;
  // The same of a part of the tensor, which begins `offset` bytes into it.
  void read_part(const StoredTensor& tensor, std::uint64_t offset,
                 std::span<std::byte> bytes) const;

 private:
  std::shared_ptr<const SteadyFile> file_;
  std::vector<StoredTensor> tensors_;
  std::vector<std::uint32_t> by_name_;  // positions in tensors_, sorted by name
  std::map<std::string, std::string> metadata_;
};

// The header's JSON alone, for a buffer of `buffer_bytes` bytes: what SafetensorsFile does after it
// has checked the length; separate for fuzzing.
struct SafetensorsHeader {
  struct Entry {
    TensorInfo info;
    std::uint64_t begin = 0;  // bytes into the buffer
    std::uint64_t end = 0;
  };
  std::vector<Entry> tensors;  // by place in the buffer
  std::map<std::string, std::string> metadata;
};
SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t buffer_bytes,
                                           std::string_view where);

// Writes a file as a stream: all tensors are declared, then their bytes follow in that order. The
// file gets its name only in finish(), after it was synced. Throws InputError for a declaration
// that the format cannot hold, RunError for a disk that fails. Not thread-safe.
class SafetensorsWriter final {
 public:
  SafetensorsWriter(const std::string& path, std::vector<TensorInfo> tensors,
                    const std::map<std::string, std::string>& metadata = {});
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // The next bytes; a tensor may come in pieces.
  void write(std::span<const std::byte> bytes);
  // The next tensor as a whole; `name` must be the one whose turn it is.
  void write_tensor(std::string_view name, std::span<const std::byte> bytes);

  // After the last byte, once. Returns the file's hash (hash_hex() of its content).
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// model.safetensors.index.json: tensor name -> file name beside the index. Names that are absolute,
// hold a separator or are "." or ".." are refused (InputError), so that no shard is outside.
std::map<std::string, std::string> read_safetensors_index(const std::string& path);

}  // namespace infinipipe
