// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace infinipipe {

// A conversation's tokens, all of them: nothing is added before or behind.
struct ChatTokens {
  std::vector<std::int64_t> ids;
  std::vector<std::uint8_t> loss;  // parallel to `ids`: 1 where predicting the token counts
  bool joined_boundary = false;    // a prompt's ids are not how the whole begins
};

// Ids are 0 .. vocab_size() - 1, the end of a document included. All calls are thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::string name() const = 0;  // what make_tokenizer() made it from
  virtual std::int64_t vocab_size() const = 0;
  // Ids that begin every document; most tokenizers have none.
  virtual std::vector<std::int64_t> begin_of_document() const { return {}; }
  virtual std::int64_t end_of_document() const = 0;
  // Whether encode() expects valid UTF-8. If not, it takes any bytes and decode() gives them back.
  virtual bool needs_utf8() const = 0;

  // No beginning and no end of document is added. Invalid UTF-8 is replaced where needs_utf8().
  virtual std::vector<std::int64_t> encode(std::string_view text) const = 0;
  // A conversation as the model's own chat template has it. `request` is a JSON object with
  // "messages", whose loss is on the assistant's turns, or with "prompt" and "completion", lists of
  // messages, whose loss is on the second; "tools" and "chat_template_kwargs" go to the template.
  // Throws InputError naming `where` for what the template refuses and where there is none.
  virtual ChatTokens encode_chat(std::string_view request, const std::string& where) const;
  // Beginnings and ends of documents decode to nothing. Throws InputError for an id outside the
  // vocabulary.
  virtual std::string decode(std::span<const std::int64_t> ids) const = 0;
};

struct TokenizerOptions {
  // Text that looks like a special token of a tokenizer.json is one; else it is text.
  bool special_in_text = false;
};

// "byte": 256 bytes, end of document is 256. Else a path: of a SentencePiece model, whose end of
// document is its </s>, or one id more where it has none; or of a Hugging Face tokenizer.json,
// whose documents begin and end as it and the files beside it say; or of a folder with one of
// these. Throws InputError for a model that cannot be read, or where this build has no
// SentencePiece, and RunError where a tokenizer.json's library is missing.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name,
                                          const TokenizerOptions& options = {});

// The file of a tokenizer that is not "byte": `name` itself, or where it is a folder the
// tokenizer.json or tokenizer.model in it.
std::string tokenizer_file(const std::string& name);

}  // namespace infinipipe
