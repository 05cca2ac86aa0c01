// The event simulation of one replica, with or without a record of what happened.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "cost/memory_steps.h"
#include "cost/pipeline_clock.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/plan.h"
#include "infinipipe/cost/cost_model.h"

namespace infinipipe {

// One replica's chunks as flat arrays. Refers to the plan; do not outlive it.
class FlatReplica final {
 public:
  // `cut` as Plan::cut_sequences().
  FlatReplica(const Plan& plan, const Replica& replica, const std::vector<bool>& cut,
              const CostModel& cost);

  const Replica& replica() const { return *replica_; }
  std::size_t size() const { return shapes_.size(); }
  std::size_t index(const Instruction& instruction) const {
    return first_[instruction.pipeline.index()] + instruction.chunk.index();
  }
  const ChunkShape& shape(std::size_t chunk) const { return shapes_[chunk]; }
  const Keeping& keeping(std::size_t chunk, std::size_t stage) const {
    return chunks_[chunk]->kept_on(StageId(stage));
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
  void sent(StageId, StageId, const Instruction&, Seconds, Seconds, const ChunkShape&) {}
  void memory(StageId, Seconds, const LedgerBytes&) {}
};

// One stage's memory through its instructions, by purpose.
class StageLedger final {
 public:
  StageLedger(const CostModel& cost, StageId stage) : cost_(&cost), stage_(stage) {
    bytes_.states = cost.state_bytes(stage);
    bytes_.workspace = cost.workspace_bytes();
    peak_ = bytes_.total();
  }

  void begin(const Instruction& instruction, const ChunkShape& chunk, const Keeping& keeping,
             bool evaluation) {
    running_ = memory_step(*cost_, instruction.op, stage_, chunk, keeping, evaluation);
    if (instruction.op == Op::kWeightGrad) return;  // takes nothing
    bytes_.activations += running_.opens.activations;
    bytes_.kv += running_.opens.kv;
    bytes_.kv_grad += running_.opens_grads;
    bytes_.workspace += running_.holds;
    if (const Bytes now = bytes_.total(); now > peak_) {
      peak_ = now;
      peak_at_ = instruction;
    }
  }

  // Of the instruction that began last.
  void end() {
    bytes_.workspace -= running_.holds;
    bytes_.activations += running_.leaves.activations;
    bytes_.kv += running_.leaves.kv;
    bytes_.kv_grad += running_.leaves_grads;
    bytes_.kv_grad -= running_.closes_grads;
    bytes_.activations -= running_.closes.activations;
    bytes_.kv -= running_.closes.kv;
  }

  const LedgerBytes& bytes() const { return bytes_; }
  Bytes peak() const { return peak_; }
  const Instruction& peak_at() const { return peak_at_; }

 private:
  const CostModel* cost_;
  StageId stage_;
  LedgerBytes bytes_;
  MemoryStep running_;
  Bytes peak_ = 0.0;
  Instruction peak_at_;
};

// Counts what a stage holds besides its ledger: messages that it sent and that the receiver has not
// taken yet, and memory for those that it is to receive. When they are taken depends on the
// receiver's times, so memory samples are kept here and only finished when all stages have run.
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
    std::size_t received = 0;  // messages that it and those before it took
  };

  // Of messages that come to the stage, in the order in which it takes them; it has memory for the
  // next `ahead` of them.
  std::vector<Bytes> expected;
  std::size_t ahead = 0;

  std::vector<Message> messages;  // in the order of sending
  std::vector<Ran> ran;           // in order

  // Adds the messages to the samples, records these, and raises the stage's peak where it is higher
  // with them.
  template <class Recorder>
  void finish(StageId stage, StageOutcome& run, Recorder& recorder) {
    const auto note = [&](const Ran& at, LedgerBytes bytes, Seconds time) {
      bytes.transfers = waiting(time) + expected_after(at.received);
      recorder.memory(stage, time, bytes);
      if (bytes.total() <= run.peak) return;
      run.peak = bytes.total();
      run.peak_at = at.instruction;
    };
    for (const Ran& each : ran) {
      note(each, each.during, each.begin);
      note(each, each.after, each.end);
    }
    // Messages that were sent last may be taken when nothing runs on this stage any more.
    std::vector<Seconds> leaves;
    for (const Message& message : open_) leaves.push_back(message.taken);
    std::sort(leaves.begin(), leaves.end());
    for (const Seconds time : leaves) note(ran.back(), ran.back().after, time);
  }

 private:
  Bytes expected_after(std::size_t received) const {
    Bytes sum = 0.0;
    for (std::size_t i = received; i < std::min(expected.size(), received + ahead); ++i)
      sum += expected[i];
    return sum;
  }

