// profile.json: what is read survives a round trip, and a cost model of it gives numbers.
#include <cmath>
#include <nlohmann/json.hpp>

#include "fuzz/harness.h"
#include "infinipipe/base/json.h"
#include "infinipipe/cost/cost_model.h"
#include "infinipipe/cost/profile.h"

namespace infinipipe::fuzz {
namespace {

void run(std::string_view bytes) {
  Profile profile;
  const auto read = [&] { profile = profile_from_json(parse_json(bytes, "profile"), "profile"); };
  if (!accepts(read)) return;
  const Profile again = profile_from_json(profile_to_json(profile), "again");
  require(profile_hash(again) == profile_hash(profile), "a profile changes when written and read");
  accepts([&] {
    const CostModel cost(profile, Parallelism{2, 1, 1}, {{0, 3}, {3, 4}});
    ChunkShape chunk;
    chunk.token2 = 100.0;
    chunk.tokens = 10;
    chunk.slices = 1;
    for (const int p : {0, 1}) {
      require(!std::isnan(cost.forward(StageId(p), chunk)), "a forward that takes no number");
      require(!std::isnan(cost.state_bytes(StageId(p))), "states of no number of bytes");
    }
  });
}

}  // namespace
}  // namespace infinipipe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinipipe::fuzz::run(infinipipe::fuzz::text(data, size));
  return 0;
}
