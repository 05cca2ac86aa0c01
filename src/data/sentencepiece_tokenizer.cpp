#include "data/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <utility>

#include "base/file.h"
#include "base/utf8.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr std::size_t kMaxModelBytes = std::size_t{1} << 28;

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(std::string path) : path_(tokenizer_file(path)) {
    const std::string model = read_file(path_, kMaxModelBytes);
    const auto status = processor_.LoadFromSerializedProto({model.data(), model.size()});
    if (!status.ok() || processor_.GetPieceSize() <= 0) {
      throw InputError(path_, "is no SentencePiece model",
                       "expected \"byte\" or the path of a model");
    }
    const int pieces = processor_.GetPieceSize();
    end_ = processor_.eos_id();
    vocab_size_ = pieces;
    if (end_ < 0 || end_ >= pieces) {
      end_ = pieces;
      vocab_size_ = std::int64_t{pieces} + 1;
    }
  }

  std::string name() const override { return path_; }
  std::int64_t vocab_size() const override { return vocab_size_; }
  std::int64_t end_of_document() const override { return end_; }
  bool needs_utf8() const override { return true; }

  std::vector<std::int64_t> encode(std::string_view text) const override {
    std::string repaired;
    text = with_valid_utf8(text, repaired);
    std::vector<int> ids;
    check(processor_.Encode({text.data(), text.size()}, &ids), "text cannot be encoded");
    return {ids.begin(), ids.end()};
  }

  std::string decode(std::span<const std::int64_t> ids) const override {
    std::vector<int> pieces;
    pieces.reserve(ids.size());
    for (const std::int64_t id : ids) {
      if (id < 0 || id >= vocab_size_) {
        throw InputError("tokenizer", "found id " + std::to_string(id),
                         "expected 0 to " + std::to_string(vocab_size_ - 1));
      }
      if (id != end_) pieces.push_back(static_cast<int>(id));
    }
    std::string text;
    check(processor_.Decode(pieces, &text), "ids cannot be decoded");
    return text;
  }

 private:
  void check(const sentencepiece::util::Status& status, const char* what) const {
    if (!status.ok()) throw InputError(path_, std::string(what) + ": " + status.ToString());
  }

  std::string path_;
  sentencepiece::SentencePieceProcessor processor_;
  std::int64_t vocab_size_ = 0;
  std::int64_t end_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const std::string& path) {
  return std::make_unique<SentencePieceTokenizer>(path);
}

}  // namespace infinipipe
