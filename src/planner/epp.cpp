#include "planner/epp.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <optional>

#include "infinipipe/base/error.h"
#include "planner/keep_more.h"
#include "planner/search.h"
#include "planner/static_planner.h"
#include "planner/timed_plan.h"

namespace infinipipe {

namespace {

// How many of a search's schedules are evaluated exactly, and how many the plan tells about.
constexpr std::size_t kFinalists = 3;
constexpr std::size_t kReported = 6;
// Searches with less memory than there is, after one whose plans did not fit.
constexpr int kAttempts = 4;
// How many of these give up only what the nearest plan lacked; the later ones what the worst did.
constexpr int kNearAttempts = 2;

// Plans in which all recomputed layers keep the same.
class LevelPlanner final {
 public:
  LevelPlanner(std::string name, std::shared_ptr<const Site> site, bool paper_only)
      : name_(std::move(name)), site_(std::move(site)) {
    options_.paper_only = paper_only;
    ordinary_ = make_static_planner(name_, site_, ordinary_recipes);
  }

  const Site& site() const { return *site_; }
  Plan evaluation(const PlanRequest& request) const { return ordinary_->plan(request); }

  // Layer by layer the search counts with bounds of what an instruction holds for itself, which are
  // wide where little memory is left: an ordinary plan that was judged exactly may then be faster,
  // or the only one that fits.
  Plan plan_within_memory(const PlanRequest& request) const {
    const PlannerFeatures& features = site_->features();
    if (options_.paper_only || !features.elastic_chunking || !features.packing ||
        !site_->cost().layerwise() || site_->limit() <= 0.0) {
      return plan_elastic(request);
    }
    std::optional<Plan> plan;
    std::exception_ptr failure;
    try {
      plan = plan_elastic(request);
    } catch (const RunError&) {
      failure = std::current_exception();
    }
    if (plan && !site_->memory_binds(*plan)) return std::move(*plan);
    try {
      Plan other = ordinary_->plan(request);
      if (!plan || other.predicted->seconds < plan->predicted->seconds) return other;
    } catch (const RunError&) {
      if (!plan) std::rethrow_exception(failure);
    }
    return std::move(*plan);
  }

 private:
  Plan plan_elastic(const PlanRequest& request) const {
    Plan plan = site_->start(request);
    plan.planner.name = name_;
    const auto shares =
        deal_replicas(request.sequences, site_->cost(), plan.parallelism.data_parallel);
    Seconds slowest = -1.0;
    for (std::size_t r = 0; r < shares.size(); ++r) {
      if (shares[r].lengths.empty()) continue;
      plan_share(plan, ReplicaId(r), shares[r], slowest);
    }
    site_->finish(plan);
    return plan;
  }

  static std::vector<StaticRecipe> ordinary_recipes(const std::vector<Tokens>& lengths,
                                                    const Site& site, bool forward_only) {
    std::vector<StaticRecipe> recipes = packed_1f1b_recipes(lengths, site, forward_only);
    for (StaticRecipe& recipe : seq1f1b_recipes(lengths, site, forward_only)) {
      recipes.push_back(std::move(recipe));
    }
    return recipes;
  }

  void plan_share(Plan& plan, ReplicaId replica, const ReplicaShare& share,
                  Seconds& slowest) const {
    // The planner counts on few messages that wait at once. Where the simulator finds that more do
    // and memory does not suffice, the search is given so much less and runs again.
    SearchResult found;
    std::optional<std::size_t> best;
    Bytes less = 0.0;
    for (int attempt = 0;; ++attempt) {
      found =
          search_schedules(share.lengths, less > 0.0 ? site_->with_less(less) : *site_, options_);
      if (found.schedules.empty()) {  // with that much less; the need is against all there is
        site_->fail_memory(plan, found.over_stage, std::max(1.0, found.over_bytes - less));
      }
      Misses misses;
      best = judge(plan, share, found.schedules, misses);
      if (best) break;
      if (attempt == kAttempts) {
        site_->fail_memory(plan, *misses.least.over_stage, misses.least.over_bytes);
      }
      less += attempt < kNearAttempts ? misses.least.over_bytes : misses.most;
    }
    const auto winner = found.schedules.begin() + static_cast<std::ptrdiff_t>(*best);
    std::rotate(found.schedules.begin(), winner, winner + 1);
    const Schedule& first = found.schedules.front();
    Site::place(plan, replica, share,
                make_replica(first.cutting->chunking, first.cutting->table, first.starts,
                             first.steps, first.recompute));
    if (first.seconds <= slowest) return;
    slowest = first.seconds;
    plan.planner.slices = first.cutting->slices;
    plan.planner.schedule = to_string(first.kind);
    plan.planner.solver = first.solver;
    plan.planner.chunk_spread = first.cutting->chunking.spread();
    plan.planner.spread_cause = first.cutting->chunking.spread_cause();
    plan.planner.candidates.clear();
    for (const Schedule& schedule : found.schedules) {
      if (plan.planner.candidates.size() == kReported) break;
      Candidate candidate = schedule.summary();
      candidate.note = plan.planner.candidates.empty()
                           ? "fastest"
                           : percent_slower(candidate.seconds, first.seconds);
      plan.planner.candidates.push_back(std::move(candidate));
    }
  }

