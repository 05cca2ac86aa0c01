#include <ATen/core/Tensor.h>
#include <ATen/ops/_to_copy.h>

#include <chrono>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/gpus.h"
#include "data/batch_source.h"
#include "data/safetensors.h"
#include "infinipipe/base/error.h"
#include "infinipipe/trainer/trainer.h"
#include "planner/layer_split.h"
#include "trainer/checkpoint.h"
#include "trainer/checkpoint_tokenizer.h"
#include "trainer/evaluation.h"
#include "trainer/needle.h"
#include "trainer/profile.h"
#include "trainer/setup.h"
#include "trainer/weights.h"

namespace infinipipe {
namespace {

// Every document's logits and tokens, one after the other.
void write_logits(const std::string& path, const std::vector<std::vector<std::int64_t>>& documents,
                  std::int64_t vocabulary, Dtype dtype, Engine& engine) {
  const at::ScalarType type = dtype == Dtype::kFloat64 ? at::kDouble : at::kFloat;
  std::vector<TensorInfo> infos;
  const auto name = [](const char* what, std::size_t i) { return what + std::to_string(i); };
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const auto count = static_cast<std::int64_t>(documents[i].size());
    infos.push_back({name("tokens.", i), "I64", {count}});
    infos.push_back({name("logits.", i), row_of(type).stored, {count, vocabulary}});
  }
  SafetensorsWriter writer(path, infos);
  for (std::size_t i = 0; i < documents.size(); ++i) {
    writer.write_tensor(name("tokens.", i), std::as_bytes(std::span(documents[i])));
    if (documents[i].empty()) continue;
    const at::Tensor logits = engine.all_logits(documents[i]).to(type).contiguous();
    writer.write_tensor(name("logits.", i), {static_cast<const std::byte*>(logits.const_data_ptr()),
                                             static_cast<std::size_t>(logits.nbytes())});
  }
  writer.finish();
}

}  // namespace

EvalResult evaluate(const EvalOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::string> notes;
  const CheckpointInfo checkpoint = find_checkpoint(options.checkpoint, &notes);
  for (const std::string& note : notes) options.warn(note);
  TrainConfig config = checkpoint.config;
  if (options.configure) config = options.configure(std::move(config));
  if (!options.data.empty()) config.data.path = options.data;
  settle_stages(config, options.ranks);
  if (options.stages) {
    config.parallelism.stages = *options.stages;
    config.parallelism.layers_per_stage.reset();
  }
  config.check();
  if (config.data.path.empty()) {
    throw InputError("eval: --data", "found nothing, and the checkpoint names no data set",
                     "expected the prefix of one",
                     "set it to what `infinipipe data build --out` wrote");
  }

  if (const auto sets = config.data.sets(); sets.size() > 1) {
    throw InputError("eval: --data",
                     "found " + std::to_string(sets.size()) + " sets, " + config.data.path,
                     "expected the prefix of one", "evaluate them one by one");
  }
  const Corpus corpus(config.data);
  const BatchSource data(corpus, config.training, config.model.vocab_size);
  const std::int64_t count = evaluated_pieces(corpus, options.sequences);
  // Forwards alone are not worth measuring the machine for.
  if (config.cluster.profile.empty()) config.cluster.profile = kEstimate;
  Profile profile = resolve_profile(config, options.log);
  count_received(config, profile);
  const PlanContext context = plan_context(config, std::move(profile));
  Engine engine(make_engine_options(config, stage_layers(context), options.ranks));
  load_checkpoint(checkpoint, engine, false);
  options.loaded("loaded  " + checkpoint.folder + ", step " + std::to_string(checkpoint.next_step));
  const auto planner = make_judged_planner(context);

  if (!options.logits.empty()) {
    std::vector<std::vector<std::int64_t>> documents;
    for (std::int64_t i = 0; i < count; ++i) {
      documents.push_back(data.load_piece(corpus.piece(i)));
    }
    write_logits(options.logits, documents, config.model.vocab_size, config.training.dtype, engine);
  }

  const CorpusLosses found =
      evaluate_corpus(engine, *planner, data, count, config.training.sequences_per_step,
                      [&](std::int64_t sequences, double loss) {
                        options.log(format_count(sequences) + " of " + format_count(count) +
                                    " documents, loss " + std::to_string(loss));
                      });
  EvalResult result;
  if (options.needle_grid > 0) {
    const auto tokenizer = checkpoint_tokenizer(config, checkpoint, options.warn);
    result.needle =
        find_needles(engine, *planner, *tokenizer, *corpus.sets().front().dataset, config,
                     {.grid = options.needle_grid, .trials = options.needle_trials}, options.log);
  }
  result.checkpoint = checkpoint.folder;
  result.next_step = checkpoint.next_step;
  result.loss = found.loss;
  result.perplexity = std::exp(found.loss);
  result.targets = found.targets;
  result.tokens = found.tokens;
  result.sequences = found.sequences;
  result.by_position = found.by_position;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace infinipipe
