#include "planner/recompute/keep_more.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <tuple>
#include <vector>

namespace infinipipe {
namespace {

// Effort. The evaluations from one start run about kInstructions instructions together. That gives
// a number of evaluations for each stage, which is raised to kLeastEvaluations and cut at
// kMostEvaluations. With many stages it is small, and the last bytes of their memory stay unused.
constexpr std::int64_t kInstructions = 200'000;
constexpr std::int64_t kLeastEvaluations = 4;
constexpr std::int64_t kMostEvaluations = 256;
// The share of the limit that may be used. Predicted peaks are off by up to a percent, and this
// search fills memory to the last layer.
constexpr double kFilled = 0.99;

// One layer of a chunk keeps more than before, on the stage that is being filled.
struct Move {
  std::size_t pipeline = 0;
  std::size_t chunk = 0;
  Keep to = Keep::kAll;
  double seconds_per_byte = 0.0;
};

bool before(const Move& a, const Move& b) {
  if (a.seconds_per_byte != b.seconds_per_byte) return a.seconds_per_byte > b.seconds_per_byte;
  return std::tuple(a.pipeline, a.chunk, b.to) < std::tuple(b.pipeline, b.chunk, a.to);
}

// A level as one layer of a chunk sees it.
struct Point {
  Keep level = Keep::kAll;
  Bytes kept = 0.0;              // beside its input
  Seconds remake_seconds = 0.0;  // to make the rest again
};

// Leaves out levels at which it never pays to stop. `points` are in order of bytes kept. A level
// saves some seconds for each byte that it keeps more than the level before. Where the level after
// it saves more seconds for a byte, whoever pays for the first goes on to the second, so the first
// is left out. From one of the remaining levels to the next, the seconds saved by a byte fall.
std::vector<Point> worth_stopping_at(const std::vector<Point>& points) {
  std::vector<Point> steps;
  for (const Point& next : points) {
    while (steps.size() >= 2) {
      const Point& from = steps[steps.size() - 2];
      const Point& middle = steps.back();
      const bool worth = (from.remake_seconds - middle.remake_seconds) * (next.kept - middle.kept) >
                         (middle.remake_seconds - next.remake_seconds) * (middle.kept - from.kept);
      if (worth) break;
      steps.pop_back();
    }
    steps.push_back(next);
  }
  return steps;
}

// Fills the memory of one replica's stages from one start.
//
// Stages are filled one after another, because the bytes of one are of no use to another. For a
// stage, every single step of a layer from one level to the next is a move with a price in seconds
// per byte, and moves are sorted by it. They are then tried all together; where that does not fit,
// the better half and the other half are tried by themselves, and so on. Each try asks the exact
// evaluator.
class Refill final {
 public:
  // `own`: the plan's evaluation as it is.
  Refill(const Plan& plan, const BoundContext& context, ReplicaId replica, const Evaluation& own)
      : context_(context), plan_(plan), replica_(replica), cut_(plan.cut_sequences()) {
    std::int64_t instructions = 1;
    for (const auto& list : content().instructions) {
      instructions += static_cast<std::int64_t>(list.size());
    }
    const auto shares =
        instructions * static_cast<std::int64_t>(plan.stages.size() * plan.replicas.size());
    evaluations_a_stage_ = std::clamp(kInstructions / shares, kLeastEvaluations, kMostEvaluations);
    for (const StagePrediction& stage : own.stages) {
      allowed_.push_back(std::max(stage.peak_bytes, kFilled * context_.limit()));
    }
    const Profile& profile = context_.cost().profile();
    ascending_ = profile.known_levels();
    std::stable_sort(ascending_.begin(), ascending_.end(), [&](Keep a, Keep b) {
      return profile.kept_beside_input(a) < profile.kept_beside_input(b);
    });
  }

  // All layers keep their input alone.
  void keep_inputs() {
    for (Pipeline& pipeline : plan_.replicas[replica_.index()].pipelines) {
      for (Chunk& chunk : pipeline.chunks) {
        for (std::size_t p = 0; p < plan_.stages.size(); ++p) {
          chunk.keeping[p] = Keeping::of(Keep::kInput, plan_.stages[p].count());
        }
      }
    }
  }

  // Fills stage after stage. Evaluations that a stage does not use are left for the next.
  void run() {
    evaluations_ = 0;
    for (std::size_t p = 0; p < plan_.stages.size(); ++p) {
      evaluations_ += evaluations_a_stage_;
      make(StageId(p), moves(StageId(p)));
    }
  }

  Evaluation evaluate() const {
    return context_.evaluator().evaluate(plan_, context_.cost(), replica_);
  }

  bool fits() {
    --evaluations_;
    const Evaluation evaluation = evaluate();
    if (evaluation.over_stage) return false;
    for (std::size_t p = 0; p < allowed_.size(); ++p) {
      if (evaluation.stages[p].peak_bytes > allowed_[p]) return false;
    }
    return true;
  }