  // Bytes of the messages that were sent by `time` and not taken yet. `time` must not be less than
  // in the call before.
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

// Runs the replica's instruction lists on the clock, each stage's in its order. O(instructions).
// Asserts that the lists come to their end, which validate() proves.
template <class Recorder>
ReplicaRun run_replica(const FlatReplica& flat, const CostModel& cost, Recorder& recorder) {
  const std::size_t stages = static_cast<std::size_t>(cost.stage_count());
  const std::size_t chunks = flat.size();
  const auto& lists = flat.replica().instructions;
  std::vector<Seconds> transfer(chunks);
  for (std::size_t c = 0; c < chunks; ++c) transfer[c] = cost.transfer(flat.shape(c));
  PipelineClock clock(stages, transfer);

  struct StageState {
    std::size_t next = 0;
    std::size_t received = 0;
    bool queued = true;
  };
  std::vector<StageState> state(stages);
  std::vector<StageLedger> ledgers;
  const bool layerwise = cost.layerwise();
  std::vector<WaitingMessages> waiting(layerwise ? stages : 0);
  // Where the message stands that a chunk's forward or backward on a stage takes: the stage that
  // sent it, and the position in that stage's `messages`.
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
    if (!layerwise) continue;
    waiting[p].ahead = cost.received_ahead();
    for (const Instruction& instruction : lists[p]) {
      if (!clock.takes_message(instruction.op, p)) continue;
      waiting[p].expected.push_back(cost.message_bytes(flat.shape(flat.index(instruction))));
    }
  }

  std::size_t done = 0;
  while (!queue.empty()) {
    const std::size_t p = queue.back();
    queue.pop_back();
    const StageId stage(p);
    StageState& self = state[p];
    StageOutcome& run = result.stages[p];
    const auto& list = lists[p];
    for (; self.next < list.size(); ++self.next, ++done) {
      const Instruction& instruction = list[self.next];
      const Op op = instruction.op;
      const std::size_t c = flat.index(instruction);
      if (clock.arrival(op, p, c) == PipelineClock::kNotArrived) break;
      const ChunkShape& chunk = flat.shape(c);
      const Keeping& keeping = flat.keeping(c, p);
      const Seconds compute = cost.seconds(op, stage, chunk);
      const Seconds recompute = starts_backward(op) ? cost.recompute(stage, chunk, keeping) : 0.0;
      const PipelineClock::Run ran = clock.run(op, p, c, compute + recompute);
      run.compute += compute;
      run.recompute += recompute;
      recorder.ran(stage, instruction, ran.begin, ran.end, recompute);
      StageLedger& ledger = ledgers[p];
      ledger.begin(instruction, chunk, keeping, flat.evaluation());
      if (layerwise) {
        if (clock.takes_message(op, p)) {
          const auto& [from, at] =
              (op == Op::kForward ? forward_sent : backward_sent)[p * chunks + c];
          waiting[from].messages[at].taken = ran.begin;
          ++self.received;
        }
        waiting[p].ran.push_back(
            {instruction, ran.begin, ran.end, ledger.bytes(), {}, self.received});
        ledger.end();
        waiting[p].ran.back().after = ledger.bytes();
      } else {
        recorder.memory(stage, ran.begin, ledger.bytes());
        ledger.end();
        recorder.memory(stage, ran.end, ledger.bytes());
      }
      if (!ran.message) continue;
      const std::size_t to = ran.message->to;
      if (layerwise) {
        auto& messages = waiting[p].messages;
        (op == Op::kForward ? forward_sent : backward_sent)[to * chunks + c] = {p, messages.size()};
        messages.push_back({ran.end, ran.end, cost.message_bytes(chunk)});
      }
      recorder.sent(stage, StageId(to), instruction, ran.message->begin, ran.message->arrival,
                    chunk);
      if (!state[to].queued) {
        state[to].queued = true;
        queue.push_back(to);
      }
    }
    self.queued = false;
  }
  std::size_t expected = 0;
  for (std::size_t p = 0; p < stages; ++p) {
    expected += lists[p].size();
    result.seconds = std::max(result.seconds, clock.free(p));
    result.stages[p].peak = ledgers[p].peak();
    result.stages[p].peak_at = ledgers[p].peak_at();
    if (layerwise) waiting[p].finish(StageId(p), result.stages[p], recorder);
  }
  INFINIPIPE_ASSERT(done == expected, "the instruction lists block each other: validate() first");
  return result;
}

}  // namespace infinipipe
