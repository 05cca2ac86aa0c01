// What the driver asks of all ranks at once, as values: a rank of this process gets the value, one
// of another process its bytes (wire.h), and both do it by execute().
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "runtime/batch.h"
#include "runtime/stage_executor.h"

namespace infinipipe {

struct RunStep {
  std::shared_ptr<const StepInput> input;
};
struct OptimizerStep {
  int step = 0;
};
struct ZeroGrad {};
struct StateChanged {};
struct NextLogits {  // StageExecutor::logits()
  std::vector<std::int64_t> tokens;
  Tokens last = 1;
  Tokens begin = 0;
  bool goes_on = false;
};
struct ForgetText {};
using Command =
    std::variant<RunStep, OptimizerStep, ZeroGrad, StateChanged, NextLogits, ForgetText>;

// Of a command without a result: monostate. Logits are undefined but on the last stage.
using Reply = std::variant<std::monostate, StageRun, StageExecutor::Update, at::Tensor>;

// Does it on the rank's own thread. Events count from `origin`.
Reply execute(StageExecutor& rank, const Command& command, TimePoint origin);

// What it is part of, for messages: "step 12", "logits"; and its name: "run", "logits".
std::string part_of(const Command& command);
const char* name_of(const Command& command);
// The step it belongs to; 0 where it belongs to none.
int step_of(const Command& command);

}  // namespace infinipipe
