// What this machine is, from the operating system.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>
#include <thread>

#include "infinipipe/base/units.h"
#include "infinipipe/profile/profile_machine.h"

namespace infinipipe {
namespace {

// Memory that is left for everything that is not a stage's tensors.
constexpr double kShareLeft = 0.1;
constexpr double kBytesLeft = 1024.0 * 1024 * 1024;

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

Bytes total_bytes() {
  Bytes total =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  std::ifstream file("/sys/fs/cgroup/memory.max");
  std::string text;
  if (file >> text) {
    double limit = 0.0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
    if (error == std::errc() && limit > 0.0) total = std::min(total, limit);
  }
  return total;
}

}  // namespace

std::string machine_name() {
  return processor() + ", " + std::to_string(std::max(1U, std::thread::hardware_concurrency())) +
         " cores, " + format_bytes(total_bytes());
}

Bytes machine_bytes_per_stage(int stages) {
  const Bytes total = total_bytes();
  return std::max(0.25 * total, total * (1.0 - kShareLeft) - kBytesLeft) / std::max(1, stages);
}

}  // namespace infinipipe
