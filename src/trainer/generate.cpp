#include <ATen/core/Tensor.h>
#include <ATen/ops/_to_copy.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/random.h"
#include "data/tokenizer.h"
#include "infinipipe/base/error.h"
#include "infinipipe/trainer/trainer.h"
#include "trainer/checkpoint.h"
#include "trainer/checkpoint_tokenizer.h"
#include "trainer/continuation.h"
#include "trainer/profile.h"
#include "trainer/sampling.h"
#include "trainer/setup.h"

namespace infinipipe {
namespace {

// The end of a document, and where the model came with more of them, all.
std::set<std::int64_t> stop_tokens(const Tokenizer& tokenizer, const Companions& companions) {
  std::set<std::int64_t> stops = {tokenizer.end_of_document()};
  const auto add = [&](const Json& fields) {
    const auto ids = fields.find("eos_token_id");
    if (ids == fields.end()) return;
    for (const Json& id : ids->is_array() ? *ids : Json::array({*ids})) {
      if (id.is_number_integer()) stops.insert(id.get<std::int64_t>());
    }
  };
  add(companions.config);
  const auto file = companions.files.find("generation_config.json");
  if (file != companions.files.end()) {
    const Json fields = parse_json(file->second, "generation_config.json");
    if (fields.is_object()) add(fields);
  }
  return stops;
}

}  // namespace

std::string generate(const GenerateOptions& options) {
  if (options.tokens < 0) {
    throw InputError("generate: --tokens", "found " + std::to_string(options.tokens),
                     "expected 0 or more");
  }
  if (!(options.temperature >= 0.0)) {
    throw InputError("generate: --temperature", "found " + std::to_string(options.temperature),
                     "expected 0 or more");
  }
  if (!(options.top_p > 0.0 && options.top_p <= 1.0)) {
    throw InputError("generate: --top-p", "found " + std::to_string(options.top_p),
                     "expected more than 0 and at most 1");
  }
  std::vector<std::string> notes;
  const CheckpointInfo checkpoint = find_checkpoint(options.checkpoint, &notes);
  for (const std::string& note : notes) options.warn(note);
  TrainConfig config = checkpoint.config;
  if (options.configure) config = options.configure(std::move(config));
  const auto tokenizer = checkpoint_tokenizer(config, checkpoint, options.warn);
  std::vector<std::int64_t> tokens = tokenizer->encode(options.prompt);
  const std::vector<std::int64_t> begin = tokenizer->begin_of_document();
  tokens.insert(tokens.begin(), begin.begin(), begin.end());
  Continuation continuation(*tokenizer, tokens);
  if (tokens.empty()) tokens.push_back(tokenizer->end_of_document());  // an empty page
  for (const std::int64_t token : tokens) {
    if (token >= config.model.vocab_size) {
      throw InputError("generate: --prompt", "token " + std::to_string(token) + " is outside",
                       "expected a vocabulary of " + std::to_string(config.model.vocab_size));
    }
  }

  settle_stages(config, options.ranks);
  config.parallelism.data_parallel = 1;  // one text is one replica's work
  config.parallelism.sequence_parallel = 1;
  std::vector<LayerRange> stages = {{0, static_cast<int>(config.model.num_hidden_layers)}};
  if (options.ranks != nullptr) stages = profile_options(config).engine.stages;
  Engine engine(make_engine_options(config, stages, options.ranks));
  load_checkpoint(checkpoint, engine, false);
  options.loaded("loaded  " + checkpoint.folder + ", step " + std::to_string(checkpoint.next_step));

  Random random(static_cast<std::uint64_t>(options.seed));
  const std::set<std::int64_t> stops = stop_tokens(*tokenizer, checkpoint.record.companions);
  // Ids that no text has, where a vocabulary was rounded up, are never drawn.
  const std::int64_t drawn = std::min(tokenizer->vocab_size(), config.model.vocab_size);
  for (int i = 0; i < options.tokens; ++i) {
    const at::Tensor logits = engine.continue_text(tokens).to(at::kDouble).cpu().contiguous();
    const std::vector<double> values(logits.data_ptr<double>(), logits.data_ptr<double>() + drawn);
    const std::int64_t next = sample_token(values, options.temperature, options.top_p, random);
    if (stops.contains(next)) break;
    tokens = {next};
    if (const std::string piece = continuation.add(next); !piece.empty()) options.on_text(piece);
  }
  if (const std::string rest = continuation.finish(); !rest.empty()) options.on_text(rest);
  return continuation.text();
}

}  // namespace infinipipe
