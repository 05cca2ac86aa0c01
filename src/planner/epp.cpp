#include "planner/epp.h"

#include <algorithm>
#include <array>
#include <exception>
#include <limits>
#include <optional>

#include "infinipipe/base/error.h"
#include "planner/ordinary/ordinary_planner.h"
#include "planner/recompute/keep_more.h"
#include "planner/search/draft.h"
#include "planner/search/pass_log.h"
#include "planner/timed_plan.h"

namespace infinipipe {

namespace {

// The passes that look for schedules, in order: each adds what it finds to the draft, and a later
// one need not look where the best so far cannot be beaten. After them the fastest few are judged
// exactly; then come ordinary plans and keeping more. Layer split, cutting, packing, grouping,
// split backward and adaptive recomputation act inside these.
struct SearchPass {
  Pass pass;
  void (*run)(Draft& draft);
};
constexpr std::array kSearchPasses = {
    SearchPass{Pass::kListSchedules, search_lists},
    SearchPass{Pass::kDegrees, search_degrees},
    SearchPass{Pass::kOrdinaryOrders, search_ordinary},
    SearchPass{Pass::kProgramme, search_programme},
};

// Simulated steps that one pass may spend.
constexpr double kEffort = 3e6;
// How many of a search's schedules are evaluated exactly, and how many the plan tells about.
constexpr std::size_t kFinalists = 3;
constexpr std::size_t kReported = 6;
// How often a search whose schedules did not fit runs again with less memory to plan for.
constexpr int kAttempts = 4;
// So many of these searches get less memory by what the nearest schedule lacked; the later ones by
// what the worst schedule lacked.
constexpr int kNearAttempts = 2;

// Ordinary orders and plans are only tried beside elastic ones. Where a pass of elastic chunking is
// switched off, the search already cuts or packs as ordinary systems do.
bool cuts_elastically(const BoundContext& context) {
  return context.has(Pass::kElasticCutting) && context.has(Pass::kPacking);
}

Seconds seconds_of(const std::optional<Plan>& plan) {
  return plan ? plan->predicted->seconds : std::numeric_limits<double>::infinity();
}

// Of schedules that the simulator found not to fit: the evaluation of the one that lacks fewest
// bytes, and the most bytes that any of them lacks.
struct Misses {
  Evaluation nearest;
  Bytes most = 0.0;
};

// Plans in which all recomputed layers keep the same.
class LevelPlanner final {
 public:
  LevelPlanner(std::string name, std::shared_ptr<const BoundContext> context)
      : name_(std::move(name)), context_(std::move(context)) {
    ordinary_ = make_ordinary_planner(name_, context_, rival_recipes);
  }

  const BoundContext& context() const { return *context_; }
  Plan evaluation(const PlanRequest& request) const { return ordinary_->plan(request); }

  // Layer by layer the search counts with bounds of what an instruction holds for itself, which are
  // wide where little memory is left: an ordinary plan that was judged exactly may then be faster,
  // or the only one that fits.
  Plan plan(const PlanRequest& request, PassLog& log) const {
    const bool exact = !context_->cost().layerwise() || context_->limit() <= 0.0;
    if (exact || !cuts_elastically(*context_) || !context_->has(Pass::kOrdinaryPlans)) {
      return search(request, log);
    }
    std::optional<Plan> best;
    std::exception_ptr failure;
    try {
      best = search(request, log);
    } catch (const RunError&) {
      failure = std::current_exception();
    }
    if (best && !context_->memory_binds(*best)) return std::move(*best);
    log.run(
        Pass::kOrdinaryPlans, [&] { return seconds_of(best); },
        [&] {
          try {
            Plan other = ordinary_->plan(request);
            if (other.predicted->seconds < seconds_of(best)) best = std::move(other);
          } catch (const RunError&) {
            if (!best) std::rethrow_exception(failure);
          }
        });
    return std::move(*best);
  }

 private:
  Plan search(const PlanRequest& request, PassLog& log) const {
    return context_->plan_by_shares(
        name_, request,
        [&](const Plan& plan, const ReplicaShare& share) { return plan_share(plan, share, log); });
  }

  // Runs the search passes on a fresh draft.
  Draft searched(const std::vector<Tokens>& lengths, const BoundContext& context,
                 PassLog& log) const {
    Draft draft(lengths, context, kEffort);
    if (draft.bounds().empty()) return draft;
    for (const SearchPass& pass : kSearchPasses) {
      if (!context.has(pass.pass)) continue;
      if (pass.pass == Pass::kOrdinaryOrders && !cuts_elastically(context)) continue;
      if (pass.pass == Pass::kDegrees &&
          (draft.sub_groups().empty() || !context.has(Pass::kListSchedules) ||
           !cuts_elastically(context)))
        continue;
      log.run(
          pass.pass, [&] { return draft.best_seconds(); }, [&] { pass.run(draft); });
    }
    return draft;
  }

