// The event simulation of one replica, with or without a record of what happened.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "infinipipe/base/error.h"
#include "infinipipe/core/plan.h"
#include "infinipipe/cost/cost_model.h"

namespace infinipipe {

// One replica's chunks as flat arrays. Refers to the plan; do not outlive it.
class FlatReplica final {
 public:
  // `cut` as Plan::cut_sequences().
  FlatReplica(const Plan& plan, const Replica& replica, const std::vector<bool>& cut);

  const Replica& replica() const { return *replica_; }
  std::size_t size() const { return shapes_.size(); }
  std::size_t index(const Instruction& instruction) const {
    return first_[instruction.pipeline.index()] + instruction.chunk.index();
  }
  const ChunkShape& shape(std::size_t chunk) const { return shapes_[chunk]; }
  Recompute recompute(std::size_t chunk, std::size_t stage) const {
    return chunks_[chunk]->recompute_on(StageId(stage));
  }
  bool evaluation() const { return evaluation_; }  // forwards only

 private:
  const Replica* replica_;
  std::vector<std::size_t> first_;  // per pipeline: flat index of its first chunk
  std::vector<ChunkShape> shapes_;
  std::vector<const Chunk*> chunks_;
  bool evaluation_ = true;
};

struct StageOutcome {
  Seconds compute = 0.0;  // without recomputation
  Seconds recompute = 0.0;
  Bytes peak = 0.0;
  Instruction peak_at;  // the instruction that reached the peak first
};

struct ReplicaRun {
  Seconds seconds = 0.0;
  std::vector<StageOutcome> stages;
};

// What is alive on a stage, by purpose; the sum is what is compared with the limit.
struct LedgerBytes {
  Bytes states = 0.0;
  Bytes activations = 0.0;
  Bytes kv = 0.0;
  Bytes kv_grad = 0.0;
  Bytes workspace = 0.0;
  Bytes transfers = 0.0;  // messages that wait

  Bytes total() const { return states + activations + kv + kv_grad + workspace + transfers; }
};

// Records nothing.
struct NoRecorder {
  void ran(StageId, const Instruction&, Seconds, Seconds, Seconds) {}
  void sent(StageId, StageId, const Instruction&, Seconds, Seconds, Tokens) {}
  void memory(StageId, Seconds, const LedgerBytes&) {}
};

// One stage's memory through its instructions. Instructions of a stage follow one another, so what
// ends is freed before what begins is taken, whatever the times.
class StageLedger final {
 public:
  StageLedger(const CostModel& cost, StageId stage) : cost_(&cost), stage_(stage) {
    bytes_.states = cost.state_bytes(stage);
    bytes_.workspace = cost.workspace_bytes();
    peak_ = bytes_.total();
  }

  void begin(const Instruction& instruction, const ChunkShape& chunk, Recompute recompute) {
    switch (instruction.op) {
      case Op::kForward:
        bytes_.activations += cost_->activation_bytes(stage_, chunk, recompute);
        bytes_.kv += cost_->kept_kv_bytes(stage_, chunk, recompute.layers);
        temporary_ = cost_->forward_temporary(stage_, chunk, recompute);
        bytes_.workspace += temporary_;
        break;
      case Op::kBackward:
      case Op::kInputGrad:
        if (cost_->layerwise()) {
          temporary_ = cost_->backward_temporary(stage_, chunk, recompute, instruction.op);
          bytes_.workspace += temporary_;
          break;
        }
        if (chunk.cut_sequence_tokens > 0) {
          bytes_.kv_grad += cost_->kv_grad_bytes(stage_, chunk.cut_sequence_tokens);
        }
        if (recompute.layers > 0)
          bytes_.workspace += cost_->recompute_workspace_bytes(stage_, chunk);
        break;
      case Op::kWeightGrad:
        return;
    }
    if (const Bytes now = bytes_.total(); now > peak_) {
      peak_ = now;
      peak_at_ = instruction;
    }
  }

  void end(Op op, const ChunkShape& chunk, Recompute recompute, bool evaluation) {
    if (op == Op::kForward) {
      bytes_.workspace -= temporary_;
      temporary_ = 0.0;
      if (evaluation) end_evaluation(chunk, recompute);
      return;
    }
    if (op != Op::kWeightGrad) {
      if (cost_->layerwise()) {
        bytes_.workspace -= temporary_;
        temporary_ = 0.0;
        bytes_.kv_grad += cost_->kv_grad_bytes(stage_, chunk.cut_sequence_tokens);
      } else if (recompute.layers > 0) {
        bytes_.workspace -= cost_->recompute_workspace_bytes(stage_, chunk);
      }
      if (chunk.cut_tokens > 0) bytes_.kv_grad -= cost_->kv_grad_bytes(stage_, chunk.cut_tokens);
    }
    if (cost_->layerwise() && op != Op::kBackward) {
      // I leaves what W needs.
      const Bytes pending = cost_->pending_bytes(stage_, chunk, recompute.layers);
      if (op == Op::kWeightGrad) {
        bytes_.activations -= pending;
        return;
      }
      bytes_.activations += pending;
      free_activations(chunk, recompute);
      return;
    }
    if (op != Op::kInputGrad) free_activations(chunk, recompute);
  }

