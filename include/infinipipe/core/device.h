// The kinds of device that stages run on, by the names that a configuration uses.
#pragma once

#include <array>
#include <cstddef>

namespace infinipipe {

enum class Device { kCpu, kCuda };

struct DeviceRow {
  Device value;
  const char* name;
  const char* line;  // one line for help
};

// In the order of the enum.
inline constexpr std::array<DeviceRow, 2> kDevices = {{
    {.value = Device::kCpu, .name = "cpu", .line = "stages share its cores"},
    {.value = Device::kCuda, .name = "cuda", .line = "GPUs, where the build has them"},
}};

constexpr const DeviceRow& row_of(Device device) {
  return kDevices[static_cast<std::size_t>(device)];
}
constexpr const char* to_string(Device device) { return row_of(device).name; }

}  // namespace infinipipe
