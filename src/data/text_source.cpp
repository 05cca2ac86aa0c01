#include "data/text_source.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/open_file_name.h"
#include "base/utf8.h"
#include "data/encode_piece.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 18;
constexpr std::string_view kBlank = " \t\r\n";

std::string absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

std::string listed(const std::vector<std::string>& patterns) {
  std::string text;
  for (const std::string& pattern : patterns)
    text += (text.empty() ? "\"" : ", \"") + pattern + "\"";
  return text;
}

// Line breaks before the first character that is not blank.
std::int64_t leading_line_breaks(std::string_view text) {
  text = text.substr(0, std::min(text.find_first_not_of(kBlank), text.size()));
  return std::count(text.begin(), text.end(), '\n');
}

// Pipes and devices have no name to tell their content by.
bool has_telling_name(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && !names_open_file(path);
}

}  // namespace

ContentKind content_kind(const std::string& path) {
  std::string name = path;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const std::string_view suffix : {".gz", ".zst", ".zstd"}) {
    if (!name.ends_with(suffix)) continue;
    name.resize(name.size() - suffix.size());
    break;
  }
  if (name.ends_with(".jsonl") || name.ends_with(".ndjson")) return ContentKind::kJsonLines;
  if (name.ends_with(".parquet")) return ContentKind::kParquet;
  return name.ends_with(".json") ? ContentKind::kJson : ContentKind::kText;
}

TextSource::TextSource(const BuildOptions& options, bool whole_text)
    : options_(options), whole_text_(whole_text), own_output_(absolute(options.output)) {
  for (const std::string& input : options.inputs) {
    std::error_code error;
    if (std::filesystem::is_directory(input, error)) {
      roots_.push_back(std::filesystem::canonical(input, error).string());
    }
  }
  for (const std::string& input : options.inputs) count(input);
}

void TextSource::count(const std::string& input) {
  struct stat info {};
  if (::stat(input.c_str(), &info) != 0) {
    throw InputError(input, std::string("cannot be read: ") + std::strerror(errno),
                     "expected a folder or a file of text or JSON");
  }
  if (!S_ISDIR(info.st_mode)) {
    if (options_.format == InputFormat::kAuto && !has_telling_name(input)) {
      throw InputError(input, "has no name that tells what it holds", "expected --format",
                       "--format jsonl for JSON lines, --format text for one text");
    }
    ++files_;
    total_bytes_ += info.st_size;
    if (!S_ISREG(info.st_mode)) size_is_known_ = false;
    return;
  }
  FolderWalk walk(input, options_.patterns, roots_);
  std::int64_t fitting = 0;
  while (const auto file = next_file(walk)) {
    ++fitting;
    total_bytes_ += file->bytes;
  }
  const WalkCounts& found = walk.counts();
  if (found.files_seen == 0) throw InputError(input, "holds no file", "expected text files");
  if (fitting == 0) {
    throw InputError(input,
                     "none of its " + std::to_string(found.files_seen) + " files fits " +
                         listed(options_.patterns),
                     "", "change the pattern");
  }
  files_ += fitting;
  if (!options_.patterns.empty()) unfit_files_ += found.files_seen - fitting;
  counts_.files_seen += found.files_seen;
  counts_.odd += found.odd;
  counts_.hidden += found.hidden;
  counts_.repeated += found.repeated;
}

// What is being written may lie in the folder that is read.
std::optional<FolderWalk::File> TextSource::next_file(FolderWalk& walk) const {
  while (auto file = walk.next()) {
    const std::string path = absolute(file->path);
    const bool own =
        path.starts_with(own_output_ + ".bin") || path.starts_with(own_output_ + ".idx") ||
        path.starts_with(own_output_ + ".lengths") || path.starts_with(own_output_ + ".runs") ||
        path.starts_with(own_output_ + ".weights");
    if (!own) return file;
  }
  return std::nullopt;
}

bool TextSource::open_next() {
  while (true) {
    if (walk_ != nullptr) {
      if (const auto file = next_file(*walk_)) {
        open(file->path);
        return true;
      }
      walk_.reset();
    }
    if (next_input_ == options_.inputs.size()) return false;
    const std::string& input = options_.inputs[next_input_++];
    if (!std::filesystem::is_directory(input)) {
      open(input);
      return true;
    }
    walk_ = std::make_unique<FolderWalk>(input, options_.patterns, roots_);
  }
}