  const LedgerBytes& bytes() const { return bytes_; }
  Bytes peak() const { return peak_; }
  const Instruction& peak_at() const { return peak_at_; }

 private:
  void free_activations(const ChunkShape& chunk, Recompute recompute) {
    bytes_.activations -= cost_->activation_bytes(stage_, chunk, recompute);
    bytes_.kv -= cost_->kept_kv_bytes(stage_, chunk, recompute.layers);
  }

  // Only K and V of a cut sequence's tokens outlive the forward, until its last slice has run. One
  // cut sequence's slices may be followed by another's before that, so each is counted apart by
  // what its chunks say.
  void end_evaluation(const ChunkShape& chunk, Recompute recompute) {
    free_activations(chunk, recompute);
    bytes_.kv += cost_->evaluation_kv_bytes(stage_, chunk);
    if (chunk.cut_sequence_tokens > 0) {
      ChunkShape whole;
      whole.cut_tokens = chunk.cut_sequence_tokens;
      bytes_.kv -= cost_->evaluation_kv_bytes(stage_, whole);
    }
  }

  const CostModel* cost_;
  StageId stage_;
  LedgerBytes bytes_;
  Bytes temporary_ = 0.0;  // of the instruction that runs, layer by layer
  Bytes peak_ = 0.0;
  Instruction peak_at_;
};

// What a stage holds besides its ledger: messages that it sent and that nobody has taken yet. Kept
// until all stages have run, as it depends on their times.
class WaitingMessages final {
 public:
  struct Message {
    Seconds sent = 0.0;
    Seconds taken = 0.0;
    Bytes bytes = 0.0;
  };
  struct Ran {
    Instruction instruction;
    Seconds begin = 0.0;
    Seconds end = 0.0;
    LedgerBytes during;
    LedgerBytes after;
  };

  std::vector<Message> messages;  // in the order of sending
  std::vector<Ran> ran;           // in order

  // The peak with them, and the memory samples that were held back until now.
  template <class Recorder>
  void finish(StageId stage, StageOutcome& run, Recorder& recorder) {
    const auto note = [&](const Ran& at, LedgerBytes bytes, Seconds time) {
      bytes.transfers = waiting(time);
      recorder.memory(stage, time, bytes);
      if (bytes.total() <= run.peak) return;
      run.peak = bytes.total();
      run.peak_at = at.instruction;
    };
    for (const Ran& each : ran) {
      note(each, each.during, each.begin);
      note(each, each.after, each.end);
    }
    // What was sent last leaves when it is taken, with nothing running here.
    std::vector<Seconds> leaves;
    for (const Message& message : open_) leaves.push_back(message.taken);
    std::sort(leaves.begin(), leaves.end());
    for (const Seconds time : leaves) note(ran.back(), ran.back().after, time);
  }

 private:
  // Of those sent by `time`, which never falls from call to call, what is not taken yet.
  Bytes waiting(Seconds time) {
    for (; next_ < messages.size() && messages[next_].sent <= time; ++next_) {
      open_.push_back(messages[next_]);
    }
    std::erase_if(open_, [&](const Message& message) { return message.taken <= time; });
    Bytes sum = 0.0;
    for (const Message& message : open_) sum += message.bytes;
    return sum;
  }

