#include "data/sentencepiece_tokenizer.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const std::string& path) {
  throw InputError("tokenizer", "\"" + path + "\" is a SentencePiece model",
                   "expected \"byte\", as this build has no SentencePiece",
                   "install libsentencepiece-dev and build again");
}

}  // namespace infinipipe
