// How ranks talk to each other, by the names that a configuration uses.
#pragma once

#include <array>
#include <cstddef>

namespace infinipipe {

enum class CommunicatorKind { kAuto, kThreads, kGloo, kNccl };

struct CommunicatorRow {
  CommunicatorKind value;
  const char* name;
  const char* line;  // one line for help
};

// In the order of the enum.
inline constexpr std::array<CommunicatorRow, 4> kCommunicators = {{
    {.value = CommunicatorKind::kAuto,
     .name = "auto",
     .line = "threads, or where a launcher started several processes what suits the device"},
    {.value = CommunicatorKind::kThreads,
     .name = "threads",
     .line = "all ranks are threads of this process"},
    {.value = CommunicatorKind::kGloo,
     .name = "gloo",
     .line = "a process for each rank, which talk over TCP"},
    {.value = CommunicatorKind::kNccl,
     .name = "nccl",
     .line = "a process for each rank, each with a GPU"},
}};

constexpr const CommunicatorRow& row_of(CommunicatorKind kind) {
  return kCommunicators[static_cast<std::size_t>(kind)];
}
constexpr const char* to_string(CommunicatorKind kind) { return row_of(kind).name; }

// Whether each rank is a process of its own.
constexpr bool is_between_processes(CommunicatorKind kind) {
  return kind == CommunicatorKind::kGloo || kind == CommunicatorKind::kNccl;
}

}  // namespace infinipipe
