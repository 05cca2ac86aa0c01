#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/validate_steps.h"

namespace infinipipe::validation {
namespace {

constexpr std::uint8_t bit(Op op) { return static_cast<std::uint8_t>(1U << static_cast<int>(op)); }
constexpr std::uint8_t kF = bit(Op::kForward);
constexpr std::uint8_t kB = bit(Op::kBackward);
constexpr std::uint8_t kI = bit(Op::kInputGrad);
constexpr std::uint8_t kW = bit(Op::kWeightGrad);

bool sends_down(const Instruction& i) { return i.op == Op::kForward; }
bool sends_up(const Instruction& i) { return starts_backward(i.op); }

// "F0.3": of which stage's list and replica a message speaks.
std::string stage_name(std::size_t replica, std::size_t stage) {
  return "replica " + std::to_string(replica) + ", stage " + std::to_string(stage);
}

// One replica's lists against its chunks, stage by stage. Tables are cleared only where they were
// used, so that the whole stays proportional to the plan.
class StageLists final {
 public:
  StageLists(const Replica& replica, std::size_t number, bool evaluation)
      : replica_(replica), number_(number), evaluation_(evaluation) {
    std::size_t chunks = 0;
    for (std::size_t q = 0; q < replica.pipelines.size(); ++q) {
      first_.push_back(chunks);
      chunks += replica.pipelines[q].chunks.size();
      if (!replica.pipelines[q].chunks.empty()) used_.push_back(q);
    }
    done_.resize(chunks);
    next_forward_.resize(replica.pipelines.size());
    next_backward_.resize(replica.pipelines.size());
  }

  Problem check(std::size_t stage) {
    where_ = stage_name(number_, stage);
    if (auto found = check_counts(stage)) return found;
    return check_order(stage);
  }

 private:
  Problem fail(PlanFault fault, const std::string& found, const std::string& expected) const {
    return problem(fault, where_, found, expected);
  }
  static std::string name(Op op, std::size_t pipeline, std::size_t chunk) {
    return to_string(Instruction{op, PipelineId(pipeline), ChunkId(chunk)});
  }
  std::size_t flat(const Instruction& i) const {
    return first_[i.pipeline.index()] + i.chunk.index();
  }

  // Each chunk's instructions stand there once and go together.
  Problem check_counts(std::size_t stage) {
    std::fill(done_.begin(), done_.end(), std::uint8_t{0});
    for (const Instruction& i : replica_.instructions[stage]) {
      if (i.pipeline.index() >= replica_.pipelines.size() ||
          i.chunk.index() >= replica_.pipelines[i.pipeline.index()].chunks.size()) {
        return fail(PlanFault::kUnknownChunk, to_string(i), "a chunk of the replica's pipelines");
      }
      std::uint8_t& done = done_[flat(i)];
      if ((done & bit(i.op)) != 0) {
        return fail(PlanFault::kDuplicateInstruction, to_string(i) + " twice", "it once");
      }
      done |= bit(i.op);
    }
    for (const std::size_t q : used_) {
      for (std::size_t c = 0; c < replica_.pipelines[q].chunks.size(); ++c) {
        const std::uint8_t done = done_[first_[q] + c];
        if ((done & kB) != 0 && (done & (kI | kW)) != 0) {
          return fail(PlanFault::kMixedBackward,
                      name(Op::kBackward, q, c) + " and " +
                          name((done & kI) != 0 ? Op::kInputGrad : Op::kWeightGrad, q, c),
                      "either B, or I and W");
        }
        if (((done & kI) != 0) != ((done & kW) != 0)) {
          const bool has_input = (done & kI) != 0;
          return fail(PlanFault::kMixedBackward,
                      name(has_input ? Op::kInputGrad : Op::kWeightGrad, q, c) + " without " +
                          name(has_input ? Op::kWeightGrad : Op::kInputGrad, q, c),
                      "either B, or I and W");
        }
        if ((done & kF) == 0) {
          return fail(PlanFault::kMissingInstruction, "no " + name(Op::kForward, q, c), "it once");
        }
        if (!evaluation_ && (done & (kB | kI)) == 0) {
          return fail(PlanFault::kMissingInstruction, "no " + name(Op::kBackward, q, c),
                      "it once, or I and W");
        }
      }
    }
    return {};
  }

  // Forwards in chunk order, backwards in the order of `backward`, W after its I.
  Problem check_order(std::size_t stage) {
    std::fill(done_.begin(), done_.end(), std::uint8_t{0});
    for (const std::size_t q : used_) next_forward_[q] = next_backward_[q] = 0;
    for (const Instruction& i : replica_.instructions[stage]) {
      const std::size_t q = i.pipeline.index();
      const std::uint8_t done = done_[flat(i)];
      if (i.op == Op::kForward) {
        const std::size_t due = next_forward_[q]++;
        if (i.chunk.index() != due) {
          return fail(PlanFault::kForwardOrder, to_string(i),
                      name(Op::kForward, q, due) + " (chunk order)");
        }
      } else if (i.op == Op::kWeightGrad) {
        if ((done & kI) == 0) {
          return fail(PlanFault::kBackwardOrder,
                      to_string(i) + " before " + name(Op::kInputGrad, q, i.chunk.index()),
                      "it after");
        }
      } else {
        if ((done & kF) == 0) {
          return fail(PlanFault::kBackwardOrder,
                      to_string(i) + " before " + name(Op::kForward, q, i.chunk.index()),
                      "it after");
        }
        const int due = replica_.pipelines[q].backward[next_backward_[q]++];
        if (i.chunk.value() != due) {
          return fail(
              PlanFault::kBackwardOrder, to_string(i),
              name(i.op, q, static_cast<std::size_t>(due)) + " (the pipeline's backward order)");
        }
      }
      done_[flat(i)] |= bit(i.op);
    }
    return {};
  }

