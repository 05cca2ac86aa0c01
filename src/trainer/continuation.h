// Text that grows by tokens, given out in pieces that never change again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace infinipipe {

// Tokens are decoded together with some of those before them: a character may take several, and a
// token may begin with a space only where it begins a text. One thread; the tokenizer must live on.
class Continuation final {
 public:
  // Of a text whose tokens are `before`; may be empty.
  Continuation(const Tokenizer& tokenizer, std::vector<std::int64_t> before);

  // The next piece of the text; empty while a character is not whole, or U+FFFD may yet become one.
  std::string add(std::int64_t token);
  // What was held back.
  std::string finish();
  // All pieces so far.
  const std::string& text() const { return text_; }

 private:
  std::string decoded() const;
  std::string give(std::size_t end, const std::string& text);
  void forget_early_tokens();

  const Tokenizer& tokenizer_;
  std::vector<std::int64_t> tokens_;  // the last of them
  std::string before_;                // what the first of tokens_ gave, before given_
  std::string given_;                 // of what tokens_ decode to
  std::string text_;
};

}  // namespace infinipipe
