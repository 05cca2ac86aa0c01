// Commands, replies and engine options as bytes, for ranks of other processes. Both ends run the
// same code on machines of the same byte order (hello sees to the first): what stands here is no
// format.
#pragma once

#include <string>

#include "infinipipe/base/json.h"
#include "runtime/command.h"
#include "runtime/engine_options.h"

namespace infinipipe::wire {

// A message: a JSON value whose long arrays are binary.
std::string to_bytes(const Json& message);
// Throws RunError for what to_bytes() did not make.
Json from_bytes(const std::string& bytes);

// A step's tokens go to the ranks that need them alone: with the first layers and with the head.
Json command_to_json(const Command& command, bool with_tokens);
// Checks a plan's hash and that it is valid. What the command refers to, it owns.
Command command_from_json(const Json& json);

Json reply_to_json(const Reply& reply);
Reply reply_from_json(const Json& json);

// Without what belongs to one process: before_instruction and ranks.
Json options_to_json(const EngineOptions& options);
EngineOptions options_from_json(const Json& json);

}  // namespace infinipipe::wire
