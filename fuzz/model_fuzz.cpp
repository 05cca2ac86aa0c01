// config.json of a model: what is read survives a round trip, and its tensors and frequencies can
// be computed where it is a model that can be.
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/model_tensors.h"
#include "fuzz/harness.h"
#include "infinipipe/base/json.h"
#include "infinipipe/core/model_spec.h"
#include "infinipipe/core/rope.h"

namespace infinipipe::fuzz {
namespace {

void run(std::string_view bytes) {
  Json json;
  ModelSpec model;
  const auto read = [&] {
    json = parse_json(bytes, "config.json");
    model = model_from_json(JsonView(json, "config.json"));
  };
  if (!accepts(read)) return;
  const Json written = model_to_json(model);
  const ModelSpec again = model_from_json(JsonView(written, "again"));
  // Written files say what was left to be worked out, like the head's width.
  require(model_to_json(again) == written, "a model changes when it is written and read");
  const Json others = other_config_fields(json);
  require(others.is_object(), "fields that are no object");
  if (!accepts([&] { model.check(); })) return;
  require(model.parameters() > 0, "a model without parameters");
  if (model.num_hidden_layers <= 1000) {
    std::int64_t sum = 0;
    for (const ModelTensor& tensor : model_tensors(model)) {
      std::int64_t size = 1;
      for (const std::int64_t each : tensor.shape) size *= each;
      sum += size;
    }
    require(sum == model.parameters(), "tensors of another size than the model's parameters");
  }
}

}  // namespace
}  // namespace infinipipe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinipipe::fuzz::run(infinipipe::fuzz::text(data, size));
  return 0;
}
