// Text files or JSON lines -> an indexed dataset.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "infinipipe/base/units.h"
#include "infinipipe/data/indexed_dataset.h"

namespace infinipipe {

enum class InputFormat {
  kAuto,   // by name, without a suffix of compression: *.jsonl and *.ndjson are JSON lines, *.json
           // is an array or JSON lines, *.parquet rows, a file of any other name is one text
  kText,   // a file is a document
  kJsonl,  // a line, or an element of an array, is a document: an object with a string `text`, or
           // with `messages`, or with `prompt` and `completion` (docs/data.md)
};

// What becomes of a line that is no document: not JSON, not UTF-8, without the text, too long. Also
// of a file whose format is not read, and of a text that is too long for the tokenizer.
enum class OnBadLine { kStop, kSkip };

struct BuildProgress {
  std::int64_t documents = 0;    // written
  std::int64_t bytes = 0;        // of input as it is stored, done
  std::int64_t total_bytes = 0;  // 0: not known, as an input is a pipe
  std::int64_t text_bytes = 0;   // of what the input holds, done
};

// "42% of 1.5 GiB, 3.0 GiB of text, 1,234 documents". Never 100%: what is left to do at the end is
// not counted in bytes.
std::string progress_line(const BuildProgress& progress);

struct BuildOptions {
  std::vector<std::string> inputs;    // folders and files, in this order
  std::string output;                 // prefix of .bin and .idx; its folder is made
  // Of every so many documents the last goes into a second dataset, output + kHeldOut, to judge by;
  // 0: all go into one.
  std::int64_t hold_out_every = 0;
  std::vector<std::string> patterns;  // "*.go" fits file names, "a/*.go" paths below the folder,
                                      // any of them; empty: every file
  std::string tokenizer = "byte";     // as for make_tokenizer(), like
  TokenizerOptions tokenizer_options;
  InputFormat format = InputFormat::kAuto;
  std::string text_field = "text";  // of JSON; "a.b" is b of the object a
  OnBadLine on_bad_line = OnBadLine::kStop;
  int threads = 0;                        // 0: as many as there are cores
  std::size_t piece_bytes = 1 << 20;      // read at a time
  std::size_t queue_bytes = 64 << 20;     // of text in flight
  std::size_t max_text_bytes = 64 << 20;  // of a document, where the tokenizer is not byte-level
  std::size_t max_line_bytes = std::size_t{1} << 30;  // of JSON lines; longer ones are an error
  // From the calling thread, after every piece; it may throw to stop.
  std::function<void(const BuildProgress&)> progress = [](const BuildProgress&) {};
};

inline constexpr const char* kHeldOut = "-held-out";

struct BuildResult {
  std::int64_t files = 0;
  std::int64_t documents = 0;  // written, less those held out
  Tokens tokens = 0;           // of these, an end of document for each included
  std::int64_t held_out_documents = 0;
  Tokens held_out_tokens = 0;
  Tokens longest = 0;
  bool has_weights = false;  // some tokens have no loss: .weights was written
  Tokens loss_tokens = 0;    // those that are predicted and have loss
  std::int64_t documents_without_loss = 0;
  std::int64_t joined_boundaries = 0;       // prompts whose last token goes on in the completion
  std::int64_t bytes = 0;                   // of input
  std::int64_t empty_documents = 0;         // without a token; left out
  std::int64_t invalid_utf8_documents = 0;  // some bytes were replaced by U+FFFD
  std::int64_t invalid_utf8_bytes = 0;
  std::int64_t skipped_entries = 0;       // pipes, sockets, devices, links that lead nowhere
  std::int64_t hidden_entries = 0;        // names that start with a dot
  std::int64_t other_files = 0;           // that fit no pattern
  std::int64_t repeated_folders = 0;      // linked ones that are read under another name
  std::int64_t bad_lines = 0;             // left out, where that is asked for
  std::vector<std::string> bad_examples;  // what was wrong with the first of them, with its place
  TokenDtype dtype = TokenDtype::kUint16;
};

// Tokenizes in parallel and writes documents in the order of the inputs, of their paths (folder by
// folder, names by bytes) and lines, an end of document after each; the output's bytes do not
// depend on `threads`. Files that are compressed by gzip or Zstandard, which their first bytes
// tell, are read as what they hold. Links to files are read; links to folders are followed, and no
// folder is read twice. Names that start with a dot are left out. Memory: a few times queue_bytes,
// the longest JSON line and the largest folder's names; a tokenizer that is not byte-level gets
// each text as a whole and may need 200 times its size.
//
// Bytes that are no UTF-8: a byte tokenizer takes text files as they are; other tokenizers get them
// replaced, counted in the result; a JSON line that has them is bad.
//
// Throws InputError (missing or empty input, no file fits the patterns, a damaged file, a bad line
// as file:line) and RunError (disk); then no dataset is written.
BuildResult build_dataset(const BuildOptions& options);

}  // namespace infinipipe
