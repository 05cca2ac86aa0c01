#include "data/batch_source.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/limits.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

std::vector<std::int64_t> load_tokens(const IndexedDataset& dataset, std::int64_t document,
                                      Tokens begin, Tokens count, std::int64_t vocab_size) {
  if (document < 0 || document >= dataset.documents()) {
    throw InputError(dataset.prefix(), "has no document " + std::to_string(document),
                     "expected 0 to " + std::to_string(dataset.documents() - 1));
  }
  std::vector<std::int64_t> ids = dataset.read(document, begin, count);
  const auto outside = std::find_if(ids.begin(), ids.end(), [&](std::int64_t id) {
    return static_cast<std::uint64_t>(id) >= static_cast<std::uint64_t>(vocab_size);
  });
  if (outside != ids.end()) {
    throw InputError(dataset.prefix() + ": document " + std::to_string(document),
                     "token " + std::to_string(begin + (outside - ids.begin())) + " is " +
                         std::to_string(*outside),
                     "expected 0 to " + std::to_string(vocab_size - 1),
                     "build the data with the model's tokenizer, or set model.vocab_size");
  }
  return ids;
}

std::vector<std::int64_t> load_document(const IndexedDataset& dataset, std::int64_t document,
                                        Tokens max_sequence_length, std::int64_t vocab_size) {
  return load_tokens(dataset, document, 0, max_sequence_length, vocab_size);
}

BatchSource::BatchSource(const Corpus& corpus, const TrainingConfig& training,
                         std::int64_t vocab_size)
    : corpus_(&corpus),
      sampler_(corpus.sampled_sets(), training.sequences_per_step, training.seed),
      tokens_per_step_(training.tokens_per_step),
      vocab_size_(vocab_size) {
  if (vocab_size < 1) {
    throw InputError("model.vocab_size", "found " + std::to_string(vocab_size),
                     "expected at least 1");
  }
}

std::int64_t BatchSource::end_by_tokens(std::int64_t begin) const {
  Sampler::Walk walk(sampler_, begin);
  Tokens tokens = 0;
  std::int64_t end = begin;
  for (; end < begin + kMostSequences; ++end) {
    const Tokens length = corpus_->piece(walk.next()).length;
    if (tokens > 0 && tokens + length > tokens_per_step_) break;
    tokens += length;
  }
  return end;
}

std::int64_t BatchSource::position(std::int64_t step) const {
  if (tokens_per_step_ == 0) return sampler_.position(step);
  INFINIPIPE_ASSERT(step >= first_, "a step before the one that was restored");
  const auto index = static_cast<std::size_t>(step - first_);
  const std::scoped_lock lock(mutex_);
  while (begins_.size() <= index) begins_.push_back(end_by_tokens(begins_.back()));
  return begins_[index];
}

std::vector<std::int64_t> BatchSource::pieces(std::int64_t step) const {
  if (tokens_per_step_ == 0) return sampler_.sample(step);
  const std::int64_t begin = position(step);
  Sampler::Walk walk(sampler_, begin);
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(position(step + 1) - begin));
  for (std::int64_t& number : numbers) number = walk.next();
  return numbers;
}

std::vector<Tokens> BatchSource::lengths(std::int64_t step) const {
  std::vector<Tokens> result;
  for (const std::int64_t number : pieces(step)) {
    const Tokens length = corpus_->piece(number).length;
    if (length > 0) result.push_back(length);
  }
  return result;
}

std::vector<std::int64_t> BatchSource::load_piece(const Corpus::Piece& piece) const {
  return load_tokens(*corpus_->sets()[piece.set].dataset, piece.document, piece.begin, piece.length,
                     vocab_size_);
}

std::vector<float> BatchSource::load_weights(const Corpus::Piece& piece) const {
  const IndexedDataset& dataset = *corpus_->sets()[piece.set].dataset;
  if (!dataset.has_weights()) return std::vector<float>(static_cast<std::size_t>(piece.length), 1);
  return dataset.weights(piece.document, piece.begin, piece.length);
}

LoadedBatch BatchSource::load(std::int64_t step) const {
  LoadedBatch batch;
  for (const std::int64_t number : pieces(step)) {
    const Corpus::Piece piece = corpus_->piece(number);
    if (piece.length == 0) {
      ++batch.empty_documents;
      continue;
    }
    if (piece.length < piece.document_length) {
      if (corpus_->long_documents() == LongDocuments::kSplit) {
        ++batch.split_sequences;
      } else {
        ++batch.truncated_sequences;
        batch.truncated_tokens += piece.document_length - piece.length;
      }
    }
    batch.documents.push_back(number);
    batch.sequences.push_back(load_piece(piece));
    if (corpus_->has_weights()) batch.weights.push_back(load_weights(piece));
  }
  return batch;
}

std::vector<double> BatchSource::epochs(std::int64_t step) const {
  return sampler_.epochs(position(step));
}

double BatchSource::steps_per_epoch(std::size_t set) const {
  double per_step = sampler_.per_step();
  if (tokens_per_step_ > 0) {
    double mean = 0.0;  // tokens of a piece that is drawn
    for (std::size_t i = 0; i < corpus_->sets().size(); ++i) {
      const Corpus::Set& each = corpus_->sets()[i];
      mean += share(i) * static_cast<double>(each.tokens) / static_cast<double>(each.pieces);
    }
    per_step = std::max(1.0, static_cast<double>(tokens_per_step_) / std::max(1.0, mean));
  }
  return sampler_.places_per_epoch(set) / per_step;
}

Json BatchSource::state(std::int64_t step) const {
  Json state = sampler_.state(step);
  if (tokens_per_step_ > 0) {
    state["tokens_per_step"] = tokens_per_step_;
    state["position"] = position(step);
  }
  return state;
}

std::int64_t BatchSource::restore(const JsonView& state) {
  constexpr std::int64_t kFarthest = std::int64_t{1} << 61;  // no run comes so far
  const std::int64_t step = sampler_.restore(state);
  if (tokens_per_step_ == 0) {
    if (state.has("tokens_per_step")) require_member(state, "tokens_per_step", 0);
    return step;
  }
  require_member(state, "tokens_per_step", tokens_per_step_);
  first_ = step;
  begins_ = {state.at("position").integer(0, kFarthest)};
  return step;
}

}  // namespace infinipipe
