// Dataset and sampler -> the token sequences of a step.
#pragma once

#include <cstdint>
#include <vector>

#include "data/sampler.h"
#include "infinipipe/base/units.h"
#include "infinipipe/data/indexed_dataset.h"

namespace infinipipe {

// The first max_sequence_length tokens of a document. Throws InputError naming document and
// position of an id outside 0 .. vocab_size - 1.
std::vector<std::int64_t> load_document(const IndexedDataset& dataset, std::int64_t document,
                                        Tokens max_sequence_length, std::int64_t vocab_size);

struct LoadedBatch {
  std::vector<std::int64_t> documents;               // numbers in the dataset
  std::vector<std::vector<std::int64_t>> sequences;  // token ids, parallel to `documents`
  // Loss weights of the tokens, parallel to `sequences`; empty: all are 1.
  std::vector<std::vector<float>> weights;
  std::int64_t truncated_sequences = 0;
  Tokens truncated_tokens = 0;       // those behind the cut
  std::int64_t empty_documents = 0;  // without a token: left out of the batch
};

// Thread-safe. Dataset and sampler must outlive it; the sampler's documents are the dataset's.
class BatchSource final {
 public:
  // Throws InputError for max_sequence_length or vocab_size < 1.
  BatchSource(const IndexedDataset& dataset, const Sampler& sampler, Tokens max_sequence_length,
              std::int64_t vocab_size);

  // Lengths of load(step)'s sequences; reads the index alone.
  std::vector<Tokens> lengths(std::int64_t step) const;
  LoadedBatch load(std::int64_t step) const;

 private:
  const IndexedDataset* dataset_;
  const Sampler* sampler_;
  Tokens max_sequence_length_;
  std::int64_t vocab_size_;
};

}  // namespace infinipipe
