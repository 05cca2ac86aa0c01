// What this machine is, from the operating system and, for a GPU, LibTorch.
#include <c10/core/CachingDeviceAllocator.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "infinipipe/base/units.h"
#include "profile/profile_machine.h"
#include "runtime/cuda_devices.h"

namespace infinipipe {
namespace {

// What is left for everything that is not a stage's tensors: other programs, and what the block
// pool takes beyond what it hands out (a block is up to a fifth larger than what it holds, and free
// ones of other sizes wait beside it).
constexpr double kShareLeft = 0.3;
constexpr double kBytesLeft = 0.5 * 1024 * 1024 * 1024;

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown processor";
}

// The number that a file begins with; 0 for none ("max", say).
double number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string text;
  double number = 0.0;
  if (file >> text) std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// The least memory limit of this process's control group and those around it; 0: none.
double control_group_bytes() {
  double least = 0.0;
  const auto note = [&least](double limit) {
    if (limit > 0.0 && (least == 0.0 || limit < least)) least = limit;
  };
  note(number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes"));  // version 1
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.rfind("0::/", 0) != 0) continue;
    const std::filesystem::path root = "/sys/fs/cgroup";
    std::filesystem::path group = std::filesystem::path(line.substr(4)).relative_path();
    for (; !group.empty(); group = group.parent_path())
      note(number_in(root / group / "memory.max"));
    note(number_in(root / "memory.max"));
  }
  return least;
}

Bytes total_bytes() {
  const Bytes total =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  const double limit = control_group_bytes();
  return limit > 0.0 ? std::min(total, limit) : total;
}

// The first GPU's name, from its driver where that tells.
std::string graphics_processor() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", error)) {
    std::ifstream file(entry.path() / "information");
    for (std::string line; std::getline(file, line);) {
      const std::size_t name = line.find_first_not_of(" \t", std::string_view("Model:").size());
      if (line.rfind("Model:", 0) == 0 && name != std::string::npos) return line.substr(name);
    }
  }
  return "a GPU";
}

// All of it, of the smallest of them; the second is how many there are.
std::pair<Bytes, int> graphics_memory() {
  const int devices = cuda_devices();
  Bytes least = 0.0;
  for (int i = 0; i < devices; ++i) {
    const auto total = static_cast<Bytes>(c10::getDeviceAllocator(c10::kCUDA)
                                              ->getMemoryInfo(static_cast<c10::DeviceIndex>(i))
                                              .second);
    least = i == 0 ? total : std::min(least, total);
  }
  return {least, devices};
}

}  // namespace

std::string machine_name(Device device) {
  if (device == Device::kCuda) {
    const auto [bytes, devices] = graphics_memory();
    return std::to_string(devices) + " x " + graphics_processor() + " of " + format_bytes(bytes) +
           ", " + processor();
  }
  return processor() + ", " + std::to_string(std::max(1U, std::thread::hardware_concurrency())) +
         " cores, " + format_bytes(total_bytes());
}

Bytes machine_bytes_per_stage(int stages, Device device) {
  Bytes total = total_bytes();
  int sharing = std::max(1, stages);
  if (device == Device::kCuda) {
    const auto [bytes, devices] = graphics_memory();
    total = bytes;
    sharing = (sharing + devices - 1) / std::max(1, devices);
  }
  return (total * (1.0 - kShareLeft) - std::min(kBytesLeft, 0.25 * total)) / std::max(1, sharing);
}

}  // namespace infinipipe
