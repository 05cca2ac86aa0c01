#include "trainer/identity.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "data/tokenizer.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/steady_file.h"

namespace infinipipe {
namespace {

constexpr std::uint64_t kSamples = 64;
constexpr std::uint64_t kSampleBytes = 4096;

void add_samples(StreamHash& hash, const SteadyFile& file) {
  const std::uint64_t size = file.size();
  for (std::uint64_t i = 0; i < kSamples; ++i) {
    const std::uint64_t begin = size / kSamples * i;
    hash.update(file, begin, std::min(kSampleBytes, size - begin));
  }
  const std::uint64_t end = std::min(kSampleBytes, size);
  hash.update(file, size - end, end);
}

std::string text_of(const Json& identity, const char* key) {
  const auto found = identity.find(key);
  return found != identity.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

Json data_identity(const IndexedDataset& dataset) {
  StreamHash hash;
  const SteadyFile index(dataset.prefix() + ".idx");
  hash.update(index, 0, index.size());
  add_samples(hash, SteadyFile(dataset.prefix() + ".bin"));
  if (dataset.has_weights()) add_samples(hash, SteadyFile(dataset.prefix() + ".weights"));
  return {{"path", dataset.prefix()},
          {"documents", dataset.documents()},
          {"tokens", dataset.tokens()},
          {"fingerprint", hash.hex()}};
}

Json tokenizer_identity(const std::string& name) {
  Json identity = {{"name", name}};
  if (name != "byte") identity["fingerprint"] = hash_file(SteadyFile(tokenizer_file(name)));
  return identity;
}

void compare_identity(const Json& data, const Json& tokenizer, const Json& saved_data,
                      const Json& saved_tokenizer, const std::string& folder,
                      const std::function<void(const std::string&)>& warn) {
  if (saved_data.is_object() &&
      text_of(data, "fingerprint") != text_of(saved_data, "fingerprint")) {
    warn("data.path: " + text_of(data, "path") + " is another data set than " +
         text_of(saved_data, "path") + ", which " + folder +
         " was trained on; set --data.path to that one if it is not meant");
  }
  if (saved_tokenizer.is_object() && tokenizer != saved_tokenizer) {
    const bool renamed = text_of(tokenizer, "name") != text_of(saved_tokenizer, "name");
    if (renamed && text_of(tokenizer, "fingerprint") == text_of(saved_tokenizer, "fingerprint") &&
        !text_of(tokenizer, "fingerprint").empty()) {
      return;  // the same file elsewhere
    }
    warn("data.tokenizer: " + text_of(tokenizer, "name") + " is another tokenizer than " +
         text_of(saved_tokenizer, "name") + ", which " + folder +
         " was trained with; set --data.tokenizer to that one if it is not meant");
  }
}

}  // namespace infinipipe
