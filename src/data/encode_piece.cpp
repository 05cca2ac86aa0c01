#include "data/encode_piece.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "data/json_field.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// Of a text that need not be encoded as a whole: its ids are eight times as large.
constexpr std::size_t kEncodedPart = std::size_t{1} << 20;

class BudgetShare final {
 public:
  BudgetShare(EncodeBudget& budget, std::size_t bytes) : budget_(budget), bytes_(bytes) {
    budget_.take(bytes_);
  }
  ~BudgetShare() { budget_.give_back(bytes_); }
  BudgetShare(const BudgetShare&) = delete;
  BudgetShare& operator=(const BudgetShare&) = delete;

 private:
  EncodeBudget& budget_;
  std::size_t bytes_;
};

class PieceEncoder final {
 public:
  explicit PieceEncoder(const EncodeSettings& settings) : settings_(settings) {}

  void encode_text(std::string_view text, bool ends_document, const std::string& where) {
    EncodedPiece::Part part;
    part.ends_document = ends_document;
    Utf8Repair repair;
    const bool whole = settings_.tokenizer->needs_utf8();
    if (whole && find_invalid_utf8(text) != std::string_view::npos) {
      repair = repair_utf8(text);
      text = repair.text;
      part.invalid_bytes = repair.invalid_bytes;
    }
    if (whole && text.size() > settings_.max_text_bytes) {
      throw InputError(where, "is a text of " + std::to_string(text.size()) + " bytes",
                       "expected at most " + std::to_string(settings_.max_text_bytes) +
                           ", as the tokenizer needs each as a whole");
    }
    const BudgetShare share(*settings_.budget, whole ? text.size() : 0);
    const auto ids = settings_.tokenizer->encode(text);
    if (whole && !ids.empty()) {  // a text is a whole document
      const auto begin = settings_.tokenizer->begin_of_document();
      append_encoded(settings_.dtype, begin, result_.bytes);
      part.tokens += static_cast<Tokens>(begin.size());
    }
    append_encoded(settings_.dtype, ids, result_.bytes);
    part.tokens += static_cast<Tokens>(ids.size());
    result_.parts.push_back(part);
  }

  void encode_lines(const TextPiece& piece) {
    std::string_view text = piece.text;
    for (std::int64_t line = piece.first_line; !text.empty(); ++line) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      std::string_view content = text.substr(0, end);
      if (line == 1) content = without_byte_order_mark(content);
      if (content.find_first_not_of(" \t\r") != std::string_view::npos) {
        encode_document(content, piece.path + ":" + std::to_string(line));
      }
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }

  void encode_elements(const TextPiece& piece) {
    std::string_view text = piece.text;
    for (const TextPiece::Element& element : piece.elements) {
      encode_document(text.substr(0, element.bytes),
                      piece.path + ": element " + std::to_string(element.number) + " (line " +
                          std::to_string(element.line) + ")");
      text.remove_prefix(element.bytes);
    }
  }

  EncodedPiece take() { return std::move(result_); }

 private:
  void encode_document(std::string_view text, const std::string& where) {
    try {
      encode_json(text, where);
    } catch (const InputError& error) {
      if (settings_.on_bad_line == OnBadLine::kStop)
        throw InputError("", error.what(), "", kSkipAdvice);
      result_.problems.emplace_back(error.what());
    }
  }

  void encode_json(std::string_view text, const std::string& where) {
    if (const std::size_t at = find_invalid_utf8(text); at != std::string_view::npos) {
      throw InputError(where, "byte " + std::to_string(at + 1) + " of the line is no UTF-8",
                       "expected UTF-8");
    }
    JsonStringReader field(find_json_string(text, settings_.text_field, where));
    if (settings_.tokenizer->needs_utf8()) {
      encode_text(field.next(std::string_view::npos), true, where);
      return;
    }
    if (text.size() > kEncodedPart) {  // a vector that grows would hold it twice
      result_.bytes.reserve(result_.bytes.size() + text.size() * token_width(settings_.dtype));
    }
    do {
      const std::string_view part = field.next(kEncodedPart);
      encode_text(part, field.at_end(), where);
    } while (!field.at_end());
  }

  const EncodeSettings& settings_;
  EncodedPiece result_;
};

}  // namespace

void EncodeBudget::take(std::size_t bytes) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return used_ == 0 || used_ + bytes <= bytes_; });
  used_ += bytes;
}

void EncodeBudget::give_back(std::size_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    used_ -= bytes;
  }
  changed_.notify_all();
}

EncodedPiece encode_piece(const TextPiece& piece, const EncodeSettings& settings) {
  PieceEncoder encoder(settings);
  switch (piece.kind) {
    case TextPiece::Kind::kText:
      encoder.encode_text(piece.text, piece.ends_document, piece.path);
      break;
    case TextPiece::Kind::kLines:
      encoder.encode_lines(piece);
      break;
    case TextPiece::Kind::kElements:
      encoder.encode_elements(piece);
      break;
  }
  EncodedPiece result = encoder.take();
  result.input_bytes = piece.input_bytes;
  result.text_bytes = static_cast<std::int64_t>(piece.text.size());
  result.problems.insert(result.problems.begin(), piece.problems.begin(), piece.problems.end());
  return result;
}

}  // namespace infinipipe
