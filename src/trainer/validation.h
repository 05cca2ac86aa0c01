// The data set that training is judged by while it runs (eval.*).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "infinipipe/planner/planner.h"
#include "trainer/evaluation.h"

namespace infinipipe {

// Never changes what is trained: losses come from forward passes alone, over documents of its own.
class Validation final {
 public:
  // Null where eval.data is not set. Throws InputError where the data set cannot be read, or one of
  // its tokens is an id outside the vocabulary; nothing else of the run need be there yet.
  static std::unique_ptr<Validation> open(const TrainConfig& config);

  // Plans from now on. Throws what the planner does where the longest document cannot fit.
  void plan_with(std::unique_ptr<Planner> planner);

  // Whether training is to be judged before step `next_step`, the run's last one being done if
  // `last`.
  bool is_due(int next_step, bool last) const;

  // Empty where `stop` was set before it was done.
  std::optional<CorpusLosses> run(Engine& engine, const std::atomic<bool>* stop) const;

  // One line: "corpus/held-out: 111 sequences, every 50 steps and at the end".
  std::string describe() const;

 private:
  explicit Validation(const TrainConfig& config);

  const TrainConfig& config_;
  Corpus corpus_;
  BatchSource data_;
  std::int64_t count_;           // of its pieces that are judged by
  std::vector<Tokens> lengths_;  // of these
  std::unique_ptr<Planner> planner_;
};

}  // namespace infinipipe
