// The passkey test: one sentence in a long text, and a question about it at the end.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "infinipipe/core/config.h"
#include "infinipipe/core/needle_losses.h"
#include "infinipipe/data/indexed_dataset.h"
#include "infinipipe/planner/planner.h"
#include "runtime/engine.h"

namespace infinipipe {

struct NeedleSettings {
  int grid = 10;   // so many lengths, evenly up to data.max_sequence_length, and depths
  int trials = 1;  // numbers, and places in the data, for each
};

// One text of the test.
struct NeedleText {
  std::vector<std::int64_t> tokens;
  std::size_t answer = 0;  // the number's tokens, from here to the end
};

// Makes texts of tokens of a data set's documents, one after the other without their ends, with a
// sentence among them that names a number, and a question for it behind them. A function of its
// arguments alone.
class NeedleMaker final {
 public:
  // Reads no more than `longest` tokens for each trial. Throws InputError where the data set has no
  // text.
  NeedleMaker(const Tokenizer& tokenizer, const IndexedDataset& dataset, Tokens longest,
              int trials);

  // The shortest text that holds sentence and question, and a little before them.
  Tokens shortest() const;
  // `depth` 0: the sentence stands first; 1: before the question; `with_sentence` false: nowhere.
  NeedleText make(Tokens length, double depth, int trial, bool with_sentence) const;

 private:
  struct Trial {
    std::vector<std::int64_t> sentence;
    std::vector<std::int64_t> question;
    std::vector<std::int64_t> answer;
    std::vector<std::int64_t> filler;
  };
  std::vector<std::int64_t> begin_;
  std::vector<Trial> trials_;
};

// `progress` hears of each length that is done, and of how many; it may throw. Throws InputError
// where data.max_sequence_length has no room for the sentence.
NeedleLosses find_needles(Engine& engine, const Planner& planner, const Tokenizer& tokenizer,
                          const IndexedDataset& dataset, const TrainConfig& config,
                          const NeedleSettings& settings,
                          const std::function<void(const std::string&)>& progress);

}  // namespace infinipipe
