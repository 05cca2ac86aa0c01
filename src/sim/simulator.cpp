#include "infinipipe/sim/simulator.h"

#include <algorithm>
#include <string>

#include "cost/lower_bound.h"
#include "infinipipe/base/error.h"
#include "sim/replica_run.h"

namespace infinipipe {
namespace {

// Fills a Trace. Events of one stage come in order, stages interleave: sorted at the end.
class TraceRecorder final {
 public:
  TraceRecorder(const CostModel& cost, ReplicaId replica, Trace& trace)
      : cost_(&cost), replica_(replica), trace_(&trace) {}

  void ran(StageId stage, const Instruction& instruction, Seconds begin, Seconds end,
           Seconds recompute) {
    trace_->events.push_back({replica_, stage, instruction, begin, begin, end, recompute});
  }

  void sent(StageId from, StageId to, const Instruction& producer, Seconds begin, Seconds end,
            const ChunkShape& chunk) {
    trace_->transfers.push_back(
        {replica_, from, to, producer, begin, end, cost_->sent_bytes(chunk)});
  }

  void memory(StageId stage, Seconds at, const LedgerBytes& bytes) {
    MemorySample sample{replica_, stage, at, {}};
    const auto put = [&](MemoryPurpose purpose, Bytes value) {
      sample.bytes[static_cast<std::size_t>(purpose)] = value;
    };
    const MemoryCost& memory = cost_->profile().memory;
    const Bytes trained = std::max(0.0, bytes.states - memory.state_constant_bytes);
    // Of what copies of a stage hold each has its own gradients, and a part of the optimizer's.
    const Parallelism& all = cost_->parallelism();
    Parallelism copies;
    if (memory.state_sharding != StateSharding::kAll) copies.data_parallel = all.data_parallel;
    if (memory.state_sharding == StateSharding::kOptimizer)
      copies.sequence_parallel = all.sequence_parallel;
    const Bytes whole = trained * state_shards(memory, copies);
    const Bytes gradients = memory.state_gradient_share * whole;
    const Bytes optimizer =
        memory.state_optimizer_share * whole / (copies.data_parallel * copies.sequence_parallel);
    put(MemoryPurpose::kWeights, bytes.states - gradients - optimizer);
    put(MemoryPurpose::kGradients, gradients);
    put(MemoryPurpose::kOptimizer, optimizer);
    put(MemoryPurpose::kActivations, bytes.activations);
    put(MemoryPurpose::kKv, bytes.kv);
    put(MemoryPurpose::kKvGrad, bytes.kv_grad);
    put(MemoryPurpose::kWorkspace, bytes.workspace);
    put(MemoryPurpose::kTransfers, bytes.transfers);
    trace_->memory.push_back(sample);
  }

 private:
  const CostModel* cost_;
  ReplicaId replica_;
  Trace* trace_;
};

// Stable, so that what one stage did at one instant stays in order.
void sort_trace(Trace& trace) {
  const auto by_stage_and_time = [](const auto& a, const auto& b, auto time) {
    if (a.replica != b.replica) return a.replica < b.replica;
    if (a.stage != b.stage) return a.stage < b.stage;
    return time(a) < time(b);
  };
  std::stable_sort(trace.events.begin(), trace.events.end(), [&](const auto& a, const auto& b) {
    return by_stage_and_time(a, b, [](const auto& e) { return e.begin; });
  });
  std::stable_sort(trace.memory.begin(), trace.memory.end(), [&](const auto& a, const auto& b) {
    return by_stage_and_time(a, b, [](const auto& e) { return e.at; });
  });
  std::stable_sort(trace.transfers.begin(), trace.transfers.end(),
                   [](const TransferEvent& a, const TransferEvent& b) {
                     if (a.replica != b.replica) return a.replica < b.replica;
                     if (a.from != b.from) return a.from < b.from;
                     return a.begin < b.begin;
                   });
}

void drop_repeated_samples(std::vector<MemorySample>& samples) {
  const auto repeats = [](const MemorySample& a, const MemorySample& b) {
    return a.replica == b.replica && a.stage == b.stage && a.bytes == b.bytes;
  };
  samples.erase(std::unique(samples.begin(), samples.end(), repeats), samples.end());
}

std::vector<StagePrediction> stages_of(const ReplicaRun& run) {
  std::vector<StagePrediction> result;
  for (const StageOutcome& stage : run.stages) {
    result.push_back({stage.compute, stage.recompute, run.seconds - stage.compute - stage.recompute,
                      stage.peak});
  }
  return result;
}

void check_shape(const Plan& plan, const CostModel& cost) {
  INFINIPIPE_ASSERT(plan.stages == cost.stages(), "the cost model is of another layer split");
}

}  // namespace

FlatReplica::FlatReplica(const Plan& plan, const Replica& replica, const std::vector<bool>& cut,
                         const CostModel& cost)
    : replica_(&replica) {
  std::size_t count = 0;
  for (const Pipeline& pipeline : replica.pipelines) {
    first_.push_back(count);
    count += pipeline.chunks.size();
  }
  shapes_.reserve(count);
  chunks_.reserve(count);
  for (const Pipeline& pipeline : replica.pipelines) {
    for (const Chunk& chunk : pipeline.chunks) {
      shapes_.push_back(cost.shape(chunk, plan.sequences, cut));
      chunks_.push_back(&chunk);
    }
  }
  if (!replica.instructions.empty()) {
    evaluation_ = std::all_of(replica.instructions[0].begin(), replica.instructions[0].end(),
                              [](const Instruction& i) { return i.op == Op::kForward; });
  }
}

Simulation simulate(const Plan& plan, const CostModel& cost) {
  check_shape(plan, cost);
  Simulation result;
  result.trace.source = "simulated";
  result.trace.step = plan.step;
  const std::vector<bool> cut = plan.cut_sequences();
  ReplicaRun slowest;
  std::vector<Bytes> peaks(plan.stages.size(), 0.0);
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const FlatReplica flat(plan, plan.replicas[r], cut, cost);
    TraceRecorder recorder(cost, ReplicaId(r), result.trace);
    ReplicaRun run = run_replica(flat, cost, recorder);
    for (std::size_t p = 0; p < peaks.size(); ++p) {
      peaks[p] = std::max(peaks[p], run.stages[p].peak);
    }
    if (r == 0 || run.seconds > slowest.seconds) slowest = std::move(run);
  }
  sort_trace(result.trace);
  drop_repeated_samples(result.trace.memory);
  result.trace.seconds = slowest.seconds;

