// The texts of a corpus as a stream of pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "data/folder_walk.h"
#include "infinipipe/data/build.h"

namespace infinipipe {

// Either the next part of a document that is a file, or whole lines of JSON.
struct TextPiece {
  std::string text;
  std::string path;             // of the file
  bool ends_document = true;    // for parts of a document
  std::int64_t first_line = 0;  // of JSON lines, from 1; 0: a part of a document
};

// How much of `text` is a piece of at most `limit` bytes (>= 4): all that fits; where `whole_text`,
// up to the last line break in it, or the last whole character where there is none.
std::size_t piece_length(std::string_view text, std::size_t limit, bool whole_text);

// Reads files one after the other. Not thread-safe.
class TextSource final {
 public:
  // Counts files and bytes. Throws InputError if there is nothing to read. `options` must outlive
  // this; `whole_text` as in piece_length().
  TextSource(const BuildOptions& options, bool whole_text);

  // Throws InputError for a file that cannot be read and a line that is too long.
  std::optional<TextPiece> next();

  std::int64_t files() const { return files_; }
  std::int64_t total_bytes() const { return total_bytes_; }
  std::int64_t skipped_entries() const { return skipped_entries_; }

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  std::optional<FolderWalk::File> next_file(FolderWalk& walk) const;
  bool open_next();
  void open(const std::string& path);
  bool is_jsonl(const std::string& path, bool named_as_input) const;
  void fill(std::size_t bytes);  // reads until rest_ has so many or the file ends
  TextPiece next_part();
  TextPiece next_lines();

  const BuildOptions& options_;
  bool whole_text_;
  std::string own_output_;            // absolute prefix of what is being written
  std::unique_ptr<FolderWalk> walk_;  // null where the input is a file
  bool single_opened_ = false;
  std::int64_t files_ = 0;
  std::int64_t total_bytes_ = 0;
  std::int64_t skipped_entries_ = 0;

  std::unique_ptr<std::FILE, CloseFile> file_;  // null between files
  std::string path_;
  bool jsonl_ = false;
  bool at_end_ = false;    // of file_; what is left of it is rest_
  std::int64_t line_ = 1;  // number of the line at the start of rest_
  std::string rest_;
};

}  // namespace infinipipe
