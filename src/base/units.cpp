#include "infinipipe/base/units.h"

#include <array>
#include <cmath>
#include <cstdio>

namespace infinipipe {
namespace {

std::string print(const char* format, double value, const char* unit) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, value, unit);
  return buffer.data();
}

}  // namespace

std::string format_bytes(Bytes bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  while (std::abs(bytes) >= 1024.0 && unit + 1 < kUnits.size()) {
    bytes /= 1024.0;
    ++unit;
  }
  return print(unit == 0 ? "%.0f %s" : "%.1f %s", bytes, kUnits[unit]);
}

std::string format_seconds(Seconds seconds) {
  if (std::abs(seconds) >= 1.0) return print("%.2f %s", seconds, "s");
  if (std::abs(seconds) >= 1e-3) return print("%.1f %s", seconds * 1e3, "ms");
  return print("%.1f %s", seconds * 1e6, "us");
}

std::string format_count(std::int64_t count) {
  std::string digits = std::to_string(count);
  const std::size_t first = digits[0] == '-' ? 1 : 0;
  for (std::size_t i = digits.size(); i > first + 3;) {
    i -= 3;
    digits.insert(i, ",");
  }
  return digits;
}

}  // namespace infinipipe
