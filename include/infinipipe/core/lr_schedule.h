// How the learning rate moves after its warm-up: what a configuration may name.
#pragma once

#include <array>
#include <cstddef>

namespace infinipipe {

enum class LrSchedule { kCosine, kLinear, kConstant, kWarmupStableDecay };

struct LrScheduleRow {
  LrSchedule value;
  const char* name;  // in configurations
  const char* line;  // one line for help
};

// In the order of the enum.
inline constexpr std::array<LrScheduleRow, 4> kLrSchedules = {{
    {.value = LrSchedule::kCosine, .name = "cosine", .line = "half a wave down"},
    {.value = LrSchedule::kLinear, .name = "linear", .line = "straight down"},
    {.value = LrSchedule::kConstant, .name = "constant", .line = "stays, whatever min_lr_ratio"},
    {.value = LrSchedule::kWarmupStableDecay,
     .name = "wsd",
     .line = "stays, then straight down over the last wsd_decay_steps"},
}};

constexpr const char* to_string(LrSchedule schedule) {
  return kLrSchedules[static_cast<std::size_t>(schedule)].name;
}

}  // namespace infinipipe
