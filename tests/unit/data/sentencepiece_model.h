// A small SentencePiece model for tests, trained once a process.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/random.h"
#include "data/tokenizer.h"

namespace infinipipe {

// Trains into PREFIX.model with spm_train and `flags`; empty where the program or the library is
// not there.
inline std::optional<std::string> train_sentencepiece(const std::string& prefix,
                                                      const std::string& flags = "") {
  if (std::system("command -v spm_train >/dev/null 2>&1") != 0) return std::nullopt;
  static constexpr const char* kWords[] = {"func", "return", "err",  "if",   "nil",   "package",
                                           "for",  "range",  "make", "byte", "stage", "token"};
  Random random(5);
  std::string text;
  for (int line = 0; line < 2000; ++line) {
    for (int word = 0; word < 8; ++word) text += std::string(kWords[random.between(0, 11)]) + " ";
    text += "\xc3\xa4\n";
  }
  write_file(prefix + ".txt", text);
  const std::string command = "spm_train --input='" + prefix + ".txt' --model_prefix='" + prefix +
                              "' --vocab_size=320 --model_type=bpe --byte_fallback=true "
                              "--hard_vocab_limit=false --normalization_rule_name=identity " +
                              flags + " >/dev/null 2>&1";
  if (std::system(command.c_str()) != 0) return std::nullopt;
  std::string model = prefix + ".model";
  try {
    make_tokenizer(model);
  } catch (const std::exception& error) {
    if (std::string(error.what()).find("no SentencePiece") != std::string::npos)
      return std::nullopt;
    throw;
  }
  return model;
}

}  // namespace infinipipe
