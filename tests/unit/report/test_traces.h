// A trace of a plan with made-up times, for tests of reports.
#pragma once

#include "infinipipe/core/trace.h"
#include "unit/core/test_plans.h"

namespace infinipipe::testing {

// Every instruction takes a second and a bit more than the one before it; stage p starts at p. Of
// backwards with recomputation a quarter is that. A sample at each begin and end.
inline Trace make_trace(const Plan& plan, const char* source = "simulated", double stretch = 1.0) {
  Trace trace;
  trace.source = source;
  trace.step = plan.step;
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    for (std::size_t p = 0; p < plan.stages.size(); ++p) {
      Seconds at = static_cast<double>(p);
      double number = 0.0;
      for (const Instruction& i : plan.replicas[r].instructions[p]) {
        const Seconds length = stretch * (1.0 + 0.01 * ++number);
        const bool recomputes =
            i.op == Op::kBackward && plan.replicas[r].chunk(i).keeping[p].remade() > 0;
        trace.events.push_back(
            {ReplicaId(r), StageId(p), i, at, at, at + length, recomputes ? length / 4 : 0.0});
        MemorySample sample{ReplicaId(r), StageId(p), at, {}};
        sample.bytes[static_cast<std::size_t>(MemoryPurpose::kWeights)] = 1000.0;
        sample.bytes[static_cast<std::size_t>(MemoryPurpose::kActivations)] = 10.0 * number;
        trace.memory.push_back(sample);
        if (i.op == Op::kForward && p + 1 < plan.stages.size()) {
          trace.transfers.push_back({ReplicaId(r), StageId(p), StageId(p + 1), i, at + length,
                                     at + length + 0.125, 4096.0});
        }
        if (i.op == Op::kBackward && p > 0) {
          trace.transfers.push_back({ReplicaId(r), StageId(p), StageId(p - 1), i, at + length,
                                     at + length + 0.125, 4096.0});
        }
        at += length;
        trace.seconds = std::max(trace.seconds, at);
      }
    }
  }
  return trace;
}

}  // namespace infinipipe::testing