  // By how much schedules did not fit.
  struct Misses {
    Evaluation least;
    Bytes most = 0.0;
  };

  // Evaluates the first few exactly and drops those that do not fit; the position of the fastest
  // that does, or none.
  std::optional<std::size_t> judge(const Plan& plan, const ReplicaShare& share,
                                   std::vector<Schedule>& schedules, Misses& misses) const {
    std::optional<std::size_t> winner;
    std::size_t judged = 0;
    for (std::size_t i = 0; i < schedules.size(); ++judged) {
      if (judged >= kFinalists && winner) break;
      Schedule& schedule = schedules[i];
      Plan alone = plan;
      alone.sequences = share.lengths;
      alone.replicas.assign(1, make_replica(schedule.cutting->chunking, schedule.cutting->table,
                                            schedule.starts, schedule.steps, schedule.recompute));
      const Evaluation evaluation = site_->evaluator().evaluate(alone, site_->cost(), ReplicaId{});
      if (evaluation.over_stage) {
        if (!misses.least.over_stage || evaluation.over_bytes < misses.least.over_bytes) {
          misses.least = evaluation;
        }
        misses.most = std::max(misses.most, evaluation.over_bytes);
        schedules.erase(schedules.begin() + static_cast<std::ptrdiff_t>(i));
        continue;
      }
      schedule.seconds = evaluation.seconds;
      if (!winner || schedule.seconds < schedules[*winner].seconds) winner = i;
      ++i;
    }
    return winner;
  }

  std::string name_;
  std::shared_ptr<const Site> site_;
  SearchOptions options_;
  std::unique_ptr<Planner> ordinary_;  // evaluation plans, and rivals
};

// The plan with layers that keep more, where that is faster.
Plan refilled(Plan plan, const Site& site) {
  if (plan.recomputed().layers == 0 || !site.features().adaptive_recompute) return plan;
  std::optional<Plan> fuller = keep_more(plan, site);
  if (!fuller) return plan;
  if (auto& candidates = fuller->planner.candidates; !candidates.empty()) {
    Candidate winner = candidates.front();
    winner.seconds = fuller->predicted->seconds;
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
  fuller->planner.solver = {};  // its bound was of another choice of layers
  return std::move(*fuller);
}

class EppPlanner final : public Planner {
 public:
  EppPlanner(const std::string& name, std::vector<std::shared_ptr<const Site>> sites,
             bool paper_only) {
    for (std::shared_ptr<const Site>& site : sites) {
      levels_.emplace_back(name, std::move(site), paper_only);
    }
    INFINIPIPE_ASSERT(!levels_.empty(), "recomputed layers must keep something");
  }

  Plan plan(const PlanRequest& request) const override {
    if (request.forward_only) return levels_.back().evaluation(request);
    return timed_plan([&] { return fastest(request); });
  }

 private:
  Plan fastest(const PlanRequest& request) const {
    if (levels_.size() == 1) return levels_.front().plan_within_memory(request);
    std::optional<Plan> best;
    std::exception_ptr failure;
    for (const LevelPlanner& level : levels_) {
      try {
        Plan plan = level.plan_within_memory(request);
        if (&level == &levels_.front() && !level.site().memory_binds(plan)) return plan;
        plan = refilled(std::move(plan), level.site());
        if (!best || plan.predicted->seconds < best->predicted->seconds) best = std::move(plan);
      } catch (const RunError&) {
        failure = std::current_exception();  // of the level that needs least, in the end
      }
    }
    if (!best) std::rethrow_exception(failure);
    return std::move(*best);
  }

  std::vector<LevelPlanner> levels_;
};

}  // namespace

std::unique_ptr<Planner> make_epp_planner(const std::string& name,
                                          std::vector<std::shared_ptr<const Site>> sites,
                                          bool paper_only) {
  return std::make_unique<EppPlanner>(name, std::move(sites), paper_only);
}

}  // namespace infinipipe
