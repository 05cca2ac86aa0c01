#include "base/machine_memory.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>

namespace infinipipe {
namespace {

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

}  // namespace

Bytes machine_memory() {
  const Bytes total =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  const double limit = control_group_bytes();
  return limit > 0.0 ? std::min(total, limit) : total;
}

}  // namespace infinipipe
