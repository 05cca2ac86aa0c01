#include "planner/schedules/held_weights.h"

#include <deque>

#include "cost/pipeline_clock.h"

namespace infinipipe {

namespace {

// What one_f_one_b_held() decides from: the chunks' shapes and the time of their messages.
struct Shapes {
  std::vector<ChunkShape> chunks;
  std::vector<Seconds> transfer;

  Shapes(const Pipeline& pipeline, const std::vector<Tokens>& sequences, const CostModel& cost) {
    std::vector<bool> cut(sequences.size(), false);
    for (const Chunk& chunk : pipeline.chunks) {
      if (chunk.kind != ChunkKind::kBatched) cut[chunk.slices.at(0).sequence.index()] = true;
    }
    for (const Chunk& chunk : pipeline.chunks) {
      chunks.push_back(cost.shape(chunk, sequences, cut));
      transfer.push_back(cost.transfer(chunks.back()));
    }
  }
};

class HeldWeights final {
 public:
  HeldWeights(const Pipeline& pipeline, const std::vector<Tokens>& sequences, const CostModel& cost,
              int held)
      : pipeline_(pipeline),
        cost_(cost),
        held_(held),
        shapes_(pipeline, sequences, cost),
        clock_(static_cast<std::size_t>(cost.stage_count()), shapes_.transfer) {
    for (std::vector<Instruction>& order : one_f_one_b({pipeline}, cost.stage_count())) {
      stages_.push_back({.order = std::move(order)});
    }
  }

  InstructionLists run() {
    std::size_t total = 0;
    for (const Stage& stage : stages_) total += stage.order.size();
    run_to_end(stages_.size(), total, [this](std::size_t p) {
      const std::size_t before = stages_[p].next;
      while (step(p)) ++stages_[p].next;
      return stages_[p].next - before;
    });
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
    std::vector<Instruction> list{};    // what comes out
    std::deque<Instruction> waiting{};  // W that may run
  };

  // Runs the stage's next forward or input gradient, and held weight gradients before it, if what
  // it needs is known.
  bool step(std::size_t p) {
    Stage& stage = stages_[p];
    if (stage.next == stage.order.size()) return false;
    const Instruction next = stage.order[stage.next];
    const std::size_t chunk = next.chunk.index();
    const Seconds ready = clock_.arrival(next.op, p, chunk);
    if (ready == PipelineClock::kNotArrived) return false;
    const bool may_wait = clock_.takes_message(next.op, p);
    while (may_wait && !stage.waiting.empty() &&
           clock_.free(p) + 0.5 * weight_seconds(p) <= ready) {
      run_weight(p);
    }
    const StageId id(p);
    const ChunkShape& shape = shapes_.chunks[chunk];
    if (next.op == Op::kForward) {
      clock_.run(next.op, p, chunk, cost_.forward(id, shape));
      stage.list.push_back(next);
      return true;
    }
    const Keeping& keeping = pipeline_.chunks[chunk].kept_on(id);
    clock_.run(Op::kInputGrad, p, chunk,
               cost_.input_grad(id, shape) + cost_.recompute(id, shape, keeping));
    stage.list.push_back({Op::kInputGrad, next.pipeline, next.chunk});
    stage.waiting.push_back({Op::kWeightGrad, next.pipeline, next.chunk});
    while (held_ >= 0 && stage.waiting.size() > static_cast<std::size_t>(held_)) run_weight(p);
    return true;
  }

  Seconds weight_seconds(std::size_t p) const {
    return cost_.weight_grad(StageId(p), shapes_.chunks[stages_[p].waiting.front().chunk.index()]);
  }

  void run_weight(std::size_t p) {
    Stage& stage = stages_[p];
    const Instruction weight = stage.waiting.front();
    clock_.run(weight.op, p, weight.chunk.index(), weight_seconds(p));
    stage.list.push_back(weight);
    stage.waiting.pop_front();
  }

  const Pipeline& pipeline_;
  const CostModel& cost_;
  const int held_;
  const Shapes shapes_;
  PipelineClock clock_;
  std::vector<Stage> stages_;
};

}  // namespace

InstructionLists one_f_one_b_held(const Pipeline& pipeline, const std::vector<Tokens>& sequences,
                                  const CostModel& cost, int held) {
  return HeldWeights(pipeline, sequences, cost, held).run();
}

}  // namespace infinipipe
