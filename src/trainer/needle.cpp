#include "trainer/needle.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "data/batch_source.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr std::int64_t kSeed = 20'260;

void append(std::vector<std::int64_t>& to, const std::vector<std::int64_t>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// `count` tokens from document `first` on, over the data set's end from its begin.
std::vector<std::int64_t> read_filler(const IndexedDataset& dataset, std::int64_t first,
                                      Tokens count, const Tokenizer& tokenizer) {
  const std::size_t begin = tokenizer.begin_of_document().size();
  std::vector<std::int64_t> filler;
  const auto wanted = static_cast<std::size_t>(count);
  for (std::int64_t i = 0; i < dataset.documents() && filler.size() < wanted; ++i) {
    const std::int64_t document = (first + i) % dataset.documents();
    std::vector<std::int64_t> tokens =
        load_document(dataset, document, count + 2, tokenizer.vocab_size());
    if (!tokens.empty() && tokens.back() == tokenizer.end_of_document()) tokens.pop_back();
    if (tokens.size() <= begin) continue;
    filler.insert(filler.end(), tokens.begin() + static_cast<std::ptrdiff_t>(begin), tokens.end());
  }
  if (filler.empty()) {
    throw InputError(dataset.prefix(), "holds no text", "expected documents to hide a needle in");
  }
  for (std::size_t i = 0; filler.size() < wanted; ++i) filler.push_back(filler[i]);  // too little
  filler.resize(wanted);
  return filler;
}

}  // namespace

NeedleMaker::NeedleMaker(const Tokenizer& tokenizer, const IndexedDataset& dataset, Tokens longest,
                         int trials)
    : begin_(tokenizer.begin_of_document()) {
  for (int i = 0; i < trials; ++i) {
    Random random(kSeed, static_cast<std::uint64_t>(i));
    const std::string key = std::to_string(random.between(10'000, 99'999));
    Trial trial;
    trial.sentence = tokenizer.encode("\nThe pass key is " + key + ". Remember it. " + key +
                                      " is the pass key.\n");
    // A tokenizer may join the question's end and the answer: the answer is what the whole has
    // more.
    const std::string question = "\nWhat is the pass key? The pass key is";
    trial.question = tokenizer.encode(question);
    const std::vector<std::int64_t> whole = tokenizer.encode(question + " " + key);
    const auto [differs, end] =
        std::mismatch(trial.question.begin(), trial.question.end(), whole.begin(), whole.end());
    trial.answer.assign(end, whole.end());
    trial.question.erase(differs, trial.question.end());
    trial.filler =
        read_filler(dataset, random.between(0, dataset.documents() - 1), longest, tokenizer);
    trials_.push_back(std::move(trial));
  }
}

Tokens NeedleMaker::shortest() const {
  std::size_t most = 0;
  for (const Trial& trial : trials_) {
    most = std::max(most, trial.sentence.size() + trial.question.size() + trial.answer.size());
  }
  return static_cast<Tokens>(begin_.size() + most + 1);
}

NeedleText NeedleMaker::make(Tokens length, double depth, int trial, bool with_sentence) const {
  const Trial& of = trials_.at(static_cast<std::size_t>(trial));
  const std::size_t fixed = begin_.size() + (with_sentence ? of.sentence.size() : 0) +
                            of.question.size() + of.answer.size();
  INFINIPIPE_ASSERT(static_cast<std::size_t>(length) >= fixed, "the text has room for its parts");
  const std::size_t filler = static_cast<std::size_t>(length) - fixed;
  const auto before =
      static_cast<std::ptrdiff_t>(std::llround(depth * static_cast<double>(filler)));
  const auto all = static_cast<std::ptrdiff_t>(filler);
  NeedleText text;
  text.tokens = begin_;
  append(text.tokens, {of.filler.begin(), of.filler.begin() + before});
  if (with_sentence) append(text.tokens, of.sentence);
  append(text.tokens, {of.filler.begin() + before, of.filler.begin() + all});
  append(text.tokens, of.question);
  text.answer = text.tokens.size();
  append(text.tokens, of.answer);
  return text;
}

NeedleLosses find_needles(Engine& engine, const Planner& planner, const Tokenizer& tokenizer,
                          const IndexedDataset& dataset, const TrainConfig& config,
                          const NeedleSettings& settings,
                          const std::function<void(const std::string&)>& progress) {
  const Tokens longest = config.data.max_sequence_length;
  const NeedleMaker maker(tokenizer, dataset, longest, settings.trials);
  NeedleLosses result;
  for (int i = 1; i <= settings.grid; ++i) {
    const Tokens length = longest * i / settings.grid;
    if (length >= maker.shortest()) result.lengths.push_back(length);
  }
  if (result.lengths.empty()) {
    throw InputError(
        "config: data.max_sequence_length", "found " + std::to_string(longest),
        "expected at least " + std::to_string(maker.shortest()) + ": the needle and its question");
  }
  for (int i = 0; i < settings.grid; ++i) {
    result.depths.push_back(settings.grid == 1 ? 0.5
                                               : static_cast<double>(i) / (settings.grid - 1));
  }
  // All texts of one length are a batch of one trial each, the one without a needle last.
  for (const Tokens length : result.lengths) {
    std::vector<double> sums(result.depths.size() + 1, 0.0);
    for (int trial = 0; trial < settings.trials; ++trial) {
      Batch batch;
      std::vector<std::size_t> answers;
      PlanRequest request;
      request.forward_only = true;
      for (std::size_t i = 0; i < sums.size(); ++i) {
        const bool with = i < result.depths.size();
        NeedleText text = maker.make(length, with ? result.depths[i] : 0.0, trial, with);
        answers.push_back(text.answer);
        request.sequences.push_back(static_cast<Tokens>(text.tokens.size()));
        batch.sequences.push_back(std::move(text.tokens));
      }
      const StepResult step = engine.run(planner.plan(request), batch);
      for (std::size_t i = 0; i < sums.size(); ++i) {
        const std::vector<double>& losses = step.token_losses[i];
        double sum = 0.0;
        for (std::size_t at = answers[i]; at < losses.size(); ++at) sum += losses[at - 1];
        sums[i] += sum / static_cast<double>(losses.size() - answers[i]);
      }
    }
    for (double& sum : sums) sum /= settings.trials;
    result.without.push_back(sums.back());
    sums.pop_back();
    result.loss.push_back(std::move(sums));
    progress("needle: " + std::to_string(result.loss.size()) + " of " +
             std::to_string(result.lengths.size()) + " lengths");
  }
  return result;
}

}  // namespace infinipipe
