// What a data build reads: whatever the size of the pieces, the same documents; those of an array
// and of lines are the ones that a JSON parser finds, also in a nested field, and each bad line
// that is skipped is a problem; bytes of a plain text come as they are. Input: a byte that chooses
// the format, what bad lines do and the field, then the file.
#include <nlohmann/json.hpp>
#include <optional>

#include "data/encode_piece.h"
#include "data/text_source.h"
#include "fuzz/scratch_file.h"
#include "infinipipe/base/json.h"

namespace infinipipe::fuzz {
namespace {

struct Documents {
  std::vector<std::string> texts;
  std::size_t problems = 0;

  bool operator==(const Documents&) const = default;
};

constexpr std::size_t kLongestLine = 4096;

Documents read_all(const BuildOptions& options) {
  static const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer("byte");
  EncodeBudget budget(1 << 20);
  const EncodeSettings settings{tokenizer.get(),     TokenDtype::kUint8,     options.text_field,
                                options.on_bad_line, options.max_text_bytes, &budget};
  Documents documents;
  std::string text;
  TextSource source(options, false);
  while (const auto piece = source.next()) {
    const EncodedPiece encoded = encode_piece(*piece, settings);
    documents.problems += encoded.problems.size();
    std::size_t at = 0;
    for (const EncodedPiece::Part& part : encoded.parts) {
      const auto tokens = static_cast<std::size_t>(part.tokens);
      require(at + tokens <= encoded.bytes.size(), "a part beyond its bytes");
      text.append(reinterpret_cast<const char*>(encoded.bytes.data()) + at, tokens);
      at += tokens;
      if (part.ends_document) documents.texts.push_back(std::exchange(text, {}));
    }
    require(at == encoded.bytes.size(), "bytes in no part");
  }
  require(text.empty(), "a document without an end");
  return documents;
}

// The text of a document, nothing where it has none: of the field of that very name, else of the
// one that the dots lead to.
std::optional<std::string> text_of(const Json& document, const std::string& field) {
  const Json* value = &document;
  if (document.is_object() && document.contains(field)) {
    value = &document[field];
  } else {
    std::size_t begin = 0;
    while (true) {
      const std::size_t dot = std::min(field.find('.', begin), field.size());
      const std::string key = field.substr(begin, dot - begin);
      if (!value->is_object() || !value->contains(key)) return std::nullopt;
      value = &(*value)[key];
      if (dot == field.size()) break;
      begin = dot + 1;
    }
  }
  if (!value->is_string()) return std::nullopt;
  return value->get<std::string>();
}

// Where the whole file is an array of objects with a text, its documents are these texts.
void check_array(std::string_view bytes, const Documents& documents, const std::string& field) {
  Json json;
  if (!accepts([&] { json = parse_json(bytes, "whole"); }) || !json.is_array()) return;
  std::vector<std::string> texts;
  for (const Json& element : json) {
    auto text = text_of(element, field);
    if (!text) return;
    texts.push_back(*std::move(text));
  }
  require(documents.texts == texts && documents.problems == 0, "an array is read as another");
}

// Line by line: those that hold a text are documents, and the others that are not blank problems.
void check_lines(std::string_view bytes, const Documents& documents, const std::string& field) {
  Documents expected;
  while (!bytes.empty()) {
    const std::size_t end = std::min(bytes.find('\n'), bytes.size());
    const std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    if (line.size() >= kLongestLine) return;  // read or not, as the pieces fall
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    std::optional<std::string> text;
    accepts([&] { text = text_of(parse_json(line, "line"), field); });
    if (text) {
      expected.texts.push_back(*std::move(text));
    } else {
      ++expected.problems;
    }
  }
  require(documents == expected, "lines are read as others");
}

void run(std::string_view bytes) {
  if (bytes.empty()) return;
  static const ScratchFolder scratch;
  const unsigned choice = static_cast<unsigned char>(bytes[0]);
  bytes.remove_prefix(1);
  const bool json = choice % 2 == 0;
  BuildOptions options;
  options.inputs = {scratch.put("input", bytes)};
  options.output = scratch.path("none/data");
  options.format = json ? InputFormat::kJsonl : InputFormat::kText;
  options.on_bad_line = choice / 2 % 2 == 0 ? OnBadLine::kSkip : OnBadLine::kStop;
  options.text_field = choice / 4 % 2 == 0 ? "text" : "meta.text";
  options.max_line_bytes = kLongestLine;
  Documents whole;
  const bool read = accepts([&] { whole = read_all(options); });
  options.piece_bytes = 7;
  Documents pieces;
  require(read == accepts([&] { pieces = read_all(options); }), "pieces decide what is refused");
  if (!read) return;
  require(whole == pieces, "pieces change the documents");
  if (json) check_array(bytes, whole, options.text_field);
  const bool compressed = bytes.starts_with("\x1f\x8b") || bytes.starts_with("\x28\xb5\x2f\xfd") ||
                          bytes.find("\x2a\x4d\x18") == 1;
  const std::size_t first = bytes.find_first_not_of(" \t\r\n");
  const bool array = first != std::string_view::npos && bytes[first] == '[';
  if (json && !compressed && !array && bytes.find("\xef\xbb\xbf") == std::string_view::npos) {
    check_lines(bytes, whole, options.text_field);
  }
  if (!json && !compressed && whole.problems == 0) {
    require(whole.texts.size() == 1 && whole.texts[0] == bytes, "a text is changed");
  }
}

}  // namespace
}  // namespace infinipipe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinipipe::fuzz::run(infinipipe::fuzz::text(data, size));
  return 0;
}
