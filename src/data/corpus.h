// The data sets of a run, and what can be drawn from them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/sampler.h"
#include "infinipipe/core/config.h"
#include "infinipipe/data/indexed_dataset.h"

namespace infinipipe {

// Documents that are longer than a limit.
struct LongDocumentCount {
  std::int64_t documents = 0;
  std::int64_t parts = 0;     // that splitting makes of them
  Tokens tokens = 0;          // of all of them
  Tokens behind_the_cut = 0;  // of these, what cutting leaves out

  // Counts a document, which may be a short one. max_sequence_length >= 1.
  void add(Tokens length, Tokens max_sequence_length);
  void add(const LongDocumentCount& other);
};

// What is drawn is called a *piece*: a document, or a part of one where long documents are split.
// Pieces are numbered set by set, document by document, part by part. Where documents are split
// that are longer than max_sequence_length, each part but the last has that many tokens; those that
// are dropped have no piece. Opening reads the indexes alone; memory is 8 bytes a document for sets
// in which a document is split or dropped, and constant for others. Const calls are thread-safe,
// and throw RunError as IndexedDataset does.
class Corpus final {
 public:
  // Opens all sets. Throws InputError for none, for what IndexedDataset refuses, for a set without
  // a document or of which every document is dropped, and for max_sequence_length < 1.
  explicit Corpus(const DataConfig& config);

  struct Set {
    std::unique_ptr<const IndexedDataset> dataset;
    double weight = 1.0;
    std::int64_t pieces = 0;
    Tokens tokens = 0;  // of all pieces
    LongDocumentCount longer;
    std::vector<std::int64_t> first_piece;  // of each document, and one more; empty: as numbered
  };
  const std::vector<Set>& sets() const { return sets_; }
  std::int64_t pieces() const { return first_.back(); }
  LongDocumentCount longer() const;              // of all sets
  bool has_weights() const;                      // some set has loss weights
  std::vector<SampledSet> sampled_sets() const;  // pieces and weights
  Tokens max_sequence_length() const { return max_sequence_length_; }
  LongDocuments long_documents() const { return long_documents_; }

  struct Piece {
    std::size_t set = 0;
    std::int64_t document = 0;  // of the set
    Tokens begin = 0;           // in the document
    Tokens length = 0;          // at most max_sequence_length
    Tokens document_length = 0;
  };
  Piece piece(std::int64_t number) const;  // 0 .. pieces() - 1

 private:
  Set open(const WeightedData& data) const;

  Tokens max_sequence_length_;
  LongDocuments long_documents_;
  std::vector<Set> sets_;
  std::vector<std::int64_t> first_;  // number of each set's first piece; last: of all
};

}  // namespace infinipipe
