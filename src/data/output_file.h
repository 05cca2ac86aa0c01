// A file that is written as a stream and gets its name only when it is whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/temporary_file.h"

namespace infinipipe {

// A TemporaryFile with a buffer; fails and is removed as that one. Not thread-safe.
class OutputFile final {
 public:
  explicit OutputFile(std::string path);

  const std::string& path() const { return file_.path(); }
  std::uint64_t size() const { return size_; }  // bytes appended so far

  void append(std::span<const std::byte> bytes);
  void append(const void* data, std::size_t bytes) {
    append({static_cast<const std::byte*>(data), bytes});
  }

  // Everything appended so far can be read under temporary_path().
  void flush();
  const std::string& temporary_path() const { return file_.temporary_path(); }

  // Flushes and syncs; still under the temporary name. Nothing is appended after it.
  void close();
  // close(), then renames into place and syncs the folder.
  void commit();

 private:
  TemporaryFile file_;
  std::uint64_t size_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace infinipipe
