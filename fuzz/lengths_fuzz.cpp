// Files of lengths: every number that is read is a possible length.
#include <string>

#include "data/lengths.h"
#include "fuzz/harness.h"

namespace infinipipe::fuzz {
namespace {

void run(std::string_view bytes) {
  std::vector<Tokens> lengths;
  if (!accepts([&] { lengths = parse_lengths(bytes, "lengths"); })) return;
  require(!lengths.empty(), "a file without numbers was accepted");
  std::string text;
  for (const Tokens length : lengths) {
    require(length >= 1 && length <= (Tokens{1} << 40), "a length that cannot be");
    text += std::to_string(length) + "\n";
  }
  require(parse_lengths(text, "again") == lengths, "lengths change when written and read");
}

}  // namespace
}  // namespace infinipipe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinipipe::fuzz::run(infinipipe::fuzz::text(data, size));
  return 0;
}
