// Text that grows by tokens, given out in pieces that never change again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace infinipipe {

// Tokens are decoded together with those before them: a character may take several, and a token may
// begin with a space only where it begins a text. One thread; the tokenizer must live on.
class Continuation final {
 public:
  // Of a text whose tokens are `before`; may be empty.
  Continuation(const Tokenizer& tokenizer, std::vector<std::int64_t> before);

  // The next piece of the text; empty while a character is not whole, or U+FFFD may yet become one.
  std::string add(std::int64_t token);
  // What was held back.
  std::string finish();
  // All pieces so far.
  const std::string& text() const { return given_; }

 private:
  std::string decoded() const;

  const Tokenizer& tokenizer_;
  std::vector<std::int64_t> tokens_;
  std::string before_;
  std::string given_;
};

}  // namespace infinipipe