void TextSource::open(const std::string& path) {
  path_ = path;
  file_.reset();
  rest_.clear();
  finished_ = false;
  const auto leave_out = [&](const InputError& error) {
    if (options_.on_bad_line == OnBadLine::kStop) throw error;
    problems_.emplace_back(error.what());
    file_.reset();
  };
  try {
    file_ = std::make_unique<InputFile>(path);
  } catch (const InputError& error) {
    leave_out(error);
    return;
  }
  ContentKind content = content_kind(path);
  // One that is damaged has its name alone; compressed ones are refused by their form.
  const bool rows = options_.format != InputFormat::kText && !file_->is_compressed() &&
                    (content == ContentKind::kParquet || file_->is_parquet());
  if (const std::string form = rows ? "" : file_->unread_form(); !form.empty()) {
    leave_out(InputError(path, form, "expected text or JSON, as it is or in gzip or Zstandard",
                         "convert it, or leave it out by --pattern"));
    return;
  }
  at_end_ = false;
  line_ = 1;
  element_ = 0;
  scanner_ = {};
  reported_bytes_ = 0;
  if (options_.format == InputFormat::kText) content = ContentKind::kText;
  if (options_.format == InputFormat::kJsonl) content = ContentKind::kJson;
  if (rows) {
    kind_ = TextPiece::Kind::kRows;
    parquet_.open(path, options_.text_field, kRowFields);
    return;
  }
  const bool json = content == ContentKind::kJson || content == ContentKind::kJsonLines;
  kind_ = json ? TextPiece::Kind::kLines : TextPiece::Kind::kText;
  if (content == ContentKind::kJson) start_json();
}

// Leaves out a byte order mark and white space, and decides between an array and lines.
void TextSource::start_json() {
  fill(kByteOrderMark.size());
  if (rest_.starts_with(kByteOrderMark)) rest_.erase(0, kByteOrderMark.size());
  while (true) {
    line_ += leading_line_breaks(rest_);
    rest_.erase(0, std::min(rest_.find_first_not_of(kBlank), rest_.size()));
    if (!rest_.empty() || at_end_) break;
    fill(kReadBytes);
  }
  if (!rest_.starts_with('[')) return;
  kind_ = TextPiece::Kind::kElements;
  rest_.erase(0, 1);
}

void TextSource::fill(std::size_t bytes) {
  while (!at_end_ && rest_.size() < bytes) {
    const std::size_t have = rest_.size();
    rest_.resize(have + std::min(kReadBytes, bytes - have));
    const std::size_t got = file_->read(std::span(rest_).subspan(have));
    rest_.resize(have + got);
    at_end_ = got == 0;
  }
}

// The first bytes of rest_, without a second copy of a long line.
std::string TextSource::take_rest(std::size_t bytes) {
  std::string text = std::move(rest_);
  rest_ = text.substr(bytes);
  text.resize(bytes);
  return text;
}

void TextSource::complain(const std::string& where, const std::string& found,
                          const std::string& expected) {
  const InputError error(where, found, expected, kSkipAdvice);
  if (options_.on_bad_line == OnBadLine::kStop) throw error;
  problems_.push_back(InputError(where, found, expected).what());
}

std::optional<TextPiece> TextSource::next() {
  while (true) {
    TextPiece piece;
    piece.kind = TextPiece::Kind::kLines;
    const bool opened = file_ != nullptr || open_next();
    if (file_ != nullptr) {
      piece = next_piece();
      piece.input_bytes = stored_bytes() - reported_bytes_;
      reported_bytes_ = stored_bytes();
      const bool used_up = at_end_ && rest_.empty() && kind_ != TextPiece::Kind::kElements;
      if (finished_ || used_up) file_.reset();
    }
    piece.path = path_;
    piece.problems = std::exchange(problems_, {});
    // A file without lines holds no document; a text without a byte is an empty one.
    const bool holds = piece.kind == TextPiece::Kind::kText || !piece.text.empty() ||
                       !piece.elements.empty() || piece.input_bytes > 0 || !piece.problems.empty();
    if (holds) return piece;
    if (!opened) return std::nullopt;
  }
}

TextPiece TextSource::next_piece() {
  switch (kind_) {
    case TextPiece::Kind::kText:
      return next_part();
    case TextPiece::Kind::kLines:
      return next_lines();
    case TextPiece::Kind::kRows:
      return next_rows();
    case TextPiece::Kind::kElements:
      return next_elements();
  }
  return {};
}

std::int64_t TextSource::stored_bytes() const {
  return kind_ == TextPiece::Kind::kRows ? parquet_.bytes_read(file_->size())
                                         : file_->stored_bytes();
}

TextPiece TextSource::next_rows() {
  TextPiece piece;
  piece.kind = TextPiece::Kind::kRows;
  piece.first_line = parquet_.rows_read() + 1;
  piece.text = parquet_.next(options_.piece_bytes);
  at_end_ = piece.text.empty();
  return piece;
}

