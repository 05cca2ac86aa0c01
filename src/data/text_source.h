// The texts of a corpus as a stream of pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/build.h"
#include "data/folder_walk.h"
#include "data/input_file.h"
#include "data/json_array.h"
#include "data/parquet_reader.h"

namespace infinipipe {

// A part of a document that is a file, or whole JSON documents.
struct TextPiece {
  enum class Kind { kText, kLines, kRows, kElements };
  struct Element {
    std::size_t bytes;    // of `text`, one after the other
    std::int64_t number;  // in its array, from 0
    std::int64_t line;    // where it begins, from 1
  };

  Kind kind = Kind::kText;
  std::string text;
  std::string path;                   // of the file
  bool ends_document = true;          // of kText
  std::int64_t first_line = 1;        // of kLines; of kRows the first row
  std::vector<Element> elements;      // of kElements
  std::int64_t input_bytes = 0;       // of the files as they are stored, read for it
  std::vector<std::string> problems;  // what was skipped on the way, where that is asked for
};

// How files are read, by their names: that of a compressed one without .gz, .zst or .zstd.
enum class ContentKind { kText, kJsonLines, kJson, kParquet };
ContentKind content_kind(const std::string& path);

// Reads files one after the other. Not thread-safe.
class TextSource final {
 public:
  // Counts files and bytes. Throws InputError if there is nothing to read. `options` must outlive
  // this. Where `whole_text`, a file is one piece, else parts of piece_bytes.
  TextSource(const BuildOptions& options, bool whole_text);

  // Throws InputError for a file that cannot be read, and, unless bad lines are skipped, for a line
  // or text that is too long and an array that does not end.
  std::optional<TextPiece> next();

  std::int64_t files() const { return files_; }
  // Of the files; 0 where one is a pipe or a device, whose size nobody knows.
  std::int64_t total_bytes() const { return size_is_known_ ? total_bytes_ : 0; }
  const WalkCounts& counts() const { return counts_; }
  std::int64_t unfit_files() const { return unfit_files_; }  // of folders, that fit no pattern

 private:
  void count(const std::string& input);
  std::optional<FolderWalk::File> next_file(FolderWalk& walk) const;
  bool open_next();
  void open(const std::string& path);
  void start_json();
  void fill(std::size_t bytes);  // reads until rest_ has so many or the file ends
  std::string take_rest(std::size_t bytes);
  TextPiece next_piece();
  TextPiece next_part();
  TextPiece next_lines();
  TextPiece next_elements();
  TextPiece next_rows();
  std::int64_t stored_bytes() const;  // of the file, used so far
  void skip_line();
  void end_array();
  // Where bad lines stop the build, throws; else notes it.
  void complain(const std::string& where, const std::string& found, const std::string& expected);

  const BuildOptions& options_;
  bool whole_text_;
  std::string own_output_;          // absolute prefix of what is being written
  std::vector<std::string> roots_;  // real paths of the folders among the inputs
  std::size_t next_input_ = 0;
  std::unique_ptr<FolderWalk> walk_;  // of the input that is read; null where it is a file
  std::int64_t files_ = 0;
  std::int64_t total_bytes_ = 0;
  bool size_is_known_ = true;
  std::int64_t unfit_files_ = 0;
  WalkCounts counts_;

  std::unique_ptr<InputFile> file_;  // null between files
  std::string path_;
  TextPiece::Kind kind_ = TextPiece::Kind::kText;
  bool at_end_ = false;       // of file_; what is left of it is rest_
  bool finished_ = false;     // nothing more of the file is read
  std::int64_t line_ = 1;     // number of the line at the start of rest_
  std::int64_t element_ = 0;  // of the array, the next one's number
  JsonArrayScanner scanner_;
  ParquetReader parquet_;  // of kRows
  std::string rest_;
  std::int64_t reported_bytes_ = 0;  // of file_, in pieces that were given
  std::vector<std::string> problems_;
};

}  // namespace infinipipe