  PlannedShare plan_share(const Plan& plan, const ReplicaShare& share, PassLog& log) const {
    // The planner counts on few messages that wait at once. Where the simulator finds that more do
    // and memory does not suffice, the search is given so much less and runs again.
    std::vector<Schedule> schedules;
    std::optional<std::size_t> best;
    Bytes less = 0.0;
    for (int attempt = 0;; ++attempt) {
      const BoundContext context = context_->with_less(less);
      Draft draft = searched(share.lengths, context, log);
      schedules = draft.take();
      if (schedules.empty()) {  // with that much less; the need is against all there is
        const Bytes over = std::max(1.0, draft.over_bytes()) - less;
        context_->fail_memory(plan, draft.over_stage(), std::max(1.0, over));
      }
      Misses misses;
      best = judge(plan, share, schedules, misses);
      if (best) break;
      if (attempt == kAttempts) {
        context_->fail_memory(plan, *misses.nearest.over_stage, misses.nearest.over_bytes);
      }
      less += attempt < kNearAttempts ? misses.nearest.over_bytes : misses.most;
    }
    const auto winner = schedules.begin() + static_cast<std::ptrdiff_t>(*best);
    std::rotate(schedules.begin(), winner, winner + 1);
    const Schedule& first = schedules.front();
    return {first.replica(), first.seconds, report(schedules)};
  }

  static PlannerReport report(const std::vector<Schedule>& schedules) {
    const Schedule& first = schedules.front();
    PlannerReport planner;
    planner.slices = first.slices;
    planner.schedule = first.name;
    planner.solver = first.solver;
    planner.chunk_spread = first.chunking->spread();
    planner.spread_cause = first.chunking->spread_cause();
    for (const Schedule& schedule : schedules) {
      if (planner.candidates.size() == kReported) break;
      Candidate candidate = schedule.summary();
      candidate.note =
          planner.candidates.empty() ? "fastest" : percent_slower(candidate.seconds, first.seconds);
      planner.candidates.push_back(std::move(candidate));
    }
    return planner;
  }

  // Evaluates the first few exactly and drops those that do not fit; the position of the fastest
  // that does, or none.
  std::optional<std::size_t> judge(const Plan& plan, const ReplicaShare& share,
                                   std::vector<Schedule>& schedules, Misses& misses) const {
    std::optional<std::size_t> winner;
    std::size_t judged = 0;
    for (std::size_t i = 0; i < schedules.size(); ++judged) {
      if (judged >= kFinalists && winner) break;
      Schedule& schedule = schedules[i];
      const Evaluation evaluation = context_->evaluator().evaluate(
          BoundContext::alone(plan, share, schedule.replica()), context_->cost(), ReplicaId{});
      if (evaluation.over_stage) {
        if (!misses.nearest.over_stage || evaluation.over_bytes < misses.nearest.over_bytes) {
          misses.nearest = evaluation;
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
  std::shared_ptr<const BoundContext> context_;
  std::unique_ptr<Planner> ordinary_;  // evaluation plans, and rivals
};

// The plan whose layers keep more, with the plan that it was made from as its second candidate.
Plan with_candidates(Plan fuller) {
  if (auto& candidates = fuller.planner.candidates; !candidates.empty()) {
    Candidate winner = candidates.front();
    winner.seconds = fuller.predicted->seconds;
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
  fuller.planner.solver = {};  // its bound was of another choice of layers
  return fuller;
}

class EppPlanner final : public Planner {
 public:
  EppPlanner(const std::string& name, std::vector<std::shared_ptr<const BoundContext>> contexts) {
    for (std::shared_ptr<const BoundContext>& context : contexts) {
      levels_.emplace_back(name, std::move(context));
    }
    INFINIPIPE_ASSERT(!levels_.empty(), "recomputed layers must keep something");
    const BoundContext& any = levels_.front().context();
    if (any.has(Pass::kListSchedules) || any.has(Pass::kProgramme)) return;
    throw InputError("planner.disable", "found " + any.config().passes.disabled_names(),
                     std::string("expected ") + to_string(Pass::kListSchedules) + " or " +
                         to_string(Pass::kProgramme) + " to be left",
                     "nothing else finds a schedule for every batch");
  }

  Plan plan(const PlanRequest& request) const override {
    if (request.forward_only) return levels_.back().evaluation(request);
    return timed_plan([&] {
      PassLog log;
      Plan plan = fastest(request, log);
      plan.planner.passes = log.reports();
      return plan;
    });
  }

 private:
  Plan fastest(const PlanRequest& request, PassLog& log) const {
    if (levels_.size() == 1) return levels_.front().plan(request, log);
    std::optional<Plan> best;
    std::exception_ptr failure;
    for (const LevelPlanner& level : levels_) {
      try {
        Plan plan = level.plan(request, log);
        if (&level == &levels_.front() && !level.context().memory_binds(plan)) return plan;
        refill(plan, level.context(), log);
        if (plan.predicted->seconds < seconds_of(best)) best = std::move(plan);
      } catch (const RunError&) {
        failure = std::current_exception();  // in the end that of the level that needs least
      }
    }
    if (!best) std::rethrow_exception(failure);
    return std::move(*best);
  }

  // Lets layers keep more, where that is faster.
  static void refill(Plan& plan, const BoundContext& context, PassLog& log) {
    if (!context.has(Pass::kKeepMore) || !context.has(Pass::kAdaptiveRecompute)) return;
    if (plan.recomputed().layers == 0) return;
    log.run(
        Pass::kKeepMore, [&] { return plan.predicted->seconds; },
        [&] {
          if (std::optional<Plan> fuller = keep_more(plan, context)) {
            plan = with_candidates(std::move(*fuller));
          }
        });
  }

  std::vector<LevelPlanner> levels_;
};

}  // namespace

std::unique_ptr<Planner> make_epp_planner(
    const std::string& name, std::vector<std::shared_ptr<const BoundContext>> contexts) {
  return std::make_unique<EppPlanner>(name, std::move(contexts));
}

}  // namespace infinipipe
