// What a worker makes of a piece of text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "data/text_source.h"
#include "infinipipe/base/units.h"
#include "infinipipe/data/indexed_dataset.h"
#include "infinipipe/data/tokenizer.h"

namespace infinipipe {

struct EncodedPiece {
  struct Part {
    Tokens tokens = 0;
    bool ends_document = true;
    std::int64_t invalid_bytes = 0;  // of UTF-8, replaced
  };

  std::vector<std::byte> bytes;  // the parts' tokens in the dataset's dtype
  std::vector<Part> parts;
  std::int64_t input_bytes = 0;
};

struct EncodeSettings {
  const Tokenizer* tokenizer;
  TokenDtype dtype;
  std::size_t piece_bytes;  // longer JSON texts are encoded piece by piece
  std::string text_field;
};

// Throws InputError naming file:line for a malformed JSON line. Thread-safe.
EncodedPiece encode_piece(const TextPiece& piece, const EncodeSettings& settings);

}  // namespace infinipipe
