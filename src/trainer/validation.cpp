#include "trainer/validation.h"

#include <algorithm>
#include <utility>

#include "infinipipe/base/error.h"
#include "trainer/preflight.h"

namespace infinipipe {

std::unique_ptr<Validation> Validation::open(const TrainConfig& config) {
  if (config.eval.data.empty()) return nullptr;
  return std::unique_ptr<Validation>(new Validation(config));
}

namespace {

// Cut, split or dropped as the data that is trained on.
DataConfig data_of(const TrainConfig& config) {
  DataConfig data = config.data;
  data.path = config.eval.data;
  return data;
}

}  // namespace

Validation::Validation(const TrainConfig& config)
    : config_(config),
      corpus_(data_of(config)),
      data_(corpus_, config.training, config.model.vocab_size),
      count_(evaluated_pieces(corpus_, config.eval.sequences)) {
  bool has_target = false;
  for (std::int64_t number = 0; number < count_; ++number) {
    const Corpus::Piece piece = corpus_.piece(number);
    lengths_.push_back(static_cast<Tokens>(data_.load_piece(piece).size()));
    if (has_target || piece.length < 2) continue;
    const std::vector<float> weights = data_.load_weights(piece);  // the first is never predicted
    has_target =
        std::any_of(weights.begin() + 1, weights.end(), [](float each) { return each > 0.0F; });
  }
  if (!has_target) {
    throw InputError(config.eval.data, "no document has a token to predict that has loss",
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
  require_plan(*planner_, request, "config: eval.data",
               "the longest sequence of " + config_.eval.data,
               lengths_[static_cast<std::size_t>(longest)]);
}

bool Validation::is_due(int next_step, bool last) const {
  return last || (config_.eval.every > 0 && next_step % config_.eval.every == 0);
}

std::optional<CorpusLosses> Validation::run(Engine& engine, const std::atomic<bool>* stop) const {
  try {
    return evaluate_corpus(engine, *planner_, data_, count_, config_.training.sequences_per_step,
                           [stop](std::int64_t, double) {
                             if (stop != nullptr && stop->load()) throw Stopped("evaluating");
                           });
  } catch (const Stopped&) {
    return std::nullopt;
  }
}

std::string Validation::describe() const {
  const int every = config_.eval.every;
  return config_.eval.data + ": " + format_count(count_) + " sequences, " +
         (every > 0 ? "every " + std::to_string(every) + " steps and " : std::string()) +
         "at the end";
}

}  // namespace infinipipe