  std::size_t next_ = 0;
  std::vector<Message> open_;
};

// Runs the replica's instruction lists against the links. Each instruction begins when the one
// before it on its stage has ended and its message has arrived. O(instructions).
// Asserts that the lists come to their end, which validate() proves.
template <class Recorder>
ReplicaRun run_replica(const FlatReplica& flat, const CostModel& cost, Recorder& recorder) {
  constexpr Seconds kNotArrived = -1.0;
  const std::size_t stages = static_cast<std::size_t>(cost.stage_count());
  const std::size_t chunks = flat.size();
  const auto& lists = flat.replica().instructions;
  // When a chunk's activations or gradient arrive at a stage; a stage's own input is there.
  std::vector<Seconds> forward_at(stages * chunks, kNotArrived);
  std::vector<Seconds> backward_at(stages * chunks, kNotArrived);
  std::fill_n(forward_at.begin(), chunks, 0.0);
  std::fill_n(backward_at.end() - static_cast<std::ptrdiff_t>(chunks), chunks, 0.0);
  std::vector<Seconds> transfer(chunks);
  for (std::size_t c = 0; c < chunks; ++c) transfer[c] = cost.transfer(flat.shape(c).tokens);

  struct StageState {
    Seconds free = 0.0;
    Seconds down_free = 0.0;  // the link to the next stage
    Seconds up_free = 0.0;    // the link to the stage before
    std::size_t next = 0;
    bool queued = true;
  };
  std::vector<StageState> state(stages);
  std::vector<StageLedger> ledgers;
  const bool layerwise = cost.layerwise();
  std::vector<WaitingMessages> waiting(layerwise ? stages : 0);
  // Who sent what a chunk's forward or backward on a stage takes: (stage, position in `messages`).
  using Sent = std::pair<std::size_t, std::size_t>;
  std::vector<Sent> forward_sent(layerwise ? stages * chunks : 0);
  std::vector<Sent> backward_sent(forward_sent.size());
  std::vector<std::size_t> queue(stages);
  ReplicaRun result;
  result.stages.resize(stages);
  for (std::size_t p = 0; p < stages; ++p) {
    ledgers.emplace_back(cost, StageId(p));
    recorder.memory(StageId(p), 0.0, ledgers[p].bytes());
    queue[p] = stages - 1 - p;  // the first stage is taken first
  }

  std::size_t done = 0;
  while (!queue.empty()) {
    const std::size_t p = queue.back();
    queue.pop_back();
    const StageId stage(p);
    StageState& self = state[p];
    StageOutcome& run = result.stages[p];
    const auto& list = lists[p];
    const auto send = [&](std::size_t to, std::size_t c, Seconds& link_free,
                          std::vector<Seconds>& arrivals, const Instruction& producer) {
      const Seconds begin = std::max(self.free, link_free);
      link_free = begin + transfer[c];
      arrivals[to * chunks + c] = link_free;
      if (layerwise) {
        auto& messages = waiting[p].messages;
        (to > p ? forward_sent : backward_sent)[to * chunks + c] = {p, messages.size()};
        messages.push_back({self.free, self.free, cost.message_bytes(flat.shape(c).tokens)});
      }
      recorder.sent(stage, StageId(to), producer, begin, link_free, flat.shape(c).tokens);
      if (!state[to].queued) {
        state[to].queued = true;
        queue.push_back(to);
      }
    };
    for (; self.next < list.size(); ++self.next, ++done) {
      const Instruction& instruction = list[self.next];
      const std::size_t c = flat.index(instruction);
      const ChunkShape& chunk = flat.shape(c);
      const Recompute again = flat.recompute(c, p);
      const bool forward = instruction.op == Op::kForward;
      const bool backward = instruction.op == Op::kBackward || instruction.op == Op::kInputGrad;
      const Seconds arrival = forward    ? forward_at[p * chunks + c]
                              : backward ? backward_at[p * chunks + c]
                                         : 0.0;
      if (arrival == kNotArrived) break;
      const Seconds compute = cost.seconds(instruction.op, stage, chunk);
      const Seconds recompute = backward ? cost.recompute(stage, chunk, again) : 0.0;
      const Seconds begin = std::max(self.free, arrival);
      self.free = begin + (compute + recompute);
      run.compute += compute;
      run.recompute += recompute;
      recorder.ran(stage, instruction, begin, self.free, recompute);
      StageLedger& ledger = ledgers[p];
      ledger.begin(instruction, chunk, again);
      if (layerwise) {
        if (forward ? p > 0 : backward && p + 1 < stages) {
          const auto& [from, at] = (forward ? forward_sent : backward_sent)[p * chunks + c];
          waiting[from].messages[at].taken = begin;
        }
        waiting[p].ran.push_back({instruction, begin, self.free, ledger.bytes(), {}});
        ledger.end(instruction.op, chunk, again, flat.evaluation());
        waiting[p].ran.back().after = ledger.bytes();
      } else {
        recorder.memory(stage, begin, ledger.bytes());
        ledger.end(instruction.op, chunk, again, flat.evaluation());
        recorder.memory(stage, self.free, ledger.bytes());
      }
      if (instruction.op == Op::kForward) {
        if (p + 1 < stages) send(p + 1, c, self.down_free, forward_at, instruction);
      } else if (instruction.op != Op::kWeightGrad && p > 0) {
        send(p - 1, c, self.up_free, backward_at, instruction);
      }
    }
    self.queued = false;
  }
  std::size_t expected = 0;
  for (std::size_t p = 0; p < stages; ++p) {
    expected += lists[p].size();
    result.seconds = std::max(result.seconds, state[p].free);
    result.stages[p].peak = ledgers[p].peak();
    result.stages[p].peak_at = ledgers[p].peak_at();
    if (layerwise) waiting[p].finish(StageId(p), result.stages[p], recorder);
  }
  INFINIPIPE_ASSERT(done == expected, "the instruction lists block each other: validate() first");
  return result;
}

}  // namespace infinipipe
