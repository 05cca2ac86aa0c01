#include "trainer/evaluation.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "data/batch_source.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// Sums by powers of two.
class Positions final {
 public:
  void add(const std::vector<double>& losses, const std::vector<std::int64_t>& tokens) {
    for (std::size_t at = 0; at + 1 < tokens.size(); ++at) {
      const auto bucket = static_cast<std::size_t>(std::bit_width(at));
      if (bucket >= sums_.size()) sums_.resize(bucket + 1);
      sums_[bucket].loss += losses[at];
      sums_[bucket].targets += 1.0;
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

std::int64_t evaluated_documents(const IndexedDataset& dataset, std::int64_t sequences) {
  return sequences > 0 ? std::min(sequences, dataset.documents()) : dataset.documents();
}

DocumentLosses evaluate_documents(Engine& engine, const Planner& planner,
                                  const IndexedDataset& dataset, const TrainConfig& config,
                                  std::int64_t count, const EvaluationProgress& progress) {
  DocumentLosses result;
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
    }
    result.sequences += static_cast<std::int64_t>(batch.sequences.size());
    if (batch.target_weight() == 0.0) continue;
    const StepResult step = engine.run(planner.plan(request), batch);
    total += step.loss * step.target_weight;
    result.targets += step.target_weight;
    for (std::size_t i = 0; i < batch.sequences.size(); ++i) {
      positions.add(step.token_losses[i], batch.sequences[i]);
    }
    progress(end, total / result.targets);
  }
  if (result.targets == 0.0) {
    throw InputError(dataset.prefix(), "no document has two tokens",
                     "expected something to predict");
  }
  result.loss = total / result.targets;
  result.by_position = positions.result();
  return result;
}

}  // namespace infinipipe
