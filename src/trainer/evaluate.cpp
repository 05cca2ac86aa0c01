#include <ATen/core/Tensor.h>
#include <ATen/ops/_to_copy.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "data/batch_source.h"
#include "data/safetensors.h"
#include "infinipipe/base/error.h"
#include "infinipipe/data/indexed_dataset.h"
#include "infinipipe/trainer/trainer.h"
#include "planner/layer_split.h"
#include "trainer/checkpoint.h"
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

// Sums by powers of two.
class Positions final {
 public:
  // `weights` as a Batch has them.
  void add(const std::vector<double>& losses, const std::vector<float>& weights) {
    for (std::size_t at = 0; at + 1 < losses.size(); ++at) {
      const auto bucket = static_cast<std::size_t>(std::bit_width(at));
      if (bucket >= sums_.size()) sums_.resize(bucket + 1);
      sums_[bucket].loss += losses[at];
      sums_[bucket].targets += weights.empty() ? 1.0 : static_cast<double>(weights[at + 1]);
    }
  }
  std::vector<PositionLoss> result() const {
    std::vector<PositionLoss> all;
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      if (sums_[i].targets == 0.0) continue;
      const Tokens begin = i == 0 ? 0 : Tokens{1} << (i - 1);
      all.push_back({begin, Tokens{1} << i, sums_[i].targets, sums_[i].loss / sums_[i].targets});
    }
    return all;
  }

 private:
  struct Sum {
    double loss = 0.0;
    double targets = 0.0;
  };
  std::vector<Sum> sums_;
};

}  // namespace

EvalResult evaluate(const EvalOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::string> notes;
  const CheckpointInfo checkpoint = find_checkpoint(options.checkpoint, &notes);
  for (const std::string& note : notes) options.warn(note);
  TrainConfig config = checkpoint.config;
  if (options.configure) config = options.configure(std::move(config));
  if (!options.data.empty()) config.data.path = options.data;
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

  const IndexedDataset dataset(config.data.path);
  const std::int64_t count = options.sequences > 0
                                 ? std::min<std::int64_t>(options.sequences, dataset.documents())
                                 : dataset.documents();
  // Forwards alone are not worth measuring the machine for.
  if (config.cluster.profile.empty()) config.cluster.profile = "estimate";
  const PlanContext context = plan_context(config, resolve_profile(config, options.log));
  Engine engine(make_engine_options(config, stage_layers(context)));
  load_checkpoint(checkpoint, engine, false);
  options.loaded("loaded  " + checkpoint.folder + ", step " + std::to_string(checkpoint.next_step));
  const auto planner = make_judged_planner(context);

  if (!options.logits.empty()) {
    std::vector<std::vector<std::int64_t>> documents;
    for (std::int64_t i = 0; i < count; ++i) {
      documents.push_back(
          load_document(dataset, i, config.data.max_sequence_length, config.model.vocab_size));
    }
    write_logits(options.logits, documents, config.model.vocab_size, config.training.dtype, engine);
  }

  EvalResult result;
  result.checkpoint = checkpoint.folder;
  result.next_step = checkpoint.next_step;
  double total = 0.0;
  Positions positions;
  const std::int64_t per_step = config.training.sequences_per_step;
  for (std::int64_t first = 0; first < count; first += per_step) {
    const std::int64_t end = std::min(count, first + per_step);
    Batch batch;
    PlanRequest request;
    request.step = static_cast<int>(first / per_step);
    request.forward_only = true;
    for (std::int64_t document = first; document < end; ++document) {
      std::vector<std::int64_t> tokens = load_document(
          dataset, document, config.data.max_sequence_length, config.model.vocab_size);
      if (tokens.empty()) continue;
      request.sequences.push_back(static_cast<Tokens>(tokens.size()));
      result.tokens += request.sequences.back();
      batch.sequences.push_back(std::move(tokens));
      if (dataset.has_weights()) {
        batch.weights.push_back(dataset.weights(document, 0, config.data.max_sequence_length));
      }
    }
    result.sequences += static_cast<std::int64_t>(batch.sequences.size());
    if (batch.target_weight() == 0.0) continue;
    const StepResult step = engine.run(planner->plan(request), batch);
    total += step.loss * step.target_weight;
    result.targets += step.target_weight;
    for (std::size_t i = 0; i < batch.sequences.size(); ++i) {
      positions.add(step.token_losses[i],
                    batch.weights.empty() ? std::vector<float>() : batch.weights[i]);
    }
    options.log(format_count(end) + " of " + format_count(count) + " documents, loss " +
                std::to_string(total / result.targets));
  }
  if (result.targets == 0.0) {
    throw InputError(config.data.path, "no document has a token to predict that has loss",
                     "expected something to predict");
  }
  result.loss = total / result.targets;
  result.perplexity = std::exp(result.loss);
  result.by_position = positions.result();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace infinipipe
