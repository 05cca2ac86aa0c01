// A file of text, compressed or not, as a stream of bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "data/decoder.h"

namespace infinipipe {

// What a file is, is told by its first bytes and not by its name. gzip and Zstandard are read as
// what they hold. Not thread-safe.
class InputFile final {
 public:
  // Throws InputError for a file that cannot be opened, and naming the format of one that holds
  // text in a form that is not read: bzip2, xz, lz4, zip, 7z, Parquet, Arrow.
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  // Up to output.size() bytes, which is more than 0; 0 at the end. Throws InputError for a file
  // that cannot be read, is damaged, or ends within its compressed data.
  std::size_t read(std::span<char> output);

  std::int64_t stored_bytes() const { return stored_bytes_; }  // of the file, read so far

 private:
  void fill();
  std::string_view waiting() const { return std::string_view(stored_).substr(at_); }

  std::string path_;
  int descriptor_ = -1;
  std::string stored_;  // read, as it stands in the file
  std::size_t at_ = 0;  // what is used of it
  bool at_end_ = false;
  std::int64_t stored_bytes_ = 0;
  std::unique_ptr<Decoder> decoder_;  // null: the file is as it is
};

}  // namespace infinipipe
