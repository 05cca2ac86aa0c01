#include "base/number_text.h"

#include <charconv>
#include <cmath>
#include <cstdint>

namespace infinipipe {

std::string number_text(double value) {
  if (std::isnan(value)) return "nan";
  if (value == std::floor(value) && std::abs(value) < 1e15) {
    return std::to_string(static_cast<std::int64_t>(value));
  }
  char buffer[40];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return {buffer, error == std::errc() ? end : buffer};
}

}  // namespace infinipipe