TextPiece TextSource::next_part() {
  TextPiece piece;
  const std::size_t limit = whole_text_ ? options_.max_text_bytes : options_.piece_bytes;
  fill(limit + 1);
  if (whole_text_ && rest_.size() > limit) {
    finished_ = true;
    piece.kind = TextPiece::Kind::kLines;
    complain(path_, "is a text of over " + std::to_string(limit) + " bytes",
             "expected shorter ones, as the tokenizer needs each as a whole");
    return piece;
  }
  piece.text = take_rest(std::min(limit, rest_.size()));
  piece.ends_document = rest_.empty() && at_end_;
  return piece;
}

TextPiece TextSource::next_lines() {
  TextPiece piece;
  piece.kind = TextPiece::Kind::kLines;
  std::size_t length = 0;
  std::size_t searched = 0;  // bytes without a line break
  fill(options_.piece_bytes);
  while (true) {
    const std::size_t line = std::string_view(rest_).substr(searched).rfind('\n');
    if (line != std::string::npos || at_end_) {
      length = line == std::string::npos || at_end_ ? rest_.size() : searched + line + 1;
      break;
    }
    searched = rest_.size();
    if (rest_.size() > options_.max_line_bytes) {
      complain(path_ + ":" + std::to_string(line_),
               "the line is longer than " + std::to_string(options_.max_line_bytes) + " bytes",
               "expected shorter ones");
      skip_line();
      searched = 0;
      fill(options_.piece_bytes);
      continue;
    }
    fill(std::min(rest_.size() + kReadBytes, options_.max_line_bytes + 1));
  }
  piece.first_line = line_;
  piece.text = take_rest(length);
  line_ += std::count(piece.text.begin(), piece.text.end(), '\n');
  return piece;
}

void TextSource::skip_line() {
  std::size_t line = std::string::npos;
  do {
    rest_.clear();
    fill(kReadBytes);
    line = rest_.find('\n');
  } while (line == std::string::npos && !at_end_);
  rest_.erase(0, line == std::string::npos ? rest_.size() : line + 1);
  ++line_;
}

TextPiece TextSource::next_elements() {
  using Event = JsonArrayScanner::Event;
  TextPiece piece;
  piece.kind = TextPiece::Kind::kElements;
  std::string element;
  bool too_long = false;
  std::int64_t begin = line_ + scanner_.line_breaks();
  std::size_t at = 0;  // what is used of rest_
  Event event = Event::kMore;
  while (event != Event::kLast && piece.text.size() < options_.piece_bytes) {
    if (at == rest_.size()) {
      rest_.clear();
      at = 0;
      fill(kReadBytes);
    }
    const auto where = [&] {
      return path_ + ": element " + std::to_string(element_) + " (line " +
             std::to_string(begin + leading_line_breaks(element)) + ")";
    };
    if (rest_.empty()) {
      finished_ = true;
      complain(where(), "the file ends before its array does", "expected a ] at the end");
      return piece;
    }
    const JsonArrayScanner::Step step = scanner_.next(std::string_view(rest_).substr(at));
    if (!too_long) element.append(rest_, at, step.element);
    if (element.size() > options_.max_line_bytes && !too_long) {
      complain(where(), "is longer than " + std::to_string(options_.max_line_bytes) + " bytes",
               "expected shorter ones");
      too_long = true;
    }
    if (too_long) element.clear();
    at += step.used;
    event = step.event;
    if (event == Event::kMore) continue;

    const bool is_empty_array = element_ == 0 && event == Event::kLast &&
                                element.find_first_not_of(kBlank) == std::string::npos;
    if (!too_long && !is_empty_array) {
      piece.elements.push_back({element.size(), element_, begin + leading_line_breaks(element)});
      if (piece.text.empty()) {
        piece.text = std::move(element);
      } else {
        piece.text += element;
      }
    }
    element.clear();
    too_long = false;
    ++element_;
    begin = line_ + scanner_.line_breaks();
  }
  rest_.erase(0, at);
  finished_ = event == Event::kLast;
  if (finished_) end_array();
  return piece;
}

// Nothing but white space may follow.
void TextSource::end_array() {
  while (true) {
    const std::int64_t blank_lines = leading_line_breaks(rest_);
    if (rest_.find_first_not_of(kBlank) != std::string::npos) {
      complain(path_ + ":" + std::to_string(line_ + scanner_.line_breaks() + blank_lines),
               "text after the end of the array", "expected the end of the file");
      return;
    }
    line_ += blank_lines;
    rest_.clear();
    if (at_end_) return;
    fill(kReadBytes);
  }
}

}  // namespace infinipipe
