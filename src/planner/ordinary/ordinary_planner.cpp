#include "planner/ordinary/ordinary_planner.h"

#include <algorithm>

#include "infinipipe/base/error.h"
#include "planner/search/schedule.h"
#include "planner/timed_plan.h"

namespace infinipipe {

namespace {

int most_layers(const CostModel& cost) {
  int most = 0;
  for (const LayerRange& range : cost.stages()) most = std::max(most, range.count());
  return most;
}

struct Trial {
  Replica replica;
  Evaluation evaluation;
  int recompute = 0;  // layers a stage
};

struct Entry {
  Candidate candidate;
  Trial trial;
};

std::string settings_text(const OrdinaryRecipe& recipe, int recompute) {
  std::string text = recompute == 0 ? "nothing recomputed"
                                    : "recomputes " + std::to_string(recompute) +
                                          (recompute == 1 ? " layer" : " layers") + " a stage";
  if (!schedule_row(recipe.schedule).holds_weights) return text;
  return text + ", holds " +
         (recipe.held_weights < 0 ? "any number of" : std::to_string(recipe.held_weights)) +
         " weight gradients";
}

class OrdinaryPlanner final : public Planner {
 public:
  OrdinaryPlanner(std::string name, std::shared_ptr<const BoundContext> context,
                  OrdinaryRecipes recipes)
      : name_(std::move(name)), context_(std::move(context)), recipes_(std::move(recipes)) {}

  Plan plan(const PlanRequest& request) const override {
    return timed_plan([&] {
      return context_->plan_by_shares(name_, request,
                                      [&](const Plan& plan, const ReplicaShare& share) {
                                        return plan_share(plan, share, request.forward_only);
                                      });
    });
  }

 private:
  PlannedShare plan_share(const Plan& plan, const ReplicaShare& share, bool forward_only) const {
    std::vector<Entry> entries;
    std::optional<Evaluation> nearest_miss;
    for (const OrdinaryRecipe& recipe : recipes_(share.lengths, *context_, forward_only)) {
      Trial trial = fit(plan, share, recipe, forward_only);
      if (trial.evaluation.over_stage) {
        if (!nearest_miss || trial.evaluation.over_bytes < nearest_miss->over_bytes) {
          nearest_miss = trial.evaluation;
        }
        continue;
      }
      Candidate candidate{.schedule = recipe.schedule,
                          .slices = recipe.slices,
                          .chunk_tokens = recipe.chunk_tokens,
                          .pipelines = recipe.flushes,
                          .chunks = static_cast<int>(recipe.chunking.chunks.size()),
                          .seconds = trial.evaluation.seconds,
                          .note = settings_text(recipe, trial.recompute)};
      entries.push_back({std::move(candidate), std::move(trial)});
    }
    if (entries.empty()) {
      INFINIPIPE_ASSERT(nearest_miss.has_value(), "no recipe for a share with sequences");
      context_->fail_memory(plan, *nearest_miss->over_stage, nearest_miss->over_bytes);
    }
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return a.candidate.seconds < b.candidate.seconds;
    });
    PlannedShare planned;
    planned.replica = std::move(entries.front().trial.replica);
    planned.seconds = entries.front().candidate.seconds;
    planned.report.slices = entries.front().candidate.slices;
    planned.report.schedule = entries.front().candidate.schedule;
    std::vector<Candidate>& told = planned.report.candidates;
    for (Entry& entry : entries) {
      entry.candidate.note =
          (told.empty() ? "fastest" : percent_slower(entry.candidate.seconds, planned.seconds)) +
          "; " + entry.candidate.note;
      told.push_back(entry.candidate);
    }
    return planned;
  }

  // The least recomputation, the same everywhere, with which the recipe fits (all layers where the
  // recipe knows only all or none); full recomputation where nothing does.
  Trial fit(const Plan& plan, const ReplicaShare& share, const OrdinaryRecipe& recipe,
            bool forward_only) const {
    const auto trial = [&](int recompute) {
      Plan alone =
          BoundContext::alone(plan, share,
                              ordinary_replica(recipe, share.lengths, recompute, context_->cost(),
                                               forward_only, context_->level()));
      const Evaluation evaluation =
          context_->evaluator().evaluate(alone, context_->cost(), ReplicaId{});
      return Trial{std::move(alone.replicas.front()), evaluation, recompute};
    };
    Trial best = trial(0);
    if (!best.evaluation.over_stage || forward_only) return best;
    int low = 1;
    int high = most_layers(context_->cost());
    best = trial(high);
    if (recipe.all_or_nothing) return best;
    while (low < high && !best.evaluation.over_stage) {
      const int middle = (low + high) / 2;
      Trial next = trial(middle);
      if (next.evaluation.over_stage) {
        low = middle + 1;
      } else {
        high = middle;
        best = std::move(next);
      }
    }
    return best;
  }

  std::string name_;
  std::shared_ptr<const BoundContext> context_;
  OrdinaryRecipes recipes_;
};

}  // namespace

std::unique_ptr<Planner> make_ordinary_planner(std::string name,
                                               std::shared_ptr<const BoundContext> context,
                                               OrdinaryRecipes recipes) {
  return std::make_unique<OrdinaryPlanner>(std::move(name), std::move(context), std::move(recipes));
}

Replica ordinary_replica(const OrdinaryRecipe& recipe, const std::vector<Tokens>& lengths,
                         int recompute, const CostModel& cost, bool forward_only, Keep level) {
  std::vector<int> counts;
  for (const LayerRange& range : cost.stages()) {
    counts.push_back(forward_only ? 0 : std::min(recompute, range.count()));
  }
  Replica replica;
  const std::vector<ChunkGroup>& groups = recipe.chunking.groups;
  const auto flushes = static_cast<std::size_t>(recipe.flushes);
  for (std::size_t f = 0; f < flushes; ++f) {
    std::vector<Chunk> placed;
    for (std::size_t g = f * groups.size() / flushes; g < (f + 1) * groups.size() / flushes; ++g) {
      for (int k = groups[g].begin; k < groups[g].end; ++k) {
        placed.push_back(recipe.chunking.chunks[static_cast<std::size_t>(k)]);
        placed.back().keeping = keeping_by_stage(level, counts);
      }
    }
    replica.pipelines.push_back(make_pipeline(std::move(placed), forward_only));
  }
  const auto make = schedule_row(recipe.schedule).make;
  INFINIPIPE_ASSERT(make != nullptr, "a schedule that a search must find");
  replica.instructions = make({.pipelines = replica.pipelines,
                               .lengths = lengths,
                               .cost = cost,
                               .held_weights = recipe.held_weights,
                               .forward_only = forward_only});
  return replica;
}

Replica ordinary_replica(const std::vector<Chunk>& chunks, const char* schedule, int recompute,
                         const CostModel& cost, bool forward_only) {
  OrdinaryRecipe recipe{.schedule = schedule, .slices = 1, .chunk_tokens = 0, .chunking = {}};
  recipe.chunking.chunks = chunks;
  recipe.chunking.groups = {{0, static_cast<int>(chunks.size())}};
  return ordinary_replica(recipe, {}, recompute, cost, forward_only);
}

}  // namespace infinipipe
