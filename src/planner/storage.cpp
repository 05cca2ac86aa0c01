#include "planner/storage.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <tuple>
#include <vector>

namespace infinipipe {
namespace {

// Instructions that the evaluations from one start may run, about, and bounds of the number of
// evaluations for a stage, the first of which wins: with many stages the last bytes stay unused.
constexpr std::int64_t kInstructions = 200'000;
constexpr std::int64_t kLeastEvaluations = 4;
constexpr std::int64_t kMostEvaluations = 256;
// Of the limit: predicted peaks are off by up to a percent, and what is filled here is filled to
// the last layer.
constexpr double kFilled = 0.99;

// One layer of a chunk, on the stage in hand, is to keep more: its attention, or everything.
struct Move {
  std::size_t pipeline = 0;
  std::size_t chunk = 0;
  bool attention = false;
  double seconds_per_byte = 0.0;

  auto place() const { return std::tie(pipeline, chunk, attention); }
};

class Storage final {
 public:
  // `own`: the plan's evaluation as it is.
  Storage(const Plan& plan, const Site& site, ReplicaId replica, const Evaluation& own)
      : site_(site), plan_(plan), replica_(replica), cut_(plan.cut_sequences()) {
    std::int64_t instructions = 1;
    for (const auto& list : content().instructions) {
      instructions += static_cast<std::int64_t>(list.size());
    }
    const auto shares =
        instructions * static_cast<std::int64_t>(plan.stages.size() * plan.replicas.size());
    budget_ = std::clamp(kInstructions / shares, kLeastEvaluations, kMostEvaluations);
    for (const StagePrediction& stage : own.stages) {
      allowed_.push_back(std::max(stage.peak_bytes, kFilled * site_.limit()));
    }
    each([&](std::size_t, Chunk& chunk) { chunk.attention_kept.resize(plan_.stages.size(), 0); });
  }

  // All layers keep their input alone.
  void keep_inputs() {
    each([&](std::size_t p, Chunk& chunk) {
      chunk.recompute[p] = plan_.stages[p].count();
      chunk.attention_kept[p] = 0;
    });
  }

  // Stage by stage: one's bytes are of no use to another.
  void keep_more() {
    evaluations_ = 0;
    for (std::size_t p = 0; p < plan_.stages.size(); ++p) {
      evaluations_ += budget_;  // what one leaves the next may use
      keep(StageId(p), moves(StageId(p)));
    }
  }

  Evaluation evaluate() const { return site_.evaluator().evaluate(plan_, site_.cost(), replica_); }

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
  template <class Visit>
  void each(const Visit& visit) {
    for (Pipeline& pipeline : plan_.replicas[replica_.index()].pipelines) {
      for (Chunk& chunk : pipeline.chunks) {
        for (std::size_t p = 0; p < plan_.stages.size(); ++p) visit(p, chunk);
      }
    }
  }

  // What all layers may keep more, most seconds a byte first.
  std::vector<Move> moves(StageId stage) const {
    const CostModel& cost = site_.cost();
    std::vector<Move> result;
    const std::vector<Pipeline>& pipelines = content().pipelines;
    for (std::size_t q = 0; q < pipelines.size(); ++q) {
      for (std::size_t k = 0; k < pipelines[q].chunks.size(); ++k) {
        const Chunk& chunk = pipelines[q].chunks[k];
        const ChunkShape shape = chunk_shape(chunk, plan_.sequences, cut_);
        const Recompute again = chunk.recompute_on(stage);
        const auto add = [&](bool attention, int count, Seconds seconds, Bytes bytes) {
          if (count <= 0 || bytes <= 0.0) return;
          result.insert(result.end(), static_cast<std::size_t>(count),
                        Move{q, k, attention, seconds / bytes});
        };
        const Seconds whole = cost.recompute_layer(stage, shape);
        const Seconds around = cost.recompute_layer(stage, shape, true);
        const Bytes input = cost.activation_bytes(stage, shape, 1);
        const Bytes all =
            cost.activation_bytes(stage, shape, 0) - input - cost.kept_kv_bytes(stage, shape, 1);
        const Bytes attention = cost.activation_bytes(stage, shape, {1, 1}) - input;
        const Bytes rest = all - attention;
        // Where attention is worth less a byte than the rest, it is no step of its own.
        if ((whole - around) * rest > around * attention) {
          add(true, again.layers - again.attention_kept, whole - around, attention);
          add(false, again.layers, around, rest);
        } else {
          add(false, again.layers, whole, all);
        }
      }
    }
    std::sort(result.begin(), result.end(), [](const Move& a, const Move& b) {
      return a.seconds_per_byte != b.seconds_per_byte ? a.seconds_per_byte > b.seconds_per_byte
                                                      : a.place() < b.place();
    });
    return result;
  }

  // Makes all of the moves that fit: together, else in halves.
  void keep(StageId stage, std::span<const Move> moves) {
    if (moves.empty() || evaluations_ <= 0) return;
    std::vector<Recompute> before;
    for (const Move& move : moves) {
      const Recompute again = chunk_of(move).recompute_on(stage);
      before.push_back(again);
      if (move.attention) {
        store(move, stage, {again.layers, std::min(again.attention_kept + 1, again.layers)});
      } else {
        const int layers = std::max(again.layers - 1, 0);
        store(move, stage, {layers, std::min(again.attention_kept, layers)});
      }
    }
    if (fits()) return;
    for (std::size_t i = moves.size(); i-- > 0;) store(moves[i], stage, before[i]);
    if (moves.size() == 1) return;
    keep(stage, moves.first(moves.size() / 2));
    keep(stage, moves.subspan(moves.size() / 2));
  }

  Chunk& chunk_of(const Move& move) {
    return plan_.replicas[replica_.index()].pipelines[move.pipeline].chunks[move.chunk];
  }
  void store(const Move& move, StageId stage, Recompute again) {
    Chunk& chunk = chunk_of(move);
    chunk.recompute[stage.index()] = again.layers;
    chunk.attention_kept[stage.index()] = again.attention_kept;
  }

  const Site& site_;
  Plan plan_;
  ReplicaId replica_;
  std::vector<bool> cut_;
  std::vector<Bytes> allowed_;    // by stage
  std::int64_t budget_ = 0;       // evaluations of a stage
  std::int64_t evaluations_ = 0;  // of these, left
};

}  // namespace

std::optional<Plan> store_anew(const Plan& plan, const Site& site) {
  Plan best = plan;
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const ReplicaId replica(r);
    const Evaluation own = site.evaluator().evaluate(plan, site.cost(), replica);
    Seconds least = own.seconds;
    for (const bool anew : {false, true}) {
      Storage storage(plan, site, replica, own);
      if (anew) {
        storage.keep_inputs();
        if (!storage.fits()) continue;
      }
      storage.keep_more();
      if (const Seconds now = storage.evaluate().seconds; now < least) {
        least = now;
        best.replicas[r] = storage.content();
      }
    }
  }
  if (best.replicas == plan.replicas) return std::nullopt;
  site.finish(best);
  if (best.predicted->seconds >= plan.predicted->seconds) return std::nullopt;
  return best;
}

}  // namespace infinipipe
