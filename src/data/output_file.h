// A file that is written as a stream and gets its name only when it is whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace infinipipe {

// Buffers, and writes to PATH.tmp.PID. Every failure is a RunError that names PATH and the system's
// reason. The destructor removes the temporary file unless commit() was reached. Not thread-safe.
class OutputFile final {
 public:
  explicit OutputFile(std::string path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }  // bytes appended so far

  void append(std::span<const std::byte> bytes);
  void append(const void* data, std::size_t bytes) {
    append({static_cast<const std::byte*>(data), bytes});
  }

  // Everything appended so far can be read under temporary_path().
  void flush();
  const std::string& temporary_path() const { return temporary_; }

  // Flushes, syncs and closes; still under the temporary name.
  void close();
  // close(), then renames into place and syncs the folder.
  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  std::vector<std::byte> buffer_;
};

// The folder that a path's file is in, "." for a bare name.
std::string folder_of(const std::string& path);

}  // namespace infinipipe
