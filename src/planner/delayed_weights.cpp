#include "planner/delayed_weights.h"

#include <algorithm>
#include <deque>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

constexpr Seconds kUnknown = -1.0;

class DelayedWeights final {
 public:
  DelayedWeights(const Pipeline& pipeline, const std::vector<Tokens>& sequences,
                 const CostModel& cost, int held)
      : pipeline_(pipeline), cost_(cost), held_(held) {
    std::vector<bool> cut(sequences.size(), false);
    for (const Chunk& chunk : pipeline.chunks) {
      if (chunk.kind != ChunkKind::kBatched) cut[chunk.slices.at(0).sequence.index()] = true;
    }
    for (const Chunk& chunk : pipeline.chunks)
      shapes_.push_back(chunk_shape(chunk, sequences, cut));
    const auto stages = static_cast<std::size_t>(cost.stage_count());
    stages_.resize(stages);
    const InstructionLists order = one_f_one_b({pipeline}, cost.stage_count());
    for (std::size_t p = 0; p < stages; ++p) {
      stages_[p].order = order[p];
      stages_[p].activation.assign(shapes_.size(), p == 0 ? 0.0 : kUnknown);
      stages_[p].gradient.assign(shapes_.size(), p + 1 == stages ? 0.0 : kUnknown);
    }
  }

  InstructionLists run() {
    std::size_t left = 0;
    for (const Stage& stage : stages_) left += stage.order.size();
    while (left > 0) {
      const std::size_t before = left;
      for (std::size_t p = 0; p < stages_.size(); ++p) {
        while (step(p)) --left;
      }
      INFINIPIPE_ASSERT(left < before, "1F1B order with a deadlock");
    }
    InstructionLists lists;
    for (std::size_t p = 0; p < stages_.size(); ++p) {
      while (!stages_[p].waiting.empty()) run_weight(p);
      lists.push_back(std::move(stages_[p].list));
    }
    return lists;
  }

 private:
  struct Stage {
    std::vector<Instruction> order;  // F and B as in 1F1B
    std::size_t next = 0;
    std::vector<Instruction> list;    // what comes out
    std::deque<Instruction> waiting;  // W that may run
    std::vector<Seconds> activation;  // by chunk: when it has come from the stage before
    std::vector<Seconds> gradient;    // from the stage after
    Seconds free = 0.0;               // when the stage is
    Seconds forward_link = 0.0;       // to the stage after
    Seconds backward_link = 0.0;      // to the stage before
  };

  // Runs the stage's next forward or input gradient, and held weight gradients before it, if what
  // it needs is known.
  bool step(std::size_t p) {
    Stage& stage = stages_[p];
    if (stage.next == stage.order.size()) return false;
    const Instruction next = stage.order[stage.next];
    const std::size_t chunk = next.chunk.index();
    const bool forward = next.op == Op::kForward;
    const Seconds ready = forward ? stage.activation[chunk] : stage.gradient[chunk];
    if (ready == kUnknown) return false;
    while (!stage.waiting.empty() && stage.free + 0.5 * weight_seconds(p) <= ready) run_weight(p);
    const StageId id(p);
    const ChunkShape& shape = shapes_[chunk];
    stage.free = std::max(stage.free, ready);
    if (forward) {
      stage.free += cost_.forward(id, shape);
      if (p + 1 < stages_.size()) {
        stage.forward_link =
            std::max(stage.free, stage.forward_link) + cost_.transfer(shape.tokens);
        stages_[p + 1].activation[chunk] = stage.forward_link;
      }
      stage.list.push_back(next);
    } else {
      stage.free += cost_.input_grad(id, shape) +
                    cost_.recompute(id, shape, pipeline_.chunks[chunk].kept_on(id));
      if (p > 0) {
        stage.backward_link =
            std::max(stage.free, stage.backward_link) + cost_.transfer(shape.tokens);
        stages_[p - 1].gradient[chunk] = stage.backward_link;
      }
      stage.list.push_back({Op::kInputGrad, next.pipeline, next.chunk});
      stage.waiting.push_back({Op::kWeightGrad, next.pipeline, next.chunk});
      while (held_ >= 0 && stage.waiting.size() > static_cast<std::size_t>(held_)) run_weight(p);
    }
    ++stage.next;
    return true;
  }

  Seconds weight_seconds(std::size_t p) const {
    return cost_.weight_grad(StageId(p), shapes_[stages_[p].waiting.front().chunk.index()]);
  }

  void run_weight(std::size_t p) {
    Stage& stage = stages_[p];
    stage.free += weight_seconds(p);
    stage.list.push_back(stage.waiting.front());
    stage.waiting.pop_front();
  }

  const Pipeline& pipeline_;
  const CostModel& cost_;
  const int held_;
  std::vector<ChunkShape> shapes_;
  std::vector<Stage> stages_;
};

}  // namespace

InstructionLists one_f_one_b_delayed(const Pipeline& pipeline, const std::vector<Tokens>& sequences,
                                     const CostModel& cost, int held) {
  return DelayedWeights(pipeline, sequences, cost, held).run();
}

}  // namespace infinipipe
