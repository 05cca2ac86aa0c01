// What happened when, on every stage: the same form for simulated and measured steps.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "infinipipe/base/ids.h"
#include "infinipipe/base/units.h"
#include "infinipipe/core/plan.h"

namespace infinipipe {

// What a stage's bytes are for.
enum class MemoryPurpose {
  kWeights,  // with constant tables and, for bfloat16, master weights
  kGradients,
  kOptimizer,
  kActivations,  // of chunks between forward and backward, with K and V of layers that keep all
  kKv,           // K and V of cut sequences that recomputed layers keep for later slices
  kKvGrad,       // dK, dV accumulators of cut sequences
  kWorkspace,    // temporaries: a recomputed layer, attention workspace, the head's block
  kTransfers,    // messages that wait in a channel
};
inline constexpr std::size_t kMemoryPurposes = 8;
const char* to_string(MemoryPurpose purpose);

using MemoryByPurpose = std::array<Bytes, kMemoryPurposes>;

// One instruction's run on one stage, in seconds from the first forward's start.
struct TraceEvent {
  ReplicaId replica;
  StageId stage;
  Instruction instruction;
  Seconds ready = 0.0;  // when its last input had arrived and the stage was free
  Seconds begin = 0.0;
  Seconds end = 0.0;
  Seconds recompute = 0.0;  // part of end - begin
  // Another part of it: exchanges between the shards of a stage, with waiting for them, but for
  // those within `recompute`. Measured steps alone have it.
  Seconds exchange = 0.0;
};

// A message on a link: forward activations down, input gradients up.
struct TransferEvent {
  ReplicaId replica;
  StageId from;
  StageId to;
  Instruction producer;
  Seconds begin = 0.0;
  Seconds end = 0.0;
  Bytes bytes = 0.0;
};

struct MemorySample {
  ReplicaId replica;
  StageId stage;
  Seconds at = 0.0;
  MemoryByPurpose bytes{};
};

struct Trace {
  std::string source;  // "simulated" or "measured"
  int step = 0;
  std::vector<TraceEvent> events;  // by stage, then begin
  std::vector<TransferEvent> transfers;
  std::vector<MemorySample> memory;  // by stage, then time
  Seconds seconds = 0.0;             // first forward's start to last instruction's end

  // The replica that ends last, the first among equals; 0 where nothing ran.
  ReplicaId slowest() const;
  // infinipipe::bubble() of what the slowest replica ran.
  double bubble() const;
};

}  // namespace infinipipe
