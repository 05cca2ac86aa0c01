// The loss over a data set, with evaluation plans: what `eval` prints, and what training is judged
// by while it runs.
#pragma once

#include <functional>
#include <vector>

#include "data/batch_source.h"
#include "infinipipe/core/config.h"
#include "infinipipe/core/position_loss.h"
#include "infinipipe/planner/planner.h"
#include "runtime/engine.h"

namespace infinipipe {

struct CorpusLosses {
  double loss = 0.0;  // mean over all targets, natural log
  double targets = 0.0;
  Tokens tokens = 0;
  std::int64_t sequences = 0;             // pieces with a token
  std::vector<PositionLoss> by_position;  // as EvalResult has it
};

// After each batch: pieces done, and the loss so far. May throw to end it.
using EvaluationProgress = std::function<void(std::int64_t pieces, double loss)>;

// How many of the corpus's pieces an evaluation of `sequences` (0: all) has.
std::int64_t evaluated_pieces(const Corpus& corpus, std::int64_t sequences);

// Of the first `count` pieces, `per_step` at a time. Weights, moments and gradients stay as they
// are. Throws InputError where no piece has a target, or an id lies outside the vocabulary.
CorpusLosses evaluate_corpus(Engine& engine, const Planner& planner, const BatchSource& data,
                             std::int64_t count, int per_step, const EvaluationProgress& progress);

}  // namespace infinipipe
