// tokenizer.json by Hugging Face's own library, which runs in Python processes beside this one.
#pragma once

#include <memory>
#include <string>

#include "data/tokenizer.h"

namespace infinipipe {

// Whether a tokenizer of that name is one: a file tokenizer.json, or a folder that holds one.
bool is_hugging_face_tokenizer(const std::string& name);

// Throws InputError for a file that cannot be read and RunError where no Python with the package
// `tokenizers` is at hand, saying what to install.
std::unique_ptr<Tokenizer> make_hugging_face_tokenizer(const std::string& name,
                                                       const TokenizerOptions& options);

}  // namespace infinipipe
