#include "planner/recompute_choice.h"

#include <optional>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

class RecomputeChoice final : public Planner {
 public:
  RecomputeChoice(std::unique_ptr<Planner> attention, std::unique_ptr<Planner> input)
      : attention_(std::move(attention)), input_(std::move(input)) {}

  Plan plan(const PlanRequest& request) const override {
    std::optional<Plan> first;
    try {
      first = attention_->plan(request);
      if (!first->recomputes()) return std::move(*first);
    } catch (const RunError&) {
      return input_->plan(request);  // or what it throws: it needs the least memory
    }
    try {
      Plan second = input_->plan(request);
      const Seconds both = first->planner.seconds + second.planner.seconds;
      if (second.predicted->seconds < first->predicted->seconds) std::swap(*first, second);
      first->planner.seconds = both;
    } catch (const RunError&) {
      // The first one stands.
    }
    return std::move(*first);
  }

 private:
  std::unique_ptr<Planner> attention_;
  std::unique_ptr<Planner> input_;
};

}  // namespace

std::unique_ptr<Planner> make_recompute_choice(std::unique_ptr<Planner> keeps_attention,
                                               std::unique_ptr<Planner> keeps_input) {
  return std::make_unique<RecomputeChoice>(std::move(keeps_attention), std::move(keeps_input));
}

}  // namespace infinipipe
