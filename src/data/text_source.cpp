#include "data/text_source.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "data/utf8.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 18;

std::string absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

std::string listed(const std::vector<std::string>& patterns) {
  std::string text;
  for (const std::string& pattern : patterns)
    text += (text.empty() ? "\"" : ", \"") + pattern + "\"";
  return text;
}

}  // namespace

std::size_t piece_length(std::string_view text, std::size_t limit, bool whole_text) {
  INFINIPIPE_ASSERT(limit >= 4, "a character may take four bytes");
  if (text.size() <= limit) return text.size();
  if (!whole_text) return limit;
  text = text.substr(0, limit);
  if (const std::size_t line = text.rfind('\n'); line != std::string_view::npos) return line + 1;
  return whole_characters(text);
}

TextSource::TextSource(const BuildOptions& options, bool whole_text)
    : options_(options), whole_text_(whole_text), own_output_(absolute(options.output)) {
  struct stat info {};
  if (::stat(options.input.c_str(), &info) != 0) {
    throw InputError(options.input, std::string("cannot be read: ") + std::strerror(errno),
                     "expected a folder of text files or a file of JSON lines");
  }
  if (!S_ISDIR(info.st_mode)) {
    files_ = 1;
    total_bytes_ = info.st_size;
    return;
  }
  FolderWalk count(options.input, options.patterns);
  while (const auto file = next_file(count)) {
    ++files_;
    total_bytes_ += file->bytes;
  }
  skipped_entries_ = count.skipped();
  if (count.files_seen() == 0) {
    throw InputError(options.input, "holds no file", "expected text files");
  }
  if (files_ == 0) {
    throw InputError(options.input,
                     "none of its " + std::to_string(count.files_seen()) + " files fits " +
                         listed(options.patterns),
                     "", "change the pattern");
  }
  walk_ = std::make_unique<FolderWalk>(options.input, options.patterns);
}

// What is being written may lie in the folder that is read.
std::optional<FolderWalk::File> TextSource::next_file(FolderWalk& walk) const {
  while (auto file = walk.next()) {
    const std::string path = absolute(file->path);
    const bool own = path.starts_with(own_output_ + ".bin") ||
                     path.starts_with(own_output_ + ".idx") ||
                     path.starts_with(own_output_ + ".lengths");
    if (!own) return file;
  }
  return std::nullopt;
}

bool TextSource::is_jsonl(const std::string& path, bool named_as_input) const {
  if (options_.format != InputFormat::kAuto) return options_.format == InputFormat::kJsonl;
  return named_as_input || path.ends_with(".jsonl");
}

bool TextSource::open_next() {
  if (walk_ == nullptr) {
    if (std::exchange(single_opened_, true)) return false;
    jsonl_ = is_jsonl(options_.input, true);
    open(options_.input);
    return true;
  }
  const auto file = next_file(*walk_);
  if (!file) return false;
  jsonl_ = is_jsonl(file->path, false);
  open(file->path);
  return true;
}

void TextSource::open(const std::string& path) {
  path_ = path;
  file_.reset(std::fopen(path.c_str(), "rbe"));
  if (file_ == nullptr) {
    throw InputError(path, std::string("cannot be opened: ") + std::strerror(errno));
  }
  std::setvbuf(file_.get(), nullptr, _IONBF, 0);  // fill() reads large blocks itself
  at_end_ = false;
  line_ = 1;
  rest_.clear();
}

void TextSource::fill(std::size_t bytes) {
  while (!at_end_ && rest_.size() < bytes) {
    const std::size_t have = rest_.size();
    rest_.resize(have + std::min(kReadBytes, bytes - have));
    const std::size_t got = std::fread(rest_.data() + have, 1, rest_.size() - have, file_.get());
    if (got < rest_.size() - have) {
      if (std::ferror(file_.get()) != 0) {
        throw InputError(path_, std::string("cannot be read: ") + std::strerror(errno));
      }
      at_end_ = true;
    }
    rest_.resize(have + got);
  }
}

std::optional<TextPiece> TextSource::next() {
  while (true) {
    if (file_ == nullptr && !open_next()) return std::nullopt;
    TextPiece piece = jsonl_ ? next_lines() : next_part();
    if (at_end_ && rest_.empty()) file_.reset();
    if (!jsonl_ || !piece.text.empty()) return piece;  // a file without lines holds no document
  }
}

TextPiece TextSource::next_part() {
  fill(options_.piece_bytes + 1);
  const std::size_t length = piece_length(rest_, options_.piece_bytes, whole_text_);
  TextPiece piece{rest_.substr(0, length), path_, length == rest_.size()};
  rest_.erase(0, length);
  return piece;
}

TextPiece TextSource::next_lines() {
  std::size_t want = options_.piece_bytes;
  std::size_t length = 0;
  while (true) {
    fill(want);
    if (at_end_) {
      length = rest_.size();
      break;
    }
    const std::size_t line = rest_.rfind('\n');
    if (line != std::string::npos) {
      length = line + 1;
      break;
    }
    if (rest_.size() > options_.max_line_bytes) {
      throw InputError(
          path_ + ":" + std::to_string(line_),
          "the line is longer than " + std::to_string(options_.max_line_bytes) + " bytes",
          "expected shorter ones");
    }
    want = std::min(rest_.size() * 2, options_.max_line_bytes + 1);
  }
  TextPiece piece{rest_.substr(0, length), path_, true, line_};
  rest_.erase(0, length);
  line_ += std::count(piece.text.begin(), piece.text.end(), '\n');
  return piece;
}

}  // namespace infinipipe
