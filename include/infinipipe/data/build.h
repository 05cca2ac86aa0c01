// Text files or JSON lines -> an indexed dataset.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "infinipipe/base/units.h"
#include "infinipipe/data/indexed_dataset.h"

namespace infinipipe {

enum class InputFormat {
  kAuto,   // in a folder by name: *.jsonl is JSON lines, others text; a file named as input: JSONL
  kText,   // a file is a document
  kJsonl,  // a line is a document: an object with a string `text`
};

struct BuildProgress {
  std::int64_t documents = 0;  // written
  std::int64_t bytes = 0;      // of input, done
  std::int64_t total_bytes = 0;
};

struct BuildOptions {
  std::string input;                  // a folder or a file
  std::string output;                 // prefix of .bin and .idx; its folder is made
  std::vector<std::string> patterns;  // "*.go" fits file names, "a/*.go" paths below the folder,
                                      // any of them; empty: every file
  std::string tokenizer = "byte";     // as for make_tokenizer()
  InputFormat format = InputFormat::kAuto;
  std::string text_field = "text";                    // of JSON lines
  int threads = 0;                                    // 0: as many as there are cores
  std::size_t piece_bytes = 1 << 20;                  // longer files are tokenized piece by piece
  std::size_t queue_bytes = 64 << 20;                 // of text in flight
  std::size_t max_line_bytes = std::size_t{1} << 30;  // of JSON lines; longer ones are an error
  // From the calling thread, after every piece; it may throw to stop.
  std::function<void(const BuildProgress&)> progress = [](const BuildProgress&) {};
};

struct BuildResult {
  std::int64_t files = 0;
  std::int64_t documents = 0;  // written
  Tokens tokens = 0;           // an end of document for each included
  Tokens longest = 0;
  std::int64_t bytes = 0;                   // of input
  std::int64_t empty_documents = 0;         // without a token; left out
  std::int64_t invalid_utf8_documents = 0;  // some bytes were replaced by U+FFFD
  std::int64_t invalid_utf8_bytes = 0;
  std::int64_t skipped_entries = 0;  // pipes, sockets, devices, links that lead nowhere
  TokenDtype dtype = TokenDtype::kUint16;
};

// Tokenizes in parallel and writes documents in the order of their paths (folder by folder, names
// by bytes) and lines, an end of document after each; the output's bytes do not depend on
// `threads`. Links to files are read, links to folders are not followed, names that start with a
// dot are left out. Memory: a few times queue_bytes, the longest JSON line and the largest folder's
// names.
//
// Bytes that are no UTF-8: a byte tokenizer takes text files as they are; other tokenizers get them
// replaced, counted in the result; a JSON line that has them is an error.
// A tokenizer that is not byte-level sees a text longer than piece_bytes in pieces that end at line
// breaks (or between characters where there are none).
//
// Throws InputError (missing or empty input, no file fits the patterns, a malformed line as
// file:line) and RunError (disk); then no dataset is written.
BuildResult build_dataset(const BuildOptions& options);

}  // namespace infinipipe
