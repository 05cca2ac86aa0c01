// Megatron indexed datasets: PREFIX.bin (tokens) and PREFIX.idx (lengths, offsets, documents), and
// of ours PREFIX.weights where some tokens have no loss. Format: docs/data.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "infinipipe/base/steady_file.h"
#include "infinipipe/base/units.h"

namespace infinipipe {

// Codes as they stand in files that are written here. 6 (f64) and 7 (f32) exist in the format, but
// are no tokens.
enum class TokenDtype : std::uint8_t {
  kUint8 = 1,
  kInt8 = 2,
  kInt16 = 3,
  kInt32 = 4,
  kInt64 = 5,
  kUint16 = 8,
};

std::size_t token_width(TokenDtype dtype);      // bytes
std::string_view token_dtype_name(TokenDtype);  // "uint16"
// What Megatron chooses: uint16 for a vocabulary below 65,500, else int32.
TokenDtype token_dtype_for(std::int64_t vocab_size);

// Appends ids in the dtype's little-endian form. Throws InputError for an id that does not fit.
void append_encoded(TokenDtype dtype, std::span<const std::int64_t> ids,
                    std::vector<std::byte>& bytes);

// A dataset on disk. Everything is checked on opening, in one pass over the index: magic, version,
// dtype, sizes, lengths, offsets, documents. All offsets are 64 bits wide. Const calls are
// thread-safe; they throw RunError naming the file for one that was changed or cut short since it
// was opened.
//
// DeepSpeed's variant of the format has other dtypes: 6 is uint16, 7 uint32, 8 uint64. Where the
// sizes prove it (6 with two bytes a token, 8 with eight) it is read; uint64 as int64.
class IndexedDataset final {
 public:
  // Opens PREFIX.idx and PREFIX.bin, and PREFIX.weights where it is there, which must be of this
  // index. Throws InputError naming the file and the exact reason.
  explicit IndexedDataset(const std::string& prefix);

  const std::string& prefix() const { return prefix_; }
  TokenDtype dtype() const { return dtype_; }
  std::int64_t documents() const { return documents_; }
  std::int64_t sequences() const { return sequences_; }
  Tokens tokens() const { return tokens_; }  // of all documents

  // Tokens of a document: of all its sequences, which the format stores one after the other.
  Tokens length(std::int64_t document) const;
  std::vector<Tokens> lengths() const;  // of every document

  // Tokens [begin, begin + count) of a document, fewer where it ends before. Ids are as stored,
  // so they may be outside a model's vocabulary.
  std::vector<std::int64_t> read(std::int64_t document, Tokens begin = 0,
                                 Tokens count = std::numeric_limits<Tokens>::max()) const;

  bool has_weights() const { return weights_.has_value(); }
  // Loss weights of the same tokens, 0 or 1: a token's weight counts its own prediction, so that
  // the first one's never does. Empty where the dataset has none: all are 1. Throws InputError for
  // any other weight.
  std::vector<float> weights(std::int64_t document, Tokens begin = 0,
                             Tokens count = std::numeric_limits<Tokens>::max()) const;

 private:
  void read_header();
  void open_weights();
  TokenDtype dtype_of(std::uint8_t code) const;
  void check_sequences() const;
  void check_documents() const;
  struct ByteRange {
    std::int64_t begin = 0;
    std::int64_t end = 0;
  };
  std::int64_t sequence_offset(std::int64_t sequence) const;  // bytes into .bin; end for last + 1
  ByteRange document_bytes(std::int64_t document) const;      // of its tokens in .bin
  struct TokenRange {
    Tokens first = 0;  // of all in .bin
    Tokens count = 0;
  };
  TokenRange token_range(std::int64_t document, Tokens begin, Tokens count) const;

  std::string prefix_;
  SteadyFile index_;
  SteadyFile data_;
  std::optional<SteadyFile> weights_;
  TokenDtype dtype_ = TokenDtype::kUint16;
  std::int64_t sequences_ = 0;
  std::int64_t documents_ = 0;
  Tokens tokens_ = 0;
};

// Writes a dataset as a stream, in memory that does not grow with it. All files are written under
// temporary names; finish() puts .weights in place, which is written only where some token has no
// loss, then .bin, then .idx, so that a half-written dataset is never taken for a whole one. An
// older .weights goes with the older .idx. Without finish() nothing is left behind, and an older
// dataset of that name stays. One writer at a time has a prefix: a second one is refused by
// RunError, in whatever process, until the first is finished or destroyed (its lock,
// PREFIX.bin.lock, goes with it). Not thread-safe. Throws RunError for a disk that fails.
class IndexedDatasetWriter final {
 public:
  // `max_sequence`: a longer document is stored as several sequences (its length is an i32 there).
  IndexedDatasetWriter(std::string prefix, TokenDtype dtype,
                       Tokens max_sequence = std::numeric_limits<std::int32_t>::max());
  ~IndexedDatasetWriter();
  IndexedDatasetWriter(const IndexedDatasetWriter&) = delete;
  IndexedDatasetWriter& operator=(const IndexedDatasetWriter&) = delete;

  TokenDtype dtype() const;
  // More tokens of the document that is being written. `loss`: whether their prediction counts.
  void append(std::span<const std::int64_t> ids, bool loss = true);
  void append_bytes(std::span<const std::byte> encoded, bool loss = true);  // append_encoded()'s
  Tokens document_tokens() const;  // of that document so far
  // Ends the document; an empty one is stored as a sequence of length 0.
  void end_document();

  std::int64_t documents() const;  // ended ones
  Tokens tokens() const;
  // Ended ones in which no token is predicted that has loss; those of one token are not among them.
  std::int64_t documents_without_loss() const;
  // Of ended documents, those that are predicted and have loss.
  Tokens loss_tokens() const;
  bool has_weights() const;  // whether some token so far has no loss

  // After the last end_document(), once. Syncs and renames.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace infinipipe
