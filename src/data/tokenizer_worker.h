// What tokenizer_worker.cpp.in holds: the worker's program, and where its Python is.
#pragma once

namespace infinipipe {

extern const char* const kTokenizerWorker;  // the text of tokenizer_worker.py
extern const char* const kSetUpPython;      // of set-up's own environment; it may be gone
extern const char* const kTokenizersPin;    // "tokenizers==0.23.3"

}  // namespace infinipipe
