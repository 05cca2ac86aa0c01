// The batches of training against a slow and obvious listing: sets by weight, long documents,
// batches by documents and by tokens, and going on from any step.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/random.h"
#include "data/batch_source.h"

namespace infinipipe {
namespace {

using Sequence = std::vector<std::int64_t>;
using Sequences = std::vector<Sequence>;

// A set in memory: every token has a number of its own.
struct PlainSet {
  double weight = 1.0;
  Sequences documents;
};

struct Case {
  std::vector<PlainSet> sets;
  DataConfig data;
  TrainingConfig training;
  int steps = 30;
};

constexpr std::int64_t kVocabulary = 1 << 20;

Case random_sets(Random& random, const std::string& folder) {
  Case made;
  made.sets.resize(static_cast<std::size_t>(random.between(1, 4)));
  std::int64_t token = 0;
  for (std::size_t i = 0; i < made.sets.size(); ++i) {
    PlainSet& set = made.sets[i];
    const std::string weight = std::to_string(0.1 + 3.0 * random.uniform());
    set.weight = std::stod(weight);
    set.documents = {{token++}};  // short enough for any length
    while (random.between(0, 9) > 0) {
      Sequence& document = set.documents.emplace_back();
      for (std::int64_t n = random.between(0, 30); n > 0; --n) document.push_back(token++);
    }
    const std::string path = folder + "/set" + std::to_string(i);
    IndexedDatasetWriter writer(path, TokenDtype::kInt32);
    for (const Sequence& document : set.documents) {
      writer.append(document);
      writer.end_document();
    }
    writer.finish();
    made.data.path += (i == 0 ? "" : ",") + path;
    if (made.sets.size() > 1) made.data.path += ":" + weight;
  }
  return made;
}

void choose_settings(Random& random, Case& made) {
  made.data.max_sequence_length = random.between(1, 15);
  made.data.long_documents = static_cast<LongDocuments>(random.between(0, 2));
  made.training.seed = random.between(0, 1000);
  made.training.sequences_per_step = static_cast<int>(random.between(1, 7));
  made.training.tokens_per_step = random.between(0, 1) == 1 ? random.between(1, 60) : 0;
}

// What can be drawn from a set.
Sequences pieces(const PlainSet& set, const DataConfig& data) {
  const auto longest = static_cast<std::size_t>(data.max_sequence_length);
  Sequences result;
  for (const Sequence& document : set.documents) {
    if (document.size() <= longest) {
      result.push_back(document);
      continue;
    }
    if (data.long_documents == LongDocuments::kDrop) continue;
    for (std::size_t begin = 0; begin < document.size(); begin += longest) {
      const std::size_t end = std::min(document.size(), begin + longest);
      result.emplace_back(document.begin() + static_cast<std::ptrdiff_t>(begin),
                          document.begin() + static_cast<std::ptrdiff_t>(end));
      if (data.long_documents == LongDocuments::kCut) break;
    }
  }
  return result;
}

// Draws one sequence after the other, with counters instead of formulas.
class PlainDraws {
 public:
  explicit PlainDraws(const Case& of) : case_(of), drawn_(of.sets.size()) {
    for (const PlainSet& set : of.sets) pieces_.push_back(pieces(set, of.data));
  }

  Sequence next() {
    const std::size_t set = choose(0, case_.sets.size());
    const Sequences& from = pieces_[set];
    const auto count = static_cast<std::int64_t>(from.size());
    auto seed = static_cast<std::uint64_t>(case_.training.seed);
    if (set > 0) seed = mix(seed ^ mix(set));
    const std::int64_t at = drawn_[set]++;
    const Sampler alone(count, 1, static_cast<std::int64_t>(seed));
    return from[static_cast<std::size_t>(alone.sample(at).front())];
  }

 private:
  double weight(std::size_t begin, std::size_t end) const {
    double sum = 0.0;
    for (std::size_t i = begin; i < end; ++i) sum += case_.sets[i].weight;
    return sum;
  }
  // The left half, where it would else have less than its share, rounded to the nearest.
  std::size_t choose(std::size_t begin, std::size_t end) {
    if (end - begin == 1) return begin;
    const std::size_t middle = begin + (end - begin) / 2;
    auto& [left, all] = counts_[{begin, end}];
    ++all;
    const double due = weight(begin, middle) / weight(begin, end) * static_cast<double>(all);
    if (std::floor(due + 0.5) > static_cast<double>(left)) {
      ++left;
      return choose(begin, middle);
    }
    return choose(middle, end);
  }

  const Case& case_;
  std::vector<Sequences> pieces_;
  std::vector<std::int64_t> drawn_;
  std::map<std::pair<std::size_t, std::size_t>, std::pair<std::int64_t, std::int64_t>> counts_;
};

std::vector<Sequences> plain_batches(const Case& of) {
  PlainDraws draws(of);
  std::vector<Sequences> batches;
  Sequence waiting = draws.next();
  for (int step = 0; step < of.steps; ++step) {
    Sequences batch;
    Tokens tokens = 0;
    for (int count = 0;; ++count) {
      const auto more = static_cast<Tokens>(waiting.size());
      const bool full = of.training.tokens_per_step > 0
                            ? tokens > 0 && tokens + more > of.training.tokens_per_step
                            : count == of.training.sequences_per_step;
      if (full) break;
      tokens += more;
      if (more > 0) batch.push_back(waiting);
      waiting = draws.next();
    }
    batches.push_back(std::move(batch));
  }
  return batches;
}

std::vector<Tokens> lengths_of(const Sequences& batch) {
  std::vector<Tokens> lengths;
  for (const Sequence& sequence : batch) lengths.push_back(static_cast<Tokens>(sequence.size()));
  return lengths;
}

class Batches : public ::testing::Test {
 protected:
  void SetUp() override { make_folder(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_ = testing::TempDir() + "infinipipe_batches." + std::to_string(::getpid());
};

TEST_F(Batches, AreThoseOfAPlainListingAlsoFromAnyStepOn) {
  Random random(5);
  Case made;
  for (int round = 0; round < 120; ++round) {
    SCOPED_TRACE(round);
    if (round % 10 == 0) made = random_sets(random, folder_);
    choose_settings(random, made);
    const std::vector<Sequences> expected = plain_batches(made);
    const Corpus corpus(made.data);
    const BatchSource whole(corpus, made.training, kVocabulary);
    for (int step = 0; step < made.steps; ++step) {
      const auto at = static_cast<std::size_t>(step);
      ASSERT_EQ(whole.load(step).sequences, expected[at]);
      ASSERT_EQ(whole.lengths(step), lengths_of(expected[at]));
    }
    const auto resumed_at = random.between(0, made.steps - 1);
    const Json state = whole.state(resumed_at);
    const Corpus again(made.data);
    BatchSource resumed(again, made.training, kVocabulary);
    ASSERT_EQ(resumed.restore({state, "manifest", "sampler"}), resumed_at);
    for (std::int64_t step = made.steps - 1; step >= resumed_at; --step) {  // in any order
      ASSERT_EQ(resumed.load(step).sequences, expected[static_cast<std::size_t>(step)]);
      ASSERT_EQ(resumed.state(step), whole.state(step));
      ASSERT_EQ(resumed.epochs(step), whole.epochs(step));
    }
  }
}

}  // namespace
}  // namespace infinipipe