  const Replica& replica_;
  std::size_t number_;
  bool evaluation_;
  std::string where_;
  std::vector<std::size_t> first_;  // flat number of each pipeline's chunk 0
  std::vector<std::size_t> used_;   // pipelines that have chunks
  std::vector<std::uint8_t> done_;  // by flat chunk: ops seen on this stage
  std::vector<std::size_t> next_forward_;
  std::vector<std::size_t> next_backward_;
};

// The sender's messages in the order in which its list makes them, against the receiver's order.
Problem check_channel(const Replica& replica, std::size_t number, std::size_t from, std::size_t to,
                      bool (*sends)(const Instruction&)) {
  const auto& sender = replica.instructions[from];
  const auto& receiver = replica.instructions[to];
  std::size_t s = 0;
  for (const Instruction& i : receiver) {
    if (!sends(i)) continue;
    while (!sends(sender[s])) ++s;  // equal counts: both lists passed StageLists
    if (sender[s].pipeline != i.pipeline || sender[s].chunk != i.chunk) {
      return problem(
          PlanFault::kChannelOrder, stage_name(number, to),
          to_string(i) + " where stage " + std::to_string(from) + " sends " + to_string(sender[s]),
          "both in one order");
    }
    ++s;
  }
  return {};
}

// Runs the lists: sends never block, receives do. As channel orders agree, counting suffices.
Problem check_progress(const Replica& replica, std::size_t number) {
  const std::size_t stages = replica.instructions.size();
  std::vector<std::size_t> next(stages, 0);
  std::vector<std::size_t> down(stages, 0);  // forwards that wait in front of a stage
  std::vector<std::size_t> up(stages, 0);    // input gradients that do
  const auto blocked = [&](std::size_t p) {
    const Instruction& i = replica.instructions[p][next[p]];
    return (sends_down(i) && p > 0 && down[p] == 0) ||
           (sends_up(i) && p + 1 < stages && up[p] == 0);
  };
  std::vector<std::size_t> ready(stages);
  for (std::size_t p = 0; p < stages; ++p) ready[p] = stages - 1 - p;
  while (!ready.empty()) {
    const std::size_t p = ready.back();
    ready.pop_back();
    bool sent_down = false;
    bool sent_up = false;
    for (; next[p] < replica.instructions[p].size() && !blocked(p); ++next[p]) {
      const Instruction& i = replica.instructions[p][next[p]];
      if (sends_down(i)) {
        if (p > 0) --down[p];
        if (p + 1 < stages) {
          ++down[p + 1];
          sent_down = true;
        }
      } else if (sends_up(i)) {
        if (p + 1 < stages) --up[p];
        if (p > 0) {
          ++up[p - 1];
          sent_up = true;
        }
      }
    }
    if (sent_up) ready.push_back(p - 1);
    if (sent_down) ready.push_back(p + 1);
  }
  std::string waiting;
  for (std::size_t p = 0; p < stages; ++p) {
    if (next[p] == replica.instructions[p].size()) continue;
    const Instruction& i = replica.instructions[p][next[p]];
    const std::size_t source = sends_down(i) ? p - 1 : p + 1;
    if (!waiting.empty()) waiting += "; ";
    if (waiting.size() > 200) {
      waiting += "...";
      break;
    }
    waiting += "stage " + std::to_string(p) + " waits at " + to_string(i) + " for stage " +
               std::to_string(source);
  }
  if (waiting.empty()) return {};
  return problem(PlanFault::kDeadlock, "replica " + std::to_string(number), waiting,
                 "every stage to reach its end");
}

}  // namespace

Problem check_instructions(const Plan& plan) {
  const bool evaluation = plan.forward_only();
  const std::size_t stages = plan.stages.size();
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const Replica& replica = plan.replicas[r];
    StageLists lists(replica, r, evaluation);
    for (std::size_t p = 0; p < stages; ++p) {
      if (auto found = lists.check(p)) return found;
    }
    for (std::size_t p = 0; p + 1 < stages; ++p) {
      if (auto found = check_channel(replica, r, p, p + 1, sends_down)) return found;
      if (auto found = check_channel(replica, r, p + 1, p, sends_up)) return found;
    }
    if (auto found = check_progress(replica, r)) return found;
  }
  return {};
}

}  // namespace infinipipe::validation