  const Replica& content() const { return plan_.replicas[replica_.index()]; }

 private:
  // The levels of a layer of this chunk, by ascending bytes.
  std::vector<Point> points(StageId stage, const ChunkShape& shape) const {
    const CostModel& cost = context_.cost();
    const Keeping input = Keeping::of(Keep::kInput, 1);
    const Bytes held = cost.activation_bytes(stage, shape, input);
    const Bytes held_kv = cost.kept_kv_bytes(stage, shape, input);
    std::vector<Point> points;
    for (const Keep level : ascending_) {
      const Keeping one = Keeping::of(level, 1);
      const Bytes kv = held_kv - cost.kept_kv_bytes(stage, shape, one);
      points.push_back({level, cost.activation_bytes(stage, shape, one) - held - kv,
                        cost.recompute_layer(stage, shape, level)});
    }
    points.push_back({Keep::kAll, cost.activation_bytes(stage, shape, {}) - held - held_kv, 0.0});
    return points;
  }

  // All moves of the stage's layers, those first in which a byte saves most seconds.
  std::vector<Move> moves(StageId stage) const {
    std::vector<Move> result;
    const std::vector<Pipeline>& pipelines = content().pipelines;
    for (std::size_t q = 0; q < pipelines.size(); ++q) {
      for (std::size_t k = 0; k < pipelines[q].chunks.size(); ++k) {
        const Chunk& chunk = pipelines[q].chunks[k];
        const ChunkShape shape = context_.cost().shape(chunk, plan_.sequences, cut_);
        const std::vector<Point> steps = worth_stopping_at(points(stage, shape));
        for (std::size_t i = 1; i < steps.size(); ++i) {
          const Bytes bytes = steps[i].kept - steps[i - 1].kept;
          const int count = layers_below(chunk.kept_on(stage), steps[i].level);
          if (count <= 0 || bytes <= 0.0) continue;
          result.insert(result.end(), static_cast<std::size_t>(count),
                        Move{q, k, steps[i].level,
                             (steps[i - 1].remake_seconds - steps[i].remake_seconds) / bytes});
        }
      }
    }
    std::sort(result.begin(), result.end(), before);
    return result;
  }

  int layers_below(const Keeping& keeping, Keep level) const {
    int count = 0;
    for (const Keep below : ascending_) {
      if (below == level) break;
      count += keeping[below];
    }
    return count;
  }

  // One of the layers that keep least keeps `level`; nothing where none keeps less than that.
  Keeping raised(Keeping keeping, Keep level) const {
    for (const Keep below : ascending_) {
      if (below == level) break;
      if (keeping[below] == 0) continue;
      --keeping[below];
      if (level != Keep::kAll) ++keeping[level];
      break;
    }
    return keeping;
  }

  // Makes those of the moves that fit: all together if possible, else the halves one after another.
  void make(StageId stage, std::span<const Move> moves) {
    if (moves.empty() || evaluations_ <= 0) return;
    std::vector<Keeping> before;
    for (const Move& move : moves) {
      Keeping& keeping = kept(move, stage);
      before.push_back(keeping);
      keeping = raised(keeping, move.to);
    }
    if (fits()) return;
    for (std::size_t i = moves.size(); i-- > 0;) kept(moves[i], stage) = before[i];
    if (moves.size() == 1) return;
    make(stage, moves.first(moves.size() / 2));
    make(stage, moves.subspan(moves.size() / 2));
  }

  Keeping& kept(const Move& move, StageId stage) {
    Pipeline& pipeline = plan_.replicas[replica_.index()].pipelines[move.pipeline];
    return pipeline.chunks[move.chunk].keeping[stage.index()];
  }

  const BoundContext& context_;
  Plan plan_;
  ReplicaId replica_;
  std::vector<bool> cut_;
  std::vector<Bytes> allowed_;            // by stage
  std::vector<Keep> ascending_;           // levels of layers that run again, by what they keep
  std::int64_t evaluations_a_stage_ = 0;  // evaluations of a stage
  std::int64_t evaluations_ = 0;          // of these, left
};

}  // namespace

std::optional<Plan> keep_more(const Plan& plan, const BoundContext& context) {
  Plan best = plan;
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const ReplicaId replica(r);
    const Evaluation own = context.evaluator().evaluate(plan, context.cost(), replica);
    Seconds least = own.seconds;
    for (const bool anew : {false, true}) {
      Refill refill(plan, context, replica, own);
      if (anew) {
        refill.keep_inputs();
        if (!refill.fits()) continue;
      }
      refill.run();
      if (const Seconds now = refill.evaluate().seconds; now < least) {
        least = now;
        best.replicas[r] = refill.content();
      }
    }
  }
  if (best.replicas == plan.replicas) return std::nullopt;
  context.finish(best);
  if (best.predicted->seconds >= plan.predicted->seconds) return std::nullopt;
  return best;
}

}  // namespace infinipipe
