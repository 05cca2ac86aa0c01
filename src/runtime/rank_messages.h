// What the driver's messages to the other ranks are called: {"do": one of these, ...}. Each but the
// last is answered: {"value": ...} or {"error": line, "kind": ErrorKind}, with "stop" where that
// process was asked to stop.
#pragma once

namespace infinipipe::rank_messages {

inline constexpr const char* kMake = "make";        // an engine's rank, of "options"
inline constexpr const char* kEnd = "end";          // that rank
inline constexpr const char* kCommand = "command";  // wire::command_from_json() of "command"
inline constexpr const char* kJob = "job";          // the ProcessJob "name", with "arguments"
inline constexpr const char* kLeave = "leave";      // no more messages

}  // namespace infinipipe::rank_messages
