#include "trainer/identity.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

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

// The identities of the sets in a run's: one for a run of one set, none where nothing is known.
std::vector<Json> sets_of(const Json& data) {
  if (!data.is_object()) return {};
  const auto sets = data.find("sets");
  if (sets == data.end()) return {data};
  return sets->is_array() ? std::vector<Json>(sets->begin(), sets->end()) : std::vector<Json>();
}

bool is_same(const Json& set, const Json& saved) {
  return set.is_object() && saved.is_object() &&
         text_of(set, "fingerprint") == text_of(saved, "fingerprint");
}

void compare_sets(const std::vector<Json>& sets, const std::vector<Json>& saved,
                  const std::string& folder, const std::function<void(const std::string&)>& warn) {
  if (sets.size() != saved.size()) return;  // the sampler's state says so, and is refused
  for (std::size_t i = 0; i < sets.size(); ++i) {
    if (is_same(sets[i], saved[i]) || !saved[i].is_object()) continue;
    const std::string path = text_of(sets[i], "path");
    for (std::size_t other = 0; other < saved.size(); ++other) {
      if (!is_same(sets[i], saved[other]) || is_same(sets[other], saved[other])) continue;
      throw InputError("config: data.path", "found " + path + " as set " + std::to_string(i + 1),
                       "expected it as set " + std::to_string(other + 1) + " as in " + folder,
                       "name the sets in the checkpoint's order, or train without --resume");
    }
    warn("data.path: " + path + " is another data set than " + text_of(saved[i], "path") +
         ", which " + folder + " was trained on; set --data.path to that one if it is not meant");
  }
}

}  // namespace

Json data_identity(const Corpus& corpus) {
  Json sets = Json::array();
  for (const Corpus::Set& set : corpus.sets()) sets.push_back(data_identity(*set.dataset));
  if (sets.size() == 1) return sets[0];
  return {{"sets", std::move(sets)}};
}

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
  compare_sets(sets_of(data), sets_of(saved_data), folder, warn);
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
