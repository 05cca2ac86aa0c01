// What can be known of a run before its first step, so that it does not fail hours later.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "data/batch_source.h"
#include "infinipipe/core/config.h"
#include "infinipipe/planner/planner.h"
#include "infinipipe/trainer/trainer.h"

namespace infinipipe {

class Ranks;

// Names, files and folders: throws InputError for a layout that cannot run, a planner, profile or
// data set that is not there, and RunError for a folder that cannot be written or has
// no room for one checkpoint. Nothing is made or measured.
void require_ready(const TrainOptions& options, const TrainConfig& config);

// What a run will draw.
struct Survey {
  Tokens longest = 0;  // after the cut
  int step = 0;        // that draws it first
};

// Reads the pieces of steps [first, end) once each: no more than training them will, and much
// faster. Throws InputError where one holds an id outside the vocabulary, naming it, or none of
// them has anything to predict. Throws Stopped once *stop is set.
Survey survey_data(const BatchSource& batches, const TrainConfig& config, int first,
                   const std::atomic<bool>* stop,
                   const std::function<void(const std::string&)>& log);

// What training asks of a tokenizer, whose texts are tokens already.
struct TokenizerFacts {
  std::int64_t vocab_size = 0;
  std::int64_t end_of_document = 0;
};
// Throws InputError for a tokenizer that is not there or is none. Where its library is missing a
// run does without: that is said, and the result is empty.
std::optional<TokenizerFacts> tokenizer_facts(const TrainConfig& config,
                                              const std::function<void(const std::string&)>& warn);

// Says where the tokenizer has more ids than the model.
void warn_of_small_vocabulary(const TrainConfig& config,
                              const std::optional<TokenizerFacts>& tokenizer,
                              const std::function<void(const std::string&)>& warn);

// Throws RunError where memory.bytes_per_stage, or a stage's share of the smallest host, is less
// than states and inputs of the longest document's layers take by themselves: said without a
// profile, so before one is measured.
void require_memory(const TrainConfig& config, const Survey& survey, const Ranks* ranks);

// Throws what the planner does where a batch cannot fit whatever is recomputed, with `where` and
// what is the longest of it: "its longest document", of so many tokens.
void require_plan(const Planner& planner, const PlanRequest& request, const std::string& where,
                  const std::string& longest, Tokens tokens);

// The same of the step that draws the longest document.
void require_fitting(const Planner& planner, const BatchSource& batches, const Survey& survey);

}  // namespace infinipipe
