// What a data build reads: whatever the size of the pieces, the same documents; those of an array
// and of lines are the ones that a JSON parser finds; bytes of a plain text come as they are.
// Input: a byte that chooses the format and what bad lines do, then the file.
#include <nlohmann/json.hpp>

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

Documents read_all(const BuildOptions& options) {
  static const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer("byte");
  EncodeBudget budget(1 << 20);
  const EncodeSettings settings{tokenizer.get(),     TokenDtype::kUint8,     "text",
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

// Where the whole file is an array of objects with a text, its documents are these texts.
void check_array(std::string_view bytes, const Documents& documents) {
  Json json;
  if (!accepts([&] { json = parse_json(bytes, "whole"); }) || !json.is_array()) return;
  std::vector<std::string> texts;
  for (const Json& element : json) {
    if (!element.is_object() || !element.contains("text") || !element["text"].is_string()) return;
    texts.push_back(element["text"]);
  }
  require(documents.texts == texts && documents.problems == 0, "an array is read as another");
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
  options.max_line_bytes = 4096;
  Documents whole;
  const bool read = accepts([&] { whole = read_all(options); });
  options.piece_bytes = 7;
  Documents pieces;
  require(read == accepts([&] { pieces = read_all(options); }), "pieces decide what is refused");
  if (!read) return;
  require(whole == pieces, "pieces change the documents");
  if (json) check_array(bytes, whole);
  const bool compressed = bytes.starts_with("\x1f\x8b") || bytes.starts_with("\x28\xb5\x2f\xfd") ||
                          bytes.find("\x2a\x4d\x18") == 1;
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
