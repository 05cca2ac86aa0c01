// What this machine is, from the operating system and, for a GPU, LibTorch.
#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "base/machine_memory.h"
#include "core/gpus.h"
#include "dist/world.h"
#include "infinipipe/base/units.h"
#include "profile/profile_machine.h"
#include "runtime/cuda_devices.h"

namespace infinipipe {
namespace {

// What is left of the processor's memory for everything that is not a stage's tensors: other
// programs, and what the block pool takes beyond what it hands out (a block is up to a fifth larger
// than what it holds, and free ones of other sizes wait beside it).
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
         " cores, " + format_bytes(machine_memory());
}

Bytes machine_bytes_per_stage(int stages, Device device, std::span<const RankFacts> ranks) {
  const auto divided = [](Bytes usable, std::ptrdiff_t sharing) {
    return usable / static_cast<double>(std::max<std::ptrdiff_t>(1, sharing));
  };
  const auto share = [&](Bytes total, std::ptrdiff_t sharing) {
    return divided(total * (1.0 - kShareLeft) - std::min(kBytesLeft, 0.25 * total), sharing);
  };
  const auto neighbours = [&](const RankFacts& rank) {
    return static_cast<std::ptrdiff_t>(ranks_beside(ranks, rank));
  };
  if (device == Device::kCuda) {
    const auto [bytes, devices] = graphics_memory();
    const auto here = ranks.empty() ? std::max(1, stages) : neighbours(ranks.front());
    return divided(usable_gpu_memory(bytes), (here + devices - 1) / std::max(1, devices));
  }
  if (ranks.empty()) return share(machine_memory(), stages);
  Bytes least = std::numeric_limits<Bytes>::infinity();
  for (const RankFacts& rank : ranks) least = std::min(least, share(rank.memory, neighbours(rank)));
  return least;
}

}  // namespace infinipipe
