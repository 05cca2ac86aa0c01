#include "planner/epp.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "planner/search.h"
#include "planner/static_planner.h"

namespace infinipipe {

namespace {

// How many of a search's schedules are evaluated exactly, and how many the plan tells about.
constexpr std::size_t kFinalists = 3;
constexpr std::size_t kReported = 6;
// Searches with less memory than there is, after one whose plans did not fit.
constexpr int kAttempts = 4;

std::string percent_slower(Seconds seconds, Seconds best) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.1f%% slower",
                best > 0.0 ? 100.0 * (seconds / best - 1.0) : 0.0);
  return text;
}

class EppPlanner final : public Planner {
 public:
  EppPlanner(std::string name, std::shared_ptr<const Site> site, bool paper_only)
      : name_(std::move(name)), site_(std::move(site)) {
    options_.paper_only = paper_only;
    forward_ = make_static_planner(name_, site_, forward_recipes);
  }

  Plan plan(const PlanRequest& request) const override {
    if (request.forward_only) return forward_->plan(request);
    const auto started = std::chrono::steady_clock::now();
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
    plan.planner.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    return plan;
  }

 private:
  static std::vector<StaticRecipe> forward_recipes(const std::vector<Tokens>& lengths,
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
    std::size_t winner = 0;
    Bytes less = 0.0;
    for (int attempt = 0;; ++attempt) {
      found =
          search_schedules(share.lengths, less > 0.0 ? site_->with_less(less) : *site_, options_);
      if (found.schedules.empty()) site_->fail_memory(plan, found.over_stage, found.over_bytes);
      Evaluation miss;
      winner = judge(plan, share, found.schedules, miss);
      if (winner < found.schedules.size()) break;
      if (attempt == kAttempts) site_->fail_memory(plan, *miss.over_stage, miss.over_bytes);
      less += miss.over_bytes;
    }
    std::rotate(found.schedules.begin(),
                found.schedules.begin() + static_cast<std::ptrdiff_t>(winner),
                found.schedules.begin() + static_cast<std::ptrdiff_t>(winner) + 1);
    const Schedule& first = found.schedules.front();
    Site::place(plan, replica, share,
                make_replica(first.cutting->chunking, first.cutting->table, first.starts,
                             first.steps, first.recompute));
    if (first.seconds <= slowest) return;
    slowest = first.seconds;
    plan.planner.slices = first.cutting->slices;
    plan.planner.schedule = first.name;
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

  // Evaluates the first few exactly; the position of the fastest that fits, or how many there are
  // and in `miss` by how much the last one does not.
  std::size_t judge(const Plan& plan, const ReplicaShare& share, std::vector<Schedule>& schedules,
                    Evaluation& miss) const {
    std::size_t winner = schedules.size();
    for (std::size_t i = 0; i < schedules.size(); ++i) {
      if (i >= kFinalists && winner < schedules.size()) break;
      Schedule& schedule = schedules[i];
      Plan alone = plan;
      alone.sequences = share.lengths;
      alone.replicas.assign(1, make_replica(schedule.cutting->chunking, schedule.cutting->table,
                                            schedule.starts, schedule.steps, schedule.recompute));
      const Evaluation evaluation = site_->evaluator().evaluate(alone, site_->cost(), ReplicaId{});
      if (evaluation.over_stage) {
        miss = evaluation;
        continue;
      }
      schedule.seconds = evaluation.seconds;
      if (winner == schedules.size() || schedule.seconds < schedules[winner].seconds) winner = i;
    }
    return winner;
  }

  std::string name_;
  std::shared_ptr<const Site> site_;
  SearchOptions options_;
  std::unique_ptr<Planner> forward_;
};

}  // namespace

std::unique_ptr<Planner> make_epp_planner(std::shared_ptr<const Site> site, bool paper_only) {
  return std::make_unique<EppPlanner>(paper_only ? "epp-1f1b" : "epp", std::move(site), paper_only);
}

}  // namespace infinipipe
