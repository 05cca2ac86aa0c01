// Dataset indexes: what is accepted can be read to its last token. Input: two bytes for the size of
// the .bin file, then the .idx file.
#include "fuzz/scratch_file.h"
#include "infinipipe/data/indexed_dataset.h"

namespace infinipipe::fuzz {
namespace {

void read_all(const IndexedDataset& data) {
  Tokens sum = 0;
  const std::vector<Tokens> lengths = data.lengths();
  require(lengths.size() == static_cast<std::size_t>(data.documents()), "a length a document");
  for (std::int64_t i = 0; i < data.documents(); ++i) {
    const Tokens length = lengths[static_cast<std::size_t>(i)];
    require(length >= 0 && length == data.length(i), "a length that cannot be");
    const std::vector<std::int64_t> ids = data.read(i);
    require(static_cast<Tokens>(ids.size()) == length, "a document of another length");
    const std::vector<std::int64_t> tail = data.read(i, length / 2);
    require(std::equal(tail.begin(), tail.end(), ids.begin() + length / 2), "parts differ");
    sum += length;
  }
  require(sum == data.tokens(), "documents do not hold all tokens");
}

void run(std::string_view bytes) {
  static const ScratchFolder scratch;
  if (bytes.size() < 2) return;
  const auto size = static_cast<std::size_t>(static_cast<unsigned char>(bytes[0])) +
                    256 * static_cast<std::size_t>(static_cast<unsigned char>(bytes[1]));
  std::string tokens(size, '\0');
  for (std::size_t i = 0; i < size; ++i) tokens[i] = static_cast<char>(i * 37);
  scratch.put("data.bin", tokens);
  scratch.put("data.idx", bytes.substr(2));
  accepts([&] { read_all(IndexedDataset(scratch.path("data"))); });
}

}  // namespace
}  // namespace infinipipe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinipipe::fuzz::run(infinipipe::fuzz::text(data, size));
  return 0;
}
