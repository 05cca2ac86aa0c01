// What a worker makes of a piece of text.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_source.h"
#include "data/tokenizer.h"
#include "infinipipe/base/units.h"
#include "infinipipe/data/indexed_dataset.h"

namespace infinipipe {

// What an error says about a line that a build may leave out.
inline constexpr std::string_view kSkipAdvice =
    "--on-bad-line skip leaves such out and counts them";

// What a row of instruction data has beside or in place of its text, by RowField.
enum RowField : std::size_t { kMessages, kPrompt, kCompletion, kTools, kTemplateKeys };
inline constexpr std::array<std::string_view, 5> kRowFields = {"messages", "prompt", "completion",
                                                               "tools", "chat_template_kwargs"};

struct EncodedPiece {
  struct Part {
    Tokens tokens = 0;
    bool ends_document = true;
    bool loss = true;                // whether predicting the tokens counts
    bool adds_end = true;            // of what ends a document: the end has yet to be added
    std::int64_t invalid_bytes = 0;  // of UTF-8, replaced
  };

  std::vector<std::byte> bytes;  // the parts' tokens in the dataset's dtype
  std::vector<Part> parts;
  std::int64_t joined_boundaries = 0;  // prompts whose last token goes on in the completion
  std::int64_t input_bytes = 0;        // of the files as they are stored
  std::int64_t text_bytes = 0;         // of what they hold
  std::vector<std::string> problems;   // of lines and files that were left out
};

// Texts that are encoded at the same time, by their bytes: a tokenizer that takes each as a whole
// needs some hundred times their size in memory. Thread-safe.
class EncodeBudget final {
 public:
  explicit EncodeBudget(std::size_t bytes) : bytes_(bytes) {}

  // Waits until the texts being encoded, with this one, keep to the budget, or there is none.
  void take(std::size_t bytes);
  void give_back(std::size_t bytes);

 private:
  const std::size_t bytes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t used_ = 0;
};

struct EncodeSettings {
  const Tokenizer* tokenizer;
  TokenDtype dtype;
  std::string text_field;  // "text", or "a.b": b of the object a; a list there is messages
  OnBadLine on_bad_line;
  std::size_t max_text_bytes;  // where the tokenizer needs whole texts
  EncodeBudget* budget;
};

// Throws InputError naming file and line for a malformed one, unless these are skipped; then the
// message is among the result's problems. Thread-safe.
EncodedPiece encode_piece(const TextPiece& piece, const EncodeSettings& settings);

}  // namespace infinipipe
