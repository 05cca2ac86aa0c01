// SentencePiece models as tokenizers. Two sources implement this; CMake chooses one.
#pragma once

#include <memory>
#include <string>

#include "data/tokenizer.h"

namespace infinipipe {

// Throws InputError for a model that cannot be read, or where this build has no SentencePiece.
std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const std::string& path);

}  // namespace infinipipe
