#include "comm/message.h"

#include <utility>

namespace infinipipe {

const char* to_string(Flow flow) {
  switch (flow) {
    case Flow::kActivation:
      return "activation";
    case Flow::kGradient:
      return "gradient";
    case Flow::kParameter:
      return "parameter";
  }
  return "?";
}

std::string to_string(const MessageInfo& info) {
  return "step " + std::to_string(info.step) + ", chunk " + std::to_string(info.pipeline.value()) +
         "." + std::to_string(info.chunk.value()) + ", [" + std::to_string(info.rows) + ", " +
         std::to_string(info.columns) + "]";
}

Aborted::Aborted(StageFailure failure)
    : std::runtime_error("stage " + std::to_string(failure.stage.value()) + " failed" +
                         (failure.where.empty() ? "" : " at " + failure.where) + ": " +
                         failure.what),
      failure_(std::move(failure)) {}

}  // namespace infinipipe
