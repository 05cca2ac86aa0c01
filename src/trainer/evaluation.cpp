#include "trainer/evaluation.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

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

std::int64_t evaluated_pieces(const Corpus& corpus, std::int64_t sequences) {
  return sequences > 0 ? std::min(sequences, corpus.pieces()) : corpus.pieces();
}

CorpusLosses evaluate_corpus(Engine& engine, const Planner& planner, const BatchSource& data,
                             std::int64_t count, int per_step, const EvaluationProgress& progress) {
  CorpusLosses result;
  double total = 0.0;
  Positions positions;
  for (std::int64_t first = 0; first < count; first += per_step) {
    const std::int64_t end = std::min(count, first + per_step);
    Batch batch;
    PlanRequest request;
    request.step = static_cast<int>(first / per_step);
    request.forward_only = true;
    for (std::int64_t number = first; number < end; ++number) {
      const Corpus::Piece piece = data.corpus().piece(number);
      if (piece.length == 0) continue;
      std::vector<std::int64_t> tokens = data.load_piece(piece);
      if (data.corpus().has_weights()) batch.weights.push_back(data.load_weights(piece));
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
      positions.add(step.token_losses[i],
                    batch.weights.empty() ? std::vector<float>() : batch.weights[i]);
    }
    progress(end, total / result.targets);
  }
  if (result.targets == 0.0) {
    throw InputError(data.corpus().sets().front().dataset->prefix(),
                     "no document has a token to predict that has loss",
                     "expected something to predict");
  }
  result.loss = total / result.targets;
  result.by_position = positions.result();
  return result;
}

}  // namespace infinipipe