  Prediction& prediction = result.prediction;
  prediction.seconds = slowest.seconds;
  prediction.stages = stages_of(slowest);
  prediction.bubble = bubble(prediction.stages, prediction.seconds);
  for (std::size_t p = 0; p < prediction.stages.size(); ++p) {
    prediction.stages[p].peak_bytes = peaks[p];
  }
  prediction.lower_bound =
      lower_bound(cost.profile(), plan.parallelism, plan.layer_count(), plan.sequences,
                  plan.bytes_per_stage, plan.forward_only(), plan.in_sub_groups())
          .seconds;
  if (plan.predicted) prediction.step_overhead = plan.predicted->step_overhead;
  return result;
}

void require_fits(const Plan& plan, const CostModel& cost, Bytes limit) {
  check_shape(plan, cost);
  if (limit <= 0.0) return;
  const std::vector<bool> cut = plan.cut_sequences();
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const FlatReplica flat(plan, plan.replicas[r], cut, cost);
    NoRecorder recorder;
    const ReplicaRun run = run_replica(flat, cost, recorder);
    const auto worst = std::max_element(
        run.stages.begin(), run.stages.end(),
        [](const StageOutcome& a, const StageOutcome& b) { return a.peak < b.peak; });
    if (worst == run.stages.end() || worst->peak <= limit) continue;
    std::string found = plan.replicas.size() > 1 ? "replica " + std::to_string(r) + ", " : "";
    const auto stage = static_cast<std::size_t>(worst - run.stages.begin());
    const std::string need = format_bytes(worst->peak);
    const std::string have = format_bytes(limit);
    found += "stage " + std::to_string(stage) + " needs " + need + " of " + have;
    if (need == have) found += ", " + format_bytes(worst->peak - limit) + " too much";
    if (worst->peak <= cost.state_bytes(StageId(stage)) + cost.workspace_bytes()) {
      found += " (model states and workspace)";
    } else {
      const Tokens tokens = flat.shape(flat.index(worst->peak_at)).tokens;
      found += " (" + to_string(worst->peak_at) + ", " + format_count(tokens) + " tokens)";
    }
    throw RunError("plan", found, "", "raise memory, add stages, or allow more recomputation");
  }
}

Evaluation SimulatorEvaluator::evaluate(const Plan& plan, const CostModel& cost,
                                        ReplicaId replica) const {
  check_shape(plan, cost);
  const FlatReplica flat(plan, plan.replicas.at(replica.index()), plan.cut_sequences(), cost);
  NoRecorder recorder;
  const ReplicaRun run = run_replica(flat, cost, recorder);
  Evaluation result;
  result.seconds = run.seconds;
  result.stages = stages_of(run);
  result.bubble = bubble(result.stages, result.seconds);
  if (limit_ <= 0.0) return result;
  // Measured times differ a little from these, and then one message more may wait: in hand.
  Bytes largest = 0.0;
  for (std::size_t c = 0; c < flat.size(); ++c) {
    largest = std::max(largest, cost.message_bytes(flat.shape(c)));
  }
  const Bytes in_hand = run.stages.size() > 1 ? largest : 0.0;
  for (std::size_t p = 0; p < run.stages.size(); ++p) {
    const Bytes over = run.stages[p].peak + in_hand - limit_;
    if (over > result.over_bytes) {
      result.over_stage = StageId(p);
      result.over_bytes = over;
    }
  }
  return result;
}

}  // namespace infinipipe
