// Files for parsers that read by memory map.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "fuzz/harness.h"

namespace infinipipe::fuzz {

// A folder of this process's own, in memory where the system has one; removed at its end. One that
// has several tells them apart by their names.
class ScratchFolder final {
 public:
  explicit ScratchFolder(const std::string& name = "") {
    const std::filesystem::path memory = "/dev/shm";
    const bool writable = ::access(memory.c_str(), W_OK) == 0;
    folder_ = (writable ? memory : std::filesystem::temp_directory_path()) /
              ("infinipipe_fuzz." + std::to_string(::getpid()) + name);
    std::filesystem::create_directories(folder_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string put(const std::string& name, std::string_view bytes) const {
    std::ofstream file(folder_ / name, std::ios::binary | std::ios::trunc);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    require(file.flush().good(), "a scratch file cannot be written");
    return path(name);
  }

 private:
  std::filesystem::path folder_;
};

}  // namespace infinipipe::fuzz
