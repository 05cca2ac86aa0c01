#include "data/batch_source.h"

#include <algorithm>

#include "infinipipe/base/error.h"

namespace infinipipe {

std::vector<std::int64_t> load_document(const IndexedDataset& dataset, std::int64_t document,
                                        Tokens max_sequence_length, std::int64_t vocab_size) {
  if (document < 0 || document >= dataset.documents()) {
    throw InputError(dataset.prefix(), "has no document " + std::to_string(document),
                     "expected 0 to " + std::to_string(dataset.documents() - 1));
  }
  std::vector<std::int64_t> ids = dataset.read(document, 0, max_sequence_length);
  const auto outside = std::find_if(ids.begin(), ids.end(), [&](std::int64_t id) {
    return static_cast<std::uint64_t>(id) >= static_cast<std::uint64_t>(vocab_size);
  });
  if (outside != ids.end()) {
    throw InputError(
        dataset.prefix() + ": document " + std::to_string(document),
        "token " + std::to_string(outside - ids.begin()) + " is " + std::to_string(*outside),
        "expected 0 to " + std::to_string(vocab_size - 1),
        "build the data with the model's tokenizer, or set model.vocab_size");
  }
  return ids;
}

BatchSource::BatchSource(const IndexedDataset& dataset, const Sampler& sampler,
                         Tokens max_sequence_length, std::int64_t vocab_size)
    : dataset_(&dataset),
      sampler_(&sampler),
      max_sequence_length_(max_sequence_length),
      vocab_size_(vocab_size) {
  if (max_sequence_length < 1) {
    throw InputError("data.max_sequence_length", "found " + std::to_string(max_sequence_length),
                     "expected at least 1");
  }
  if (vocab_size < 1) {
    throw InputError("model.vocab_size", "found " + std::to_string(vocab_size),
                     "expected at least 1");
  }
}

std::vector<Tokens> BatchSource::lengths(std::int64_t step) const {
  std::vector<Tokens> result;
  for (const std::int64_t document : sampler_->sample(step)) {
    const Tokens length = dataset_->length(document);
    if (length > 0) result.push_back(std::min(length, max_sequence_length_));
  }
  return result;
}

LoadedBatch BatchSource::load(std::int64_t step) const {
  LoadedBatch batch;
  for (const std::int64_t document : sampler_->sample(step)) {
    const Tokens length = dataset_->length(document);
    if (length == 0) {
      ++batch.empty_documents;
      continue;
    }
    if (length > max_sequence_length_) {
      ++batch.truncated_sequences;
      batch.truncated_tokens += length - max_sequence_length_;
    }
    batch.documents.push_back(document);
    batch.sequences.push_back(
        load_document(*dataset_, document, max_sequence_length_, vocab_size_));
    if (dataset_->has_weights()) {
      batch.weights.push_back(dataset_->weights(document, 0, max_sequence_length_));
    }
  }
  return batch;
}

}  // namespace infinipipe
