#include "data/encode_piece.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/utf8.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"

namespace infinipipe {
namespace {

class PieceEncoder final {
 public:
  explicit PieceEncoder(const EncodeSettings& settings) : settings_(settings) {}

  void encode_text(std::string_view text, bool ends_document) {
    EncodedPiece::Part part;
    part.ends_document = ends_document;
    Utf8Repair repair;
    if (settings_.tokenizer->needs_utf8() && find_invalid_utf8(text) != std::string_view::npos) {
      repair = repair_utf8(text);
      text = repair.text;
      part.invalid_bytes = repair.invalid_bytes;
    }
    while (!text.empty()) {
      const std::size_t length =
          piece_length(text, settings_.piece_bytes, settings_.tokenizer->needs_utf8());
      const auto ids = settings_.tokenizer->encode(text.substr(0, length));
      append_encoded(settings_.dtype, ids, result_.bytes);
      part.tokens += static_cast<Tokens>(ids.size());
      text.remove_prefix(length);
    }
    result_.parts.push_back(part);
  }

  void encode_lines(const TextPiece& piece) {
    std::string_view text = piece.text;
    for (std::int64_t line = piece.first_line; !text.empty(); ++line) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      encode_line(text.substr(0, end), piece.path, line);
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }

  EncodedPiece take() { return std::move(result_); }

 private:
  void encode_line(std::string_view text, const std::string& path, std::int64_t line) {
    constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
    if (line == 1 && text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) return;
    const std::string where = path + ":" + std::to_string(line);
    if (const std::size_t at = find_invalid_utf8(text); at != std::string_view::npos) {
      throw InputError(where, "byte " + std::to_string(at + 1) + " of the line is no UTF-8",
                       "expected UTF-8", "repair or remove the line");
    }
    const Json json = parse_json(text, where);
    const JsonView document(json, where);
    if (!json.is_object()) document.fail("an object with \"" + settings_.text_field + "\"");
    const JsonView field = document.at(settings_.text_field);
    if (!field.json().is_string()) field.fail("a string");
    encode_text(field.json().get_ref<const std::string&>(), true);
  }

  const EncodeSettings& settings_;
  EncodedPiece result_;
};

}  // namespace

EncodedPiece encode_piece(const TextPiece& piece, const EncodeSettings& settings) {
  PieceEncoder encoder(settings);
  if (piece.first_line > 0) {
    encoder.encode_lines(piece);
  } else {
    encoder.encode_text(piece.text, piece.ends_document);
  }
  EncodedPiece result = encoder.take();
  result.input_bytes = static_cast<std::int64_t>(piece.text.size());
  return result;
}

}  // namespace infinipipe
