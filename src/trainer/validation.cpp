#include "trainer/validation.h"

#include <algorithm>
#include <utility>

#include "data/batch_source.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

std::unique_ptr<Validation> Validation::open(const TrainConfig& config) {
  if (config.eval.data.empty()) return nullptr;
  return std::unique_ptr<Validation>(new Validation(config));
}

Validation::Validation(const TrainConfig& config)
    : config_(config),
      dataset_(config.eval.data),
      count_(evaluated_documents(dataset_, config.eval.sequences)) {
  for (std::int64_t document = 0; document < count_; ++document) {
    lengths_.push_back(static_cast<Tokens>(
        load_document(dataset_, document, config.data.max_sequence_length, config.model.vocab_size)
            .size()));
  }
  if (lengths_.empty() || *std::max_element(lengths_.begin(), lengths_.end()) < 2) {
    throw InputError(config.eval.data, "no document has two tokens",
                     "expected something to predict", "set eval.data to another data set");
  }
}

void Validation::plan_with(std::unique_ptr<Planner> planner) {
  planner_ = std::move(planner);
  const std::int64_t per_step = config_.training.sequences_per_step;
  const std::int64_t longest =
      std::max_element(lengths_.begin(), lengths_.end()) - lengths_.begin();
  const std::int64_t first = longest / per_step * per_step;
  PlanRequest request;
  request.forward_only = true;
  for (std::int64_t i = first; i < std::min(count_, first + per_step); ++i) {
    const Tokens length = lengths_[static_cast<std::size_t>(i)];
    if (length > 0) request.sequences.push_back(length);
  }
  try {
    planner_->plan(request);
  } catch (const RunError& error) {
    throw RunError("config: eval.data", error.what(), "",
                   "the longest document of " + config_.eval.data + " has " +
                       format_count(lengths_[static_cast<std::size_t>(longest)]) +
                       " tokens (data.max_sequence_length); nothing was trained");
  }
}

bool Validation::is_due(int next_step, bool last) const {
  return last || (config_.eval.every > 0 && next_step % config_.eval.every == 0);
}

std::optional<DocumentLosses> Validation::run(Engine& engine, const std::atomic<bool>* stop) const {
  try {
    return evaluate_documents(engine, *planner_, dataset_, config_, count_,
                              [stop](std::int64_t, double) {
                                if (stop != nullptr && stop->load()) throw Stopped("evaluating");
                              });
  } catch (const Stopped&) {
    return std::nullopt;
  }
}

std::string Validation::describe() const {
  const int every = config_.eval.every;
  return config_.eval.data + ": " + format_count(count_) + " documents, " +
         (every > 0 ? "every " + std::to_string(every) + " steps and " : std::string()) +
         "at the end";
}

}  // namespace infinipipe
