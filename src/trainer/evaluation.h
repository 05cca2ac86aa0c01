// The loss over whole documents, with evaluation plans: what `eval` prints, and what training is
// judged by while it runs.
#pragma once

#include <functional>
#include <vector>

#include "infinipipe/core/config.h"
#include "infinipipe/core/position_loss.h"
#include "infinipipe/data/indexed_dataset.h"
#include "infinipipe/planner/planner.h"
#include "runtime/engine.h"

namespace infinipipe {

struct DocumentLosses {
  double loss = 0.0;  // mean over all targets, natural log
  double targets = 0.0;
  Tokens tokens = 0;
  std::int64_t sequences = 0;             // documents with a token
  std::vector<PositionLoss> by_position;  // as EvalResult has it
};

// After each batch: documents done, and the loss so far. May throw to end it.
using EvaluationProgress = std::function<void(std::int64_t documents, double loss)>;

// How many of the data set's documents an evaluation of `sequences` (0: all) has.
std::int64_t evaluated_documents(const IndexedDataset& dataset, std::int64_t sequences);

// Of the first `count` documents, cut at data.max_sequence_length, training.sequences_per_step at
// a time. Weights, moments and gradients stay as they are. Throws InputError where no document has
// two tokens, or an id lies outside the vocabulary.
DocumentLosses evaluate_documents(Engine& engine, const Planner& planner,
                                  const IndexedDataset& dataset, const TrainConfig& config,
                                  std::int64_t count, const EvaluationProgress& progress);

}  // namespace infinipipe
