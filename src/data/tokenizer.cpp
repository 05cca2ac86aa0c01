#include "data/tokenizer.h"

#include <filesystem>

#include "core/model_files.h"
#include "data/hugging_face_tokenizer.h"
#include "data/sentencepiece_tokenizer.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  std::string name() const override { return "byte"; }
  std::int64_t vocab_size() const override { return 257; }
  std::int64_t end_of_document() const override { return 256; }
  bool needs_utf8() const override { return false; }

  std::vector<std::int64_t> encode(std::string_view text) const override {
    std::vector<std::int64_t> ids(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) ids[i] = static_cast<unsigned char>(text[i]);
    return ids;
  }

  std::string decode(std::span<const std::int64_t> ids) const override {
    std::string text;
    text.reserve(ids.size());
    for (const std::int64_t id : ids) {
      if (id < 0 || id > 256) {
        throw InputError("tokenizer", "found id " + std::to_string(id), "expected 0 to 256");
      }
      if (id < 256) text += static_cast<char>(id);
    }
    return text;
  }
};

}  // namespace

ChatTokens Tokenizer::encode_chat(std::string_view, const std::string& where) const {
  throw InputError(where, "holds messages, and the tokenizer " + name() + " has no chat template",
                   "expected the folder of a model with a tokenizer.json and one",
                   "give it by --tokenizer");
}

std::string tokenizer_file(const std::string& name) {
  std::error_code absent;
  if (!std::filesystem::is_directory(name, absent)) return name;
  std::string file = tokenizer_in(name);
  if (!file.empty()) return file;
  throw InputError(name, "is a folder without tokenizer.json and tokenizer.model",
                   "expected one of them");
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name,
                                          const TokenizerOptions& options) {
  if (name == "byte") return std::make_unique<ByteTokenizer>();
  if (name.empty()) {
    throw InputError("tokenizer", "found no name", "expected \"byte\" or the path of a model");
  }
  if (is_hugging_face_tokenizer(name)) return make_hugging_face_tokenizer(name, options);
  return make_sentencepiece_tokenizer(name);
}

}  // namespace infinipipe
