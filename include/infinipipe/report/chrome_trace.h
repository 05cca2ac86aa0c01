// Traces as Chrome trace JSON, which Perfetto and chrome://tracing open. docs/simulator.md lists
// the records. Each stage of each replica is a process, with a lane of instructions, two lanes of
// messages and its memory as counters.
#pragma once

#include <string>

#include "infinipipe/base/json.h"
#include "infinipipe/core/plan.h"
#include "infinipipe/core/trace.h"

namespace infinipipe {

// Times in microseconds, on whole nanoseconds: blocks that are apart or nested in the trace are so
// in the document. With a plan, instructions carry their chunk's kind, tokens and context.
// trace_from_json() gives the same trace to a nanosecond.
Json trace_to_json(const Trace& trace, const Plan* plan = nullptr);
void write_trace(const std::string& path, const Trace& trace, const Plan* plan = nullptr);

// Reads what trace_to_json() writes or wrote before (version 1); records of other programs are
// passed over. Throws InputError naming the record for what is damaged, and where the file holds no
// trace of ours.
Trace trace_from_json(const Json& json, const std::string& where);
Trace read_trace(const std::string& path);

}  // namespace infinipipe
