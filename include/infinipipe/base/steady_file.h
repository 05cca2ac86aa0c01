// A file that is read by place over a long time and must not change meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <span>
#include <string>

namespace infinipipe {

// Not mapped into memory: a mapped file that shrinks ends the process by a signal when it is read.
// Const calls are thread-safe. A file that is replaced under its name is read on as it was.
class SteadyFile final {
 public:
  // Throws InputError for a file that cannot be opened.
  explicit SteadyFile(std::string path);
  ~SteadyFile();
  SteadyFile(const SteadyFile&) = delete;
  SteadyFile& operator=(const SteadyFile&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }  // when it was opened

  // Fills `bytes` with what stands from `offset` on; the range must lie within size(). Throws
  // RunError naming the file if its size or its time of change is not what it was, also when that
  // happened during the read, and for a disk that fails.
  void read(std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  void check_unchanged() const;

  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  std::timespec changed_{};
};

}  // namespace infinipipe
