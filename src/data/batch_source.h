// Data sets -> the token sequences of a step.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "data/corpus.h"
#include "data/sampler.h"
#include "infinipipe/base/units.h"
#include "infinipipe/core/config.h"
#include "infinipipe/data/indexed_dataset.h"

namespace infinipipe {

// Tokens [begin, begin + count) of a document, fewer where it ends before. Throws InputError naming
// document and position of an id outside 0 .. vocab_size - 1.
std::vector<std::int64_t> load_tokens(const IndexedDataset& dataset, std::int64_t document,
                                      Tokens begin, Tokens count, std::int64_t vocab_size);
// The first max_sequence_length of them.
std::vector<std::int64_t> load_document(const IndexedDataset& dataset, std::int64_t document,
                                        Tokens max_sequence_length, std::int64_t vocab_size);

struct LoadedBatch {
  std::vector<std::int64_t> documents;               // numbers of the corpus's pieces
  std::vector<std::vector<std::int64_t>> sequences;  // token ids, parallel to `documents`
  // Loss weights of the tokens, parallel to `sequences`; empty: all are 1.
  std::vector<std::vector<float>> weights;
  std::int64_t truncated_sequences = 0;
  Tokens truncated_tokens = 0;       // those behind the cut
  std::int64_t split_sequences = 0;  // parts of longer documents
  std::int64_t empty_documents = 0;  // without a token: left out of the batch
};

// What each step is made of: `sequences_per_step` pieces, or where `tokens_per_step` is set whole
// pieces in the order in which they are drawn, until the next one would make it more tokens than
// that. A step has a piece with a token, however long, and at most kMostSequences pieces.
//
// By tokens a step begins where the one before it ends, which no formula gives. So the beginnings
// are found one after the other from the first step, or the one restored, and kept: 8 bytes a step,
// and the lengths of a step's pieces in the index. Every step is planned and looked at once anyway,
// in that order, so this costs nothing beside it, and batches are exactly those of an unbroken run.
//
// Const calls are thread-safe. The corpus must outlive it.
class BatchSource final {
 public:
  // Throws InputError for vocab_size < 1, and what Sampler does.
  BatchSource(const Corpus& corpus, const TrainingConfig& training, std::int64_t vocab_size);

  const Corpus& corpus() const { return *corpus_; }

  // Numbers of a step's pieces. By tokens no step before the restored one.
  std::vector<std::int64_t> pieces(std::int64_t step) const;
  // Lengths of load(step)'s sequences; reads the index alone.
  std::vector<Tokens> lengths(std::int64_t step) const;
  LoadedBatch load(std::int64_t step) const;
  // A piece's tokens.
  std::vector<std::int64_t> load_piece(const Corpus::Piece& piece) const;

  // And their loss weights: all 1 where its set has none.
  std::vector<float> load_weights(const Corpus::Piece& piece) const;

  // How often each set has been gone through before a step.
  std::vector<double> epochs(std::int64_t step) const;
  // How many steps it takes to go through a set once; by tokens an estimate from mean lengths.
  double steps_per_epoch(std::size_t set) const;
  double share(std::size_t set) const { return sampler_.share(set); }
  Tokens tokens_per_step() const { return tokens_per_step_; }  // 0: by sequences

  // The sampler's; by tokens with "tokens_per_step" and "position", where the step begins.
  Json state(std::int64_t step) const;
  // The step to go on with. Throws InputError if the state is another run's. Before other calls.
  std::int64_t restore(const JsonView& state);

 private:
  std::int64_t position(std::int64_t step) const;        // where it begins
  std::int64_t end_by_tokens(std::int64_t begin) const;  // of the step that begins there

  const Corpus* corpus_;
  Sampler sampler_;
  Tokens tokens_per_step_;
  std::int64_t vocab_size_;
  std::int64_t first_ = 0;  // step
  mutable std::mutex mutex_;
  mutable std::vector<std::int64_t> begins_ = {0};  // of steps from first_ on, as far as known
};

}  // namespace infinipipe
