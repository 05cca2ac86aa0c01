// Rows of Parquet files as lines of JSON, read in a Python process beside this one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "data/python_worker.h"

namespace infinipipe {

// Files are read piecewise; the process is one for all of them. Not thread-safe.
class ParquetReader final {
 public:
  // Opens a file, in place of the one before. `field`: the column that holds the text, or "a.b" for
  // b of the column a; `others`: columns that are given too where they are there. Throws InputError
  // naming the file for one that is damaged or has none of these columns, and RunError where the
  // library is missing.
  void open(const std::string& path, const std::string& field,
            std::span<const std::string_view> others);

  // The next rows, an object a line with the columns that were found: at least `bytes` of them, or
  // the rest; empty at the end. Throws InputError naming the file.
  std::string next(std::size_t bytes);

  std::int64_t rows_read() const { return rows_read_; }  // of this file
  // About how much of the file's `size` bytes they took.
  std::int64_t bytes_read(std::int64_t size) const;

 private:
  std::string ask(char operation, std::uint64_t count, std::string_view content);

  std::optional<PythonWorker> worker_;
  std::string path_;
  std::int64_t rows_ = 0;
  std::int64_t rows_read_ = 0;
};

}  // namespace infinipipe
