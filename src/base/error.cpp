#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

std::string compose(std::string_view where, std::string_view found, std::string_view expected,
                    std::string_view next) {
  std::string line{where};
  auto add = [&line](std::string_view separator, std::string_view part) {
    if (part.empty()) return;
    if (!line.empty()) line += separator;
    line += part;
  };
  add(": ", found);
  add(", ", expected);
  add("; ", next);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return line;
}

}  // namespace

Error::Error(ErrorKind kind, std::string_view where, std::string_view found,
             std::string_view expected, std::string_view next)
    : std::runtime_error(compose(where, found, expected, next)), kind_(kind) {}

void assertion_failed(const char* condition, const char* file, int line, std::string_view message) {
  throw std::logic_error(std::string("bug: ") + std::string(message) + " (" + condition + " at " +
                         file + ":" + std::to_string(line) + ")");
}

}  // namespace infinipipe
