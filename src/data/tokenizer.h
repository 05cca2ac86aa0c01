// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace infinipipe {

// Ids are 0 .. vocab_size() - 1, the end of a document included. All calls are thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::string name() const = 0;  // what make_tokenizer() made it from
  virtual std::int64_t vocab_size() const = 0;
  virtual std::int64_t end_of_document() const = 0;
  // Whether encode() expects valid UTF-8. If not, it takes any bytes and decode() gives them back.
  virtual bool needs_utf8() const = 0;

  // No end of document is added. Invalid UTF-8 is replaced where needs_utf8().
  virtual std::vector<std::int64_t> encode(std::string_view text) const = 0;
  // Ends of documents decode to nothing. Throws InputError for an id outside the vocabulary.
  virtual std::string decode(std::span<const std::int64_t> ids) const = 0;
};

// "byte": 256 bytes, end of document is 256. Anything else is the path of a SentencePiece model,
// whose end of document is its </s>, or one id more where it has none.
// Throws InputError for a model that cannot be read, or where this build has no SentencePiece.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name);

}  // namespace infinipipe
