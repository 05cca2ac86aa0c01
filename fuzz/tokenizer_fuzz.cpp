// Tokenizers: bytes survive the byte tokenizer, text that was repaired is UTF-8, and whatever is
// given as a SentencePiece model is refused or encodes and decodes.
#include "base/utf8.h"
#include "data/tokenizer.h"
#include "fuzz/scratch_file.h"

namespace infinipipe::fuzz {
namespace {

void check_bytes(std::string_view bytes) {
  static const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer("byte");
  const std::vector<std::int64_t> ids = tokenizer->encode(bytes);
  require(tokenizer->decode(ids) == bytes, "bytes change when encoded and decoded");
}

void check_repair(std::string_view bytes) {
  const Utf8Repair repair = repair_utf8(bytes);
  require(find_invalid_utf8(repair.text) == std::string_view::npos, "repaired text is no UTF-8");
  const bool valid = find_invalid_utf8(bytes) == std::string_view::npos;
  require(valid == (repair.invalid_bytes == 0), "invalid bytes are miscounted");
  if (valid) require(repair.text == bytes, "valid text was changed");
  require(whole_characters(bytes) <= bytes.size(), "more characters than bytes");
}

void check_model(std::string_view bytes) {
  static const ScratchFolder scratch;
  const std::string path = scratch.put("text.model", bytes);
  accepts([&] {
    const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(path);
    const std::vector<std::int64_t> ids = tokenizer->encode("a b \xc3\xa4\n\xff z");
    for (const std::int64_t id : ids)
      require(id >= 0 && id < tokenizer->vocab_size(), "an id outside the vocabulary");
    tokenizer->decode(ids);
  });
}

void run(std::string_view bytes) {
  check_bytes(bytes);
  check_repair(bytes);
  check_model(bytes);
}

}  // namespace
}  // namespace infinipipe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinipipe::fuzz::run(infinipipe::fuzz::text(data, size));
  return 0;
}
