// Runs a harness without libFuzzer: over every file of a corpus folder as it is, and over seeded
// mutations of each (cuts, flips, copies, spliced neighbours), the same on every machine.
//   NAME_replay FOLDER [MUTATIONS-PER-FILE]
//   NAME_replay FOLDER --write OUT    the seeds as bytes, for libFuzzer
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "fuzz/harness.h"

namespace {

using infinipipe::Random;

std::size_t position(Random& random, const std::string& text) {
  return static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(text.size())));
}

std::string mutate(std::string text, const std::vector<std::string>& corpus, Random& random) {
  // Bytes that mean something to one of the formats, so that mutations get past the tokenizer.
  constexpr std::string_view kBytes = "0123456789-.eE\"[]{},:= \n\\\x00\xff";
  for (std::int64_t edits = random.between(1, 4); edits > 0; --edits) {
    const std::size_t at = position(random, text);
    const std::size_t length =
        std::min<std::size_t>(static_cast<std::size_t>(random.between(1, 24)), text.size() - at);
    const char byte = kBytes[static_cast<std::size_t>(
        random.between(0, static_cast<std::int64_t>(kBytes.size()) - 1))];
    switch (random.between(0, 6)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, 1, byte);
        break;
      case 2:
        if (at < text.size()) text[at] = byte;
        break;
      case 3:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << random.between(0, 7)));
        break;
      case 4:
        text.insert(position(random, text), text.substr(at, length));
        break;
      case 5:
        text.resize(at);
        break;
      default: {
        const std::string& other = corpus[static_cast<std::size_t>(
            random.between(0, static_cast<std::int64_t>(corpus.size()) - 1))];
        text = text.substr(0, at) + other.substr(position(random, other));
      }
    }
  }
  return text;
}

void run(const std::string& text) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s FOLDER [MUTATIONS-PER-FILE]\n", argv[0]);
    return 2;
  }
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    names.push_back(entry.path().string());
  }
  std::sort(names.begin(), names.end());
  if (names.empty()) {
    std::fprintf(stderr, "%s is empty\n", argv[1]);
    return 1;
  }
  std::vector<std::string> corpus;
  for (const std::string& name : names)
    corpus.push_back(infinipipe::fuzz::seed_bytes(infinipipe::read_file(name)));
  if (argc > 3 && std::string(argv[2]) == "--write") {
    std::filesystem::create_directories(argv[3]);
    for (std::size_t i = 0; i < corpus.size(); ++i) {
      const auto file = std::filesystem::path(names[i]).filename();
      infinipipe::write_file((std::filesystem::path(argv[3]) / file).string(), corpus[i]);
    }
    return 0;
  }
  const int mutations = argc > 2 ? std::atoi(argv[2]) : 0;
  for (std::size_t i = 0; i < corpus.size(); ++i) {
    std::fprintf(stderr, "%s\n", names[i].c_str());  // the last one named is the culprit
    run(corpus[i]);
    Random random(1, i);
    for (int m = 0; m < mutations; ++m) run(mutate(corpus[i], corpus, random));
  }
  std::printf("%zu files, %d mutations of each\n", corpus.size(), mutations);
  return 0;
}
