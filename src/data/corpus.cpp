#include "data/corpus.h"

#include <algorithm>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

std::int64_t parts_of(Tokens length, Tokens max_sequence_length) {
  return std::max<std::int64_t>(1, (length - 1) / max_sequence_length + 1);
}

}  // namespace

void LongDocumentCount::add(Tokens length, Tokens max_sequence_length) {
  if (length <= max_sequence_length) return;
  ++documents;
  parts += parts_of(length, max_sequence_length);
  tokens += length;
  behind_the_cut += length - max_sequence_length;
}

void LongDocumentCount::add(const LongDocumentCount& other) {
  documents += other.documents;
  parts += other.parts;
  tokens += other.tokens;
  behind_the_cut += other.behind_the_cut;
}

Corpus::Corpus(const DataConfig& config)
    : max_sequence_length_(config.max_sequence_length), long_documents_(config.long_documents) {
  if (max_sequence_length_ < 1) {
    throw InputError("data.max_sequence_length", "found " + std::to_string(max_sequence_length_),
                     "expected at least 1");
  }
  first_.push_back(0);
  for (const WeightedData& data : config.sets()) {
    sets_.push_back(open(data));
    first_.push_back(first_.back() + sets_.back().pieces);
  }
  if (sets_.empty()) {
    throw InputError("data.path", "found nothing", "expected the prefix of a data set");
  }
}

Corpus::Set Corpus::open(const WeightedData& data) const {
  Set set;
  set.dataset = std::make_unique<const IndexedDataset>(data.path);
  set.weight = data.weight;
  if (set.dataset->documents() == 0) {
    throw InputError(data.path, "found no document", "expected a data set with some",
                     "build it from texts that are not empty");
  }
  const std::vector<Tokens> lengths = set.dataset->lengths();
  for (const Tokens length : lengths) set.longer.add(length, max_sequence_length_);
  set.pieces = set.dataset->documents();
  set.tokens = set.dataset->tokens();
  if (long_documents_ == LongDocuments::kCut) set.tokens -= set.longer.behind_the_cut;
  if (long_documents_ == LongDocuments::kCut || set.longer.documents == 0) return set;

  const bool split = long_documents_ == LongDocuments::kSplit;
  if (!split) set.tokens -= set.longer.tokens;
  set.first_piece.reserve(lengths.size() + 1);
  set.pieces = 0;
  for (const Tokens length : lengths) {
    set.first_piece.push_back(set.pieces);
    if (split) {
      set.pieces += parts_of(length, max_sequence_length_);
    } else if (length <= max_sequence_length_) {
      ++set.pieces;
    }
  }
  set.first_piece.push_back(set.pieces);
  if (set.pieces == 0) {
    throw InputError(data.path,
                     "each document has over " + std::to_string(max_sequence_length_) +
                         " tokens, and such are dropped",
                     "expected something to train on",
                     "raise data.max_sequence_length, or choose another data.long_documents");
  }
  return set;
}

LongDocumentCount Corpus::longer() const {
  LongDocumentCount all;
  for (const Set& set : sets_) all.add(set.longer);
  return all;
}

bool Corpus::has_weights() const {
  return std::any_of(sets_.begin(), sets_.end(),
                     [](const Set& set) { return set.dataset->has_weights(); });
}

std::vector<SampledSet> Corpus::sampled_sets() const {
  std::vector<SampledSet> sampled;
  for (const Set& set : sets_) sampled.push_back({set.pieces, set.weight});
  return sampled;
}

Corpus::Piece Corpus::piece(std::int64_t number) const {
  INFINIPIPE_ASSERT(number >= 0 && number < pieces(), "piece number");
  // The last one that does not begin behind the number; sets have pieces, documents may have none.
  const auto last_before = [](const std::vector<std::int64_t>& firsts, std::int64_t at) {
    return std::upper_bound(firsts.begin(), firsts.end(), at) - firsts.begin() - 1;
  };
  Piece piece;
  piece.set = static_cast<std::size_t>(last_before(first_, number));
  const Set& set = sets_[piece.set];
  piece.document = number - first_[piece.set];
  if (!set.first_piece.empty()) {
    const std::int64_t in_set = piece.document;
    piece.document = last_before(set.first_piece, in_set);
    piece.begin =
        (in_set - set.first_piece[static_cast<std::size_t>(piece.document)]) * max_sequence_length_;
  }
  piece.document_length = set.dataset->length(piece.document);
  piece.length = std::min(piece.document_length - piece.begin, max_sequence_length_);
  return piece;
}

}  // namespace infinipipe
