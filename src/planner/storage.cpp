#include "planner/storage.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <tuple>
#include <vector>

namespace infinipipe {
namespace {

// Instructions that all evaluations of a replica may run, about, and bounds of their number.
constexpr std::int64_t kInstructions = 200'000;
constexpr std::int64_t kLeastEvaluations = 16;
constexpr std::int64_t kMostEvaluations = 512;

// One layer of a (stage, chunk) is to keep more.
struct Move {
  std::size_t stage = 0;
  std::size_t pipeline = 0;
  std::size_t chunk = 0;
  double seconds_per_byte = 0.0;

  auto place() const { return std::tie(stage, pipeline, chunk); }
};

class Storage final {
 public:
  Storage(const Plan& plan, const Site& site, ReplicaId replica)
      : site_(site), plan_(plan), replica_(replica), cut_(plan.cut_sequences()) {
    std::int64_t instructions = 1;
    for (const auto& list : content().instructions) {
      instructions += static_cast<std::int64_t>(list.size());
    }
    evaluations_ = std::clamp(kInstructions / instructions, kLeastEvaluations, kMostEvaluations);
    each([&](std::size_t, Chunk& chunk) { chunk.attention_kept.resize(plan_.stages.size(), 0); });
  }

  // All layers keep their input alone.
  void keep_inputs() {
    each([&](std::size_t p, Chunk& chunk) {
      chunk.recompute[p] = plan_.stages[p].count();
      chunk.attention_kept[p] = 0;
    });
  }

  // False where what is kept already does not fit.
  bool keep_more() {
    if (!fits()) return false;
    keep(attention_moves(), [](Chunk& chunk, std::size_t p) { ++chunk.attention_kept[p]; });
    keep(layer_moves(), [](Chunk& chunk, std::size_t p) {
      --chunk.recompute[p];
      chunk.attention_kept[p] = std::min(chunk.attention_kept[p], chunk.recompute[p]);
    });
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

  bool fits() {
    --evaluations_;
    return !site_.evaluator().evaluate(plan_, site_.cost(), replica_).over_stage;
  }

  // `moves_of(chunk on stage, shape)` moves of the same worth for each (stage, chunk), best first.
  template <class Worth>
  std::vector<Move> moves(const Worth& worth) const {
    std::vector<Move> result;
    const std::vector<Pipeline>& pipelines = content().pipelines;
    for (std::size_t q = 0; q < pipelines.size(); ++q) {
      for (std::size_t k = 0; k < pipelines[q].chunks.size(); ++k) {
        const Chunk& chunk = pipelines[q].chunks[k];
        const ChunkShape shape = chunk_shape(chunk, plan_.sequences, cut_);
        for (std::size_t p = 0; p < plan_.stages.size(); ++p) {
          const auto [count, seconds, bytes] = worth(StageId(p), shape, chunk);
          if (bytes <= 0.0 || seconds <= 0.0) continue;
          result.insert(result.end(), static_cast<std::size_t>(count),
                        Move{p, q, k, seconds / bytes});
        }
      }
    }
    std::sort(result.begin(), result.end(), [](const Move& a, const Move& b) {
      return a.seconds_per_byte != b.seconds_per_byte ? a.seconds_per_byte > b.seconds_per_byte
                                                      : a.place() < b.place();
    });
    return result;
  }

  struct Worth {
    int count = 0;
    Seconds seconds = 0.0;
    Bytes bytes = 0.0;
  };

  std::vector<Move> attention_moves() const {
    return moves([&](StageId stage, const ChunkShape& shape, const Chunk& chunk) {
      const CostModel& cost = site_.cost();
      const Recompute again = chunk.recompute_on(stage);
      return Worth{
          again.layers - again.attention_kept,
          cost.recompute_layer(stage, shape) - cost.recompute_layer(stage, shape, true),
          cost.activation_bytes(stage, shape, {1, 1}) - cost.activation_bytes(stage, shape, 1)};
    });
  }

  // Those that recompute around attention are worth the least; others are as likely to be left.
  std::vector<Move> layer_moves() const {
    return moves([&](StageId stage, const ChunkShape& shape, const Chunk& chunk) {
      const CostModel& cost = site_.cost();
      const Recompute again = chunk.recompute_on(stage);
      const int kept = again.attention_kept == again.layers ? 1 : 0;
      return Worth{again.layers, cost.recompute_layer(stage, shape, kept == 1),
                   cost.activation_bytes(stage, shape, 0) -
                       cost.activation_bytes(stage, shape, {1, kept}) -
                       cost.kept_kv_bytes(stage, shape, 1)};
    });
  }

  // Makes all of the moves that fit: together, else in halves.
  template <class Make>
  void keep(std::span<const Move> moves, const Make& make) {
    if (moves.empty() || evaluations_ <= 0) return;
    std::vector<Chunk*> chunks;
    std::vector<Recompute> before;
    for (const Move& move : moves) {
      Chunk& chunk = plan_.replicas[replica_.index()].pipelines[move.pipeline].chunks[move.chunk];
      chunks.push_back(&chunk);
      before.push_back(chunk.recompute_on(StageId(move.stage)));
      make(chunk, move.stage);
    }
    if (fits()) return;
    for (std::size_t i = moves.size(); i-- > 0;) {
      chunks[i]->recompute[moves[i].stage] = before[i].layers;
      chunks[i]->attention_kept[moves[i].stage] = before[i].attention_kept;
    }
    if (moves.size() == 1) return;
    keep(moves.first(moves.size() / 2), make);
    keep(moves.subspan(moves.size() / 2), make);
  }
  template <class Make>
  void keep(const std::vector<Move>& moves, const Make& make) {
    keep(std::span<const Move>(moves), make);
  }

  const Site& site_;
  Plan plan_;
  ReplicaId replica_;
  std::vector<bool> cut_;
  std::int64_t evaluations_ = 0;
};

}  // namespace

std::optional<Plan> store_anew(const Plan& plan, const Site& site) {
  Plan best = plan;
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const ReplicaId replica(r);
    const auto seconds = [&](const Plan& each) {
      return site.evaluator().evaluate(each, site.cost(), replica).seconds;
    };
    Seconds least = seconds(best);
    for (const bool anew : {false, true}) {
      Storage storage(plan, site, replica);
      if (anew) storage.keep_inputs();
      if (!storage.keep_more()) continue;
      Plan trial = best;
      trial.replicas[r] = storage.content();
      if (const Seconds now = seconds(trial); now < least) {
        least = now;
        best = std::move(trial);
      }
    }
  }
  if (best.replicas == plan.replicas) return std::nullopt;
  site.finish(best);
  if (best.predicted->seconds >= plan.predicted->seconds) return std::nullopt;
  return best;
}

}  // namespace infinipipe
