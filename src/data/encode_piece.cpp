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

bool is_string(std::string_view value) { return value.starts_with('"'); }
bool is_list(std::string_view value) { return value.starts_with('['); }
bool is_list_of_objects(std::string_view value) {
  if (!is_list(value)) return false;
  const std::size_t first = value.find_first_not_of(" \t\r\n", 1);
  return first != std::string_view::npos && value[first] == '{';
}

std::string text_of(std::string_view value) {
  return std::string(
      JsonStringReader(value.substr(1, value.size() - 2)).next(std::string_view::npos));
}

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
    if (whole) require_short(text, where);
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

  // `unit`: what stands between the file's name and the number of a line.
  void encode_lines(const TextPiece& piece, const std::string& unit) {
    std::string_view text = piece.text;
    for (std::int64_t line = piece.first_line; !text.empty(); ++line) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      std::string_view content = text.substr(0, end);
      if (line == 1) content = without_byte_order_mark(content);
      if (content.find_first_not_of(" \t\r") != std::string_view::npos) {
        encode_document(content, piece.path + unit + std::to_string(line));
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
    const JsonValues row = find_json_values(text, settings_.text_field, kRowFields, where);
    const auto& other = row.others;
    const std::string_view messages = row.field.empty() ? other[kMessages] : row.field;
    const bool has_pair =
        row.field.empty() && !other[kPrompt].empty() && !other[kCompletion].empty();
    if (row.field.empty() ? is_list(messages) : is_list_of_objects(messages)) {
      encode_chat({{"messages", messages}}, row, where);
    } else if (has_pair && is_list(other[kPrompt]) && is_list(other[kCompletion])) {
      encode_chat({{"prompt", other[kPrompt]}, {"completion", other[kCompletion]}}, row, where);
    } else if (has_pair && is_string(other[kPrompt]) && is_string(other[kCompletion])) {
      encode_pair(text_of(other[kPrompt]), text_of(other[kCompletion]), where);
    } else if (has_pair) {
      throw InputError(where, "found a prompt and a completion of other types",
                       "expected two strings, or two lists of messages");
    } else {
      encode_field(text, where);
    }
  }

  void encode_field(std::string_view text, const std::string& where) {
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

  void require_short(std::string_view text, const std::string& where) const {
    if (text.size() <= settings_.max_text_bytes) return;
    throw InputError(where, "is a text of " + std::to_string(text.size()) + " bytes",
                     "expected at most " + std::to_string(settings_.max_text_bytes) +
                         ", as the tokenizer needs each as a whole");
  }

  void push(std::span<const std::int64_t> ids, const EncodedPiece::Part& like) {
    append_encoded(settings_.dtype, ids, result_.bytes);
    result_.parts.push_back(like);
    result_.parts.back().tokens = static_cast<Tokens>(ids.size());
  }

  // Loss is on the completion and the end of the document. Both texts are encoded as one, so that
  // the ids are those of the whole text; the completion begins behind as many tokens as the prompt
  // has alone.
  void encode_pair(const std::string& prompt, const std::string& completion,
                   const std::string& where) {
    const Tokenizer& tokenizer = *settings_.tokenizer;
    const std::string both = prompt + completion;
    require_short(both, where);
    const BudgetShare share(*settings_.budget, tokenizer.needs_utf8() ? both.size() : 0);
    std::vector<std::int64_t> ids = tokenizer.encode(both);
    const std::vector<std::int64_t> alone = tokenizer.encode(prompt);
    std::size_t split = std::min(alone.size(), ids.size());
    if (!std::equal(alone.begin(), alone.begin() + static_cast<std::ptrdiff_t>(split),
                    ids.begin())) {
      ++result_.joined_boundaries;
    }
    if (!ids.empty()) {
      const auto begin = tokenizer.begin_of_document();
      ids.insert(ids.begin(), begin.begin(), begin.end());
      split += begin.size();
    }
    const std::span<const std::int64_t> all(ids);
    EncodedPiece::Part part;
    part.ends_document = false;
    part.loss = false;
    push(all.first(split), part);
    part.ends_document = true;
    part.loss = true;
    part.adds_end = split == ids.size() || ids.back() != tokenizer.end_of_document();
    push(all.subspan(split), part);
  }

  // `texts`: names of lists of messages and the lists. The template puts in what begins and ends.
  void encode_chat(std::vector<std::pair<std::string_view, std::string_view>> texts,
                   const JsonValues& row, const std::string& where) {
    for (const RowField name : {kTools, kTemplateKeys}) {
      if (!row.others[name].empty()) texts.emplace_back(kRowFields[name], row.others[name]);
    }
    std::string request;
    for (const auto& [name, value] : texts) {
      request.append(request.empty() ? "{\"" : ", \"").append(name).append("\": ").append(value);
    }
    request += "}";
    require_short(request, where);
    const BudgetShare share(*settings_.budget, request.size());
    const ChatTokens chat = settings_.tokenizer->encode_chat(request, where);
    if (chat.joined_boundary) ++result_.joined_boundaries;
    const std::span<const std::int64_t> ids(chat.ids);
    EncodedPiece::Part part;
    part.adds_end = false;
    for (std::size_t begin = 0; begin < ids.size();) {
      part.loss = chat.loss[begin] != 0;
      std::size_t end = begin;
      while (end < ids.size() && (chat.loss[end] != 0) == part.loss) ++end;
      part.ends_document = end == ids.size();
      push(ids.subspan(begin, end - begin), part);
      begin = end;
    }
    if (ids.empty()) push(ids, part);
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
      encoder.encode_lines(piece, ":");
      break;
    case TextPiece::Kind::kRows:
      encoder.encode_lines(piece, ": row ");
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
