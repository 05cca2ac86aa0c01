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
  // Throws InputError for a file that cannot be opened.
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  // What is wrong with a file that holds text in a form that is not read, told by the first bytes
  // of the file and of what it holds: an archive, another compression, compressed twice, a table,
  // Parquet Empty for any other. To be asked before read(); throws as that one.
  std::string unread_form();
  bool is_compressed() const { return decoder_ != nullptr; }
  // Whether the file, as it is stored, is one of Parquet: its two ends say so.
  bool is_parquet() const;
  std::int64_t size() const;  // of the file, as it is stored

  // Up to output.size() bytes, which is more than 0; 0 at the end. Throws InputError for a file
  // that cannot be read, is damaged, or ends within its compressed data.
  std::size_t read(std::span<char> output);

  // Of the file, used so far. All of it at the end; a little compressed data may be ahead of what
  // read() gave.
  std::int64_t stored_bytes() const {
    return stored_bytes_ - static_cast<std::int64_t>(waiting().size());
  }

 private:
  void fill();
  std::size_t decode(std::span<char> output);
  std::string_view waiting() const { return std::string_view(stored_).substr(at_); }

  std::string path_;
  int descriptor_ = -1;
  std::string stored_;  // read, as it stands in the file
  std::size_t at_ = 0;  // what is used of it
  bool at_end_ = false;
  std::int64_t stored_bytes_ = 0;     // read
  std::unique_ptr<Decoder> decoder_;  // null: the file is as it is
  std::string start_;                 // decoded to be looked at, and not yet given
  std::size_t start_used_ = 0;
};

}  // namespace infinipipe
