#include "planner/recompute_choice.h"

#include <optional>
#include <utility>

#include "infinipipe/base/error.h"
#include "planner/candidate.h"
#include "planner/storage.h"
#include "planner/timed_plan.h"

namespace infinipipe {
namespace {

class RecomputeChoice final : public Planner {
 public:
  RecomputeChoice(std::shared_ptr<const Site> site, std::unique_ptr<Planner> attention,
                  std::unique_ptr<Planner> input)
      : site_(std::move(site)), attention_(std::move(attention)), input_(std::move(input)) {}

  Plan plan(const PlanRequest& request) const override {
    if (request.forward_only) return input_->plan(request);
    return timed_plan([&] { return choose(request); });
  }

 private:
  Plan choose(const PlanRequest& request) const {
    std::optional<Plan> best;
    try {
      best = attention_->plan(request);
    } catch (const RunError&) {
      return mixed(input_->plan(request));  // or what it throws: it needs the least memory
    }
    if (!site_->memory_binds(*best)) return std::move(*best);
    best = mixed(std::move(*best));
    try {
      Plan other = mixed(input_->plan(request));
      if (other.predicted->seconds < best->predicted->seconds) best = std::move(other);
    } catch (const RunError&) {
      // The first one stands.
    }
    return std::move(*best);
  }

  Plan mixed(Plan plan) const {
    if (plan.recomputed().layers == 0 || !site_->features().adaptive_recompute) return plan;
    std::optional<Plan> anew = store_anew(plan, *site_);
    if (!anew) return plan;
    if (auto& candidates = anew->planner.candidates; !candidates.empty()) {
      Candidate winner = candidates.front();
      winner.seconds = anew->predicted->seconds;
      winner.note = "fastest; what each layer keeps chosen anew";
      candidates.insert(candidates.begin(), std::move(winner));
      if (candidates.size() > 2) candidates.pop_back();  // as many as the search reported
      for (std::size_t i = 1; i < candidates.size(); ++i) {
        Candidate& other = candidates[i];
        const std::size_t settings = other.note.find("; ");
        other.note = percent_slower(other.seconds, candidates.front().seconds) +
                     (settings == std::string::npos ? "" : other.note.substr(settings));
      }
    }
    anew->planner.solver = {};  // its bound was of another choice of layers
    return std::move(*anew);
  }

  std::shared_ptr<const Site> site_;
  std::unique_ptr<Planner> attention_;
  std::unique_ptr<Planner> input_;
};

}  // namespace

std::unique_ptr<Planner> make_recompute_choice(std::shared_ptr<const Site> site,
                                               std::unique_ptr<Planner> keeps_attention,
                                               std::unique_ptr<Planner> keeps_input) {
  return std::make_unique<RecomputeChoice>(std::move(site), std::move(keeps_attention),
                                           std::move(keeps_input));
}

}  // namespace infinipipe
