#include "infinipipe/core/trace.h"

#include <algorithm>
#include <optional>

namespace infinipipe {

const char* to_string(MemoryPurpose purpose) {
  switch (purpose) {
    case MemoryPurpose::kWeights:
      return "weights";
    case MemoryPurpose::kGradients:
      return "gradients";
    case MemoryPurpose::kOptimizer:
      return "optimizer";
    case MemoryPurpose::kActivations:
      return "activations";
    case MemoryPurpose::kKv:
      return "kv";
    case MemoryPurpose::kKvGrad:
      return "kv_grad";
    case MemoryPurpose::kWorkspace:
      return "workspace";
    case MemoryPurpose::kTransfers:
      return "transfers";
  }
  return "unknown";
}

ReplicaId Trace::slowest() const {
  std::optional<ReplicaId> slowest;
  Seconds end = 0.0;
  for (const TraceEvent& event : events) {
    const bool later = event.end > end || (event.end == end && slowest && event.replica < *slowest);
    if (slowest && !later) continue;
    slowest = event.replica;
    end = event.end;
  }
  return slowest.value_or(ReplicaId(0));
}

double Trace::bubble() const {
  const ReplicaId replica = slowest();
  std::vector<StagePrediction> stages;
  for (const TraceEvent& event : events) {
    stages.resize(std::max(stages.size(), event.stage.index() + 1));
    if (event.replica != replica) continue;
    StagePrediction& stage = stages[event.stage.index()];
    stage.compute += event.end - event.begin - event.recompute;
    stage.recompute += event.recompute;
  }
  return infinipipe::bubble(stages, seconds);
}

}  // namespace infinipipe
