// Traces as Chrome trace JSON, which Perfetto and chrome://tracing open. docs/simulator.md lists
// the records. Process = replica; each stage has a lane of instructions and two of messages.
#pragma once

#include <string>

#include "infinipipe/base/json.h"
#include "infinipipe/core/plan.h"
#include "infinipipe/core/trace.h"

namespace infinipipe {

// Times in microseconds. With a plan, instructions carry their chunk's kind, tokens and context.
// Numbers are kept so that trace_from_json() gives the same trace to about 1e-12 seconds.
Json trace_to_json(const Trace& trace, const Plan* plan = nullptr);
void write_trace(const std::string& path, const Trace& trace, const Plan* plan = nullptr);

// Reads what trace_to_json() wrote; records of other programs are passed over. Throws InputError
// naming the record for what is damaged, and where the file holds no trace of ours.
Trace trace_from_json(const Json& json, const std::string& where);
Trace read_trace(const std::string& path);

}  // namespace infinipipe
