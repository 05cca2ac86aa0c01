// What travels between stages, and how a failure is told to the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "infinipipe/base/ids.h"

namespace infinipipe {

// Each flow between a pair of stages is an ordered channel of its own, so that an activation never
// waits behind a gradient.
enum class Flow {
  kActivation,  // a forward's output, to the next stage
  kGradient,    // an input gradient, to the stage before
  kParameter,   // whole tensors outside instructions (tied embeddings), between any two stages
};
inline constexpr std::size_t kFlows = 3;
const char* to_string(Flow flow);

// What both sides know about a message from the plan, so that none of it has to travel: a receiver
// that needs a buffer can make it before the message comes.
struct MessageInfo {
  int step = 0;
  PipelineId pipeline;
  ChunkId chunk;
  std::int64_t rows = 0;  // tokens of the chunk that both shards have
  std::int64_t columns = 0;

  bool operator==(const MessageInfo&) const = default;
};
// "step 3, chunk 0.7, [120, 64]".
std::string to_string(const MessageInfo& info);

// The first failure of a step.
struct StageFailure {
  StageId stage;
  std::string where;  // the instruction; empty outside of instructions
  std::string what;
  int replica = 0;
  int shard = 0;
  int lost_rank = -1;  // not -1: the failure is that this rank can no longer be reached
};

// Thrown by every blocking call of the other ranks once one has failed.
class Aborted final : public std::runtime_error {
 public:
  explicit Aborted(StageFailure failure);
  const StageFailure& failure() const { return failure_; }

 private:
  StageFailure failure_;
};

}  // namespace infinipipe
