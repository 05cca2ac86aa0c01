#include "infinipipe/core/trace.h"

#include <algorithm>

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

double Trace::bubble() const {
  int replicas = 0;
  int stages = 0;
  Seconds busy = 0.0;
  for (const TraceEvent& event : events) {
    replicas = std::max(replicas, event.replica.value() + 1);
    stages = std::max(stages, event.stage.value() + 1);
    busy += event.end - event.begin;
  }
  if (events.empty() || seconds <= 0.0) return 0.0;
  return 1.0 - busy / (static_cast<double>(replicas) * stages * seconds);
}

}  // namespace infinipipe
