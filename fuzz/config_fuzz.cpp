// Configuration files: what is read survives a round trip through its own TOML text.
#include "fuzz/harness.h"
#include "infinipipe/core/config.h"

namespace infinipipe::fuzz {
namespace {

void run(std::string_view bytes) {
  TrainConfig config;
  if (!accepts([&] { config = config_from_toml(bytes, "config"); })) return;
  accepts([&] { config.check(); });
  const std::string toml = config_to_toml(config);
  const TrainConfig again = config_from_toml(toml, "again");
  require(config_to_toml(again) == toml, "a configuration changes when it is written and read");
}

}  // namespace
}  // namespace infinipipe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinipipe::fuzz::run(infinipipe::fuzz::text(data, size));
  return 0;
}
