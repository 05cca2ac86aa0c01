// Owner of the Python package `duckdb`.
#include "data/parquet_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/worker_programs.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"

namespace infinipipe {

void ParquetReader::open(const std::string& path, const std::string& field,
                         std::span<const std::string_view> others) {
  path_ = path;
  rows_read_ = 0;
  if (!worker_) {
    worker_.emplace(kParquetWorker, std::vector<std::string>{},
                    NeededPackage{"duckdb", kDuckdbPin, "Parquet files", path});
  }
  Json request = {{"path", path}, {"field", field}, {"others", Json::array()}};
  for (const std::string_view name : others) request["others"].push_back(std::string(name));
  const std::string text = request.dump(-1, ' ', true, Json::error_handler_t::replace);
  const Json rows = parse_json(ask('o', text.size(), text), path);
  rows_ = JsonView(rows, path).integer();
}

std::string ParquetReader::next(std::size_t bytes) {
  std::string text = ask('n', bytes, {});
  rows_read_ += std::count(text.begin(), text.end(), '\n');
  return text;
}

std::int64_t ParquetReader::bytes_read(std::int64_t size) const {
  if (rows_read_ >= rows_) return size;
  return static_cast<std::int64_t>(static_cast<double>(size) * static_cast<double>(rows_read_) /
                                   static_cast<double>(rows_));
}

std::string ParquetReader::ask(char operation, std::uint64_t count, std::string_view content) {
  try {
    return worker_->ask_text(operation, count, content);
  } catch (const InputError& error) {
    const std::string after =
        rows_read_ > 0 ? ": after row " + std::to_string(rows_read_) : std::string();
    throw InputError(path_ + after, error.what(),
                     "expected a whole Parquet file with a text column",
                     "--field names the column");
  } catch (const RunError& error) {
    worker_.reset();
    throw InputError(path_, std::string("cannot be read: ") + error.what(),
                     "expected a whole Parquet file");
  }
}

}  // namespace infinipipe
